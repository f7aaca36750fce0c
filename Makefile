# Everything sets itself up: a virtual environment in .venv, made once and again when the dependencies change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test test-slow lint format clean

help:
	@echo "make demo       the whole job on built-in data: GAN, shards, segmenters, report (about 10 minutes on 2 cores)"
	@echo "make test       the test suite (about 15 minutes)   make test-slow  the tests of minutes, too"
	@echo "make lint       ruff check and format     make format     let ruff format the code"
	@echo "make setup      only .venv and the install"

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV) || (echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# Mask2Former's heads are mmdet's, whose requirements would replace numpy and OpenCV by older ones.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps onedl-mmdetection shapely six terminaltables
	@# mmcv asks for OpenCV's desktop wheel, which needs the X11 libraries; where they are missing its headless twin serves.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  $(BIN)/python -m pip uninstall --quiet --yes opencv-python && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt opencv-python-headless && \
	  $(BIN)/python -c 'import cv2'; }
	@touch $@

demo: $(READY)
	$(BIN)/python demo/run.py --out runs/demo

# One OpenMP thread a process: two processes on two cores would otherwise fight for them.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info

# Everything sets itself up: a virtual environment in .venv, made once and again when the dependencies change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Another one, with OpenMMLab's own releases in place of the maintained ones: both have the same module names.
UPSTREAM := .venv-upstream
UPSTREAM_READY := $(UPSTREAM)/.ready
UPSTREAM_TESTS = $(shell grep -lE 'mmseg|mmengine|segmenter' tests/test_*.py)
INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help setup demo test test-slow test-upstream lint format clean

help:
	@echo "make demo       the whole job on built-in data: GAN, shards, segmenters, report (about 8 minutes on 2 cores)"
	@echo "make test       the test suite (about 15 minutes)   make test-slow  the tests of minutes, too"
	@echo "make test-upstream  the tests of segmenters under OpenMMLab's own releases (about 10 minutes)"
	@echo "make lint       ruff check and format     make format     let ruff format the code"
	@echo "make setup      only .venv and the install"

setup: $(READY)

define new_environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(1) || (echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1)
endef

# mmcv asks for OpenCV's desktop wheel, which needs the X11 libraries; where they are missing its headless twin serves.
define opencv_that_loads
	@$(1)/bin/python -c 'import cv2' 2>/dev/null || { \
	  $(1)/bin/python -m pip uninstall --quiet --yes opencv-python && \
	  $(1)/bin/python $(INSTALL) opencv-python-headless && \
	  $(1)/bin/python -c 'import cv2'; }
endef

$(READY): pyproject.toml constraints.txt
	$(call new_environment,$(VENV))
	$(BIN)/python $(INSTALL) -e '.[dev]'
	@# Mask2Former's heads are mmdet's, whose requirements would replace numpy and OpenCV by older ones.
	$(BIN)/python $(INSTALL) --no-deps onedl-mmdetection shapely six terminaltables
	$(call opencv_that_loads,$(VENV))
	@touch $@

$(UPSTREAM_READY): pyproject.toml constraints.txt requirements/upstream.txt
	$(call new_environment,$(UPSTREAM))
	$(UPSTREAM)/bin/python $(INSTALL) -e '.[metrics,report,coco,test]' -r requirements/upstream.txt
	$(call opencv_that_loads,$(UPSTREAM))
	@touch $@

demo: $(READY)
	$(BIN)/python demo/run.py --out runs/demo

# One OpenMP thread a process: two processes on two cores would otherwise fight for them.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu"

test-upstream: $(UPSTREAM_READY)
	OMP_NUM_THREADS=1 $(UPSTREAM)/bin/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu" $(UPSTREAM_TESTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(UPSTREAM) .pytest_cache .ruff_cache *.egg-info

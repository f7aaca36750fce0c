"""Small true things that several test files need."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

CLASSES = ("sky", "road", "car")


def pytest_sessionstart() -> None:
    """Over upstream's mmcv-lite, mmseg imports after ours alone, and many files have mmseg's imports before ours."""
    if any(found.name == "mmcv-lite" for found in distributions()):
        importlib.import_module("augment.mmseg")


@pytest.fixture(autouse=True)
def own_visualizer() -> Iterator[None]:
    """mmengine keeps a process's first visualizer of a name, which writes into the folder of the first test's run."""
    yield
    if "mmengine.visualization" in sys.modules:
        visualizer = sys.modules["mmengine.visualization"].Visualizer
        for kind in (visualizer, *visualizer.__subclasses__()):
            kind._instance_dict.clear()


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generic data set of 80x96 photos: noisy sky over road, with a car in every other image."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    colours = np.array([[120, 170, 230], [90, 90, 95], [200, 40, 40]])
    for split, count in (("train", 10), ("val", 2), ("test", 2)):
        for folder in ("images", "labels", "instances"):
            (root / split / folder).mkdir(parents=True)
        for i in range(count):
            label_map = np.ones((80, 96), np.uint8)
            label_map[: rng.integers(25, 50)] = 0
            instances = np.zeros((80, 96), np.uint16)
            if i % 2:
                top, left = rng.integers(50, 60), rng.integers(0, 70)
                label_map[top : top + 12, left : left + 20] = 2
                instances[top : top + 12, left : left + 20] = 1
            label_map[:2, :2] = 255
            image = colours[label_map.clip(max=2)] + rng.normal(0, 12, (80, 96, 3))
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / split / "images" / f"{i:02d}.jpg")
            Image.fromarray(label_map).save(root / split / "labels" / f"{i:02d}.png")
            Image.fromarray(instances).save(root / split / "instances" / f"{i:02d}.png")
    (root / "meta.json").write_text(json.dumps({"classes": CLASSES, "ignore_index": 255}))
    return root


@pytest.fixture
def without_mmdet(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were not installed."""
    for name in [name for name in sys.modules if name.startswith("mmdet.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mmdet", None)

"""A small sound data set, and ways to spoil it, each with a file of its own: they return the fault and what to name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 60  # two to three, as the frame of the tests
Fault = tuple[str, str, tuple[str, ...]]  # kind, split, words


def make_sound(root: Path, seed: int = 0) -> Path:
    """Eight training, four validation and two test images of three classes, with instances of class "thing"."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", 8), ("val", 4), ("test", 2)):
        for folder in ("images", "labels", "instances"):
            (root / split / folder).mkdir(parents=True)
        for number in range(count):
            name = f"{split}{number}"
            label_map = np.zeros((HEIGHT, WIDTH), np.uint8)
            label_map[20:] = 1
            label_map[30:34, 10:20] = 2
            label_map[0] = 255
            instances = np.where(label_map == 2, 7, 0).astype(np.uint16)
            instances[30:34, 15:20] *= 2
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{name}.png")
            Image.fromarray(label_map).save(root / split / "labels" / f"{name}.png")
            Image.fromarray(instances).save(root / split / "instances" / f"{name}.png")
    (root / "meta.json").write_text(json.dumps({"classes": ["sky", "ground", "thing"]}))
    return root


def no_label(root: Path) -> Fault:
    (root / "train/labels/train1.png").unlink()
    return "no label", "train", ("train/images/train1.png",)


def no_image(root: Path) -> Fault:
    (root / "val/images/val1.png").unlink()
    return "no image", "val", ("val/labels/val1.png",)


def same_key(root: Path) -> Fault:
    shutil.copy(root / "train/images/train0.png", root / "train/images/train0.jpg")
    return "key", "train", ("'train0': train/images/train0.jpg and train/images/train0.png",)


def other_size(root: Path) -> Fault:
    Image.new("L", (WIDTH, HEIGHT + 1)).save(root / "train/labels/train2.png")
    return "size", "train", ("train/labels/train2.png is 60x41", "its image 60x40")


def foreign_id(root: Path) -> Fault:
    Image.fromarray(np.full((HEIGHT, WIDTH), 9, np.uint8)).save(root / "train/labels/train0.png")
    return "ids", "train", ("train/labels/train0.png", "[9]", "3 classes")


def shared_image(root: Path) -> Fault:
    """The same pixels in another format and under another name."""
    Image.open(root / "train/images/train3.png").save(root / "val/images/other.jpg", "BMP")
    shutil.copy(root / "train/labels/train3.png", root / "val/labels/other.png")
    shutil.copy(root / "train/instances/train3.png", root / "val/instances/other.png")
    return "shared", "val", ("other is train3 of train",)


def deep_label(root: Path) -> Fault:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(root / "val/labels/val0.png")
    return "mode", "val", ("val/labels/val0.png", "'I;16'")


def coloured_label(root: Path) -> Fault:
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train/labels/train4.png")
    return "mode", "train", ("train/labels/train4.png", "'RGB'")


def broken_image(root: Path) -> Fault:
    file = root / "train/images/train5.png"
    file.write_bytes(file.read_bytes()[:200])
    return "image", "train", ("train/images/train5.png", "cannot be read")


def broken_label(root: Path) -> Fault:
    (root / "train/labels/train6.png").write_text("no picture")
    return "unreadable", "train", ("train/labels/train6.png",)


def deep_image(root: Path) -> Fault:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint16)).save(root / "val/images/val2.png")
    return "image", "val", ("val/images/val2.png", "more than 8 bits")


def no_instances(root: Path) -> Fault:
    (root / "train/instances/train7.png").unlink()
    return "instances", "train", ("train/images/train7.png has none",)


def coloured_instances(root: Path) -> Fault:
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "val/instances/val3.png")
    return "instances", "val", ("val/instances/val3.png", "'RGB'")


def no_folder(root: Path) -> Fault:
    shutil.rmtree(root / "val/labels")
    return "folder", "val", ("no such folder: val/labels", "layout generic")


ERRORS: list[Callable[[Path], Fault]] = [
    no_label, no_image, other_size, foreign_id, shared_image, deep_label, coloured_label, broken_image, broken_label,
    deep_image, no_instances, coloured_instances, same_key, no_folder,
]  # fmt: skip

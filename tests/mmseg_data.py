"""Tiny data for the tests of the OpenMMLab side: a data set, shards, a hostile object."""

import io
import json
import os
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from official_layouts import make_ade20k, make_cityscapes, make_coco_stuff
from PIL import Image

from augment.record import Record
from augment.shards import Sample, open_manifest, read_stats, total_of, write_manifest, write_shard
from dpsims.labels import TRAIN_IDS, LabelSpace, encode_label_png, find_label_space, read_label_map

SIZE = (64, 64)


class RunsCode:
    """Pickles as a call of `os.system` that makes the file `marker`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def make_pair(
    rng: np.random.Generator, num_classes: int
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """An image and the label map that its colours follow, in blocks of 8x8 pixels; some pixels are ignored."""
    blocks = rng.integers(0, num_classes, (SIZE[0] // 8, SIZE[1] // 8))
    label_map = blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)
    image = label_map[..., None] * np.array([20, 13, 7]) + rng.integers(0, 20, (*SIZE, 3))
    label_map[:2] = 255
    return image.astype(np.uint8), label_map


def jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_data_set(root: Path, space: LabelSpace, images: int = 6) -> Path:
    """ROOT/{train,val,test}/{images,labels}; val and test hold 2 images each."""
    rng = np.random.default_rng(0)
    for split, count in (("train", images), ("val", 2), ("test", 2)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            image, label_map = make_pair(rng, space.num_classes)
            (root / split / "images" / f"{number:03d}.jpg").write_bytes(jpeg(image))
            (root / split / "labels" / f"{number:03d}.png").write_bytes(encode_label_png(label_map))
    (root / "meta.json").write_text(json.dumps(space.to_meta()))
    return root


def write_official(name: str, root: Path) -> Path:
    """ "ade20k", "cityscapes" or "coco_stuff" as mmseg reads them: 4 training images and 2 of validation."""
    if name == "ade20k":
        return make_ade20k(root)
    if name == "cityscapes":
        make_cityscapes(root)
        write_train_ids(root / "gtFine", "_labelIds.png", name)
    else:
        make_coco_stuff(root, labels="annotations/")
        for split in ("train2017", "val2017"):
            write_train_ids(root / "annotations" / split, ".png", name)
    return root


def write_train_ids(folder: Path, end: str, space: str) -> None:
    """What mmseg's converters add to an official data set: label maps in ids of the classes."""
    for file in list(folder.rglob(f"*{end}")):
        ids = read_label_map(file, find_label_space(space, folder))
        file.with_name(file.name.removesuffix(end) + TRAIN_IDS).write_bytes(encode_label_png(ids))


def write_shards(root: Path, space: LabelSpace, shards: int = 2, per_shard: int = 3) -> dict[str, dict[str, bytes]]:
    """Finished shards, the second sample of each failed; returns the members of each good sample by its key."""
    rng = np.random.default_rng(1)
    description = {"label_space": space.to_meta(), "generator_sha256": "0" * 64, "plan": {}}
    open_manifest(root, description)
    written = {}
    for shard in range(shards):
        samples = []
        for index in range(per_shard):
            record = Record(f"{shard:05d}{index:04d}", shard, f"train/{index}", "train", 0, seed=index)
            if index == 1:
                samples.append(Sample(record, status="bad_label_map", error="made so by the test"))
                continue
            image, label_map = make_pair(rng, space.num_classes)
            members = {"jpg": jpeg(image), "seg.png": encode_label_png(label_map), "json": b"{}"}
            samples.append(Sample(record, members=members, class_pixels=(0,) * space.num_classes))
            written[record.key] = members
        write_shard(root, shard, samples, space.num_classes)
    write_manifest(root, description, total_of(read_stats(root, shard) for shard in range(shards)))
    return written

"""Shards with planted faults, and a scorer and an embedder whose numbers are known, for the tests of filters."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import nn

from augment.filter.rules import PixelRule, SampleRules
from augment.filter.run import describe, open_shards, run_filter
from augment.filter.scorer import Images, LabelMaps
from augment.record import Record
from augment.shards import Sample, open_manifest, total_of, write_manifest, write_shard
from augment.synthesize import Part
from dpsims.labels import LabelSpace, default_palette, encode_label_png

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))
HEIGHT, WIDTH = 8, 16
COLOURS = np.array([[40, 120, 250], [90, 90, 90], [250, 20, 20]])


class ByColour:
    """Knows what a class looks like: a pixel's loss is its distance to the colour of its class."""

    looked = 0

    def describe(self) -> dict:
        return {"scorer": "colour"}

    def origin(self) -> dict:
        return {}

    def score(
        self, images: Images, label_maps: LabelMaps
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, " n"]]:
        self.looked += len(images)
        found = []
        for image, label_map in zip(images, label_maps, strict=True):
            distance = np.abs(image - COLOURS[label_map.clip(max=2)]).mean(axis=-1)
            found.append(np.where(label_map == 255, 0, distance))
        return np.stack(found).astype(np.float32), np.array([image.mean() / 255 for image in images], np.float32)


class MeanColour(nn.Module):
    """An embedder: the mean of each channel, and a constant."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images.float().mean(dim=(2, 3)), torch.full((len(images), 1), 50.0)], dim=1)


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """An image that shows its label map, whose first column is ignored."""
    label_map = rng.integers(0, 3, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    image = COLOURS[label_map] + rng.integers(-5, 6, (HEIGHT, WIDTH, 3))
    label_map[:, 0] = 255
    return image.clip(0, 255).astype(np.uint8), label_map


def planted(number: int) -> tuple[slice, slice]:
    """Where sample `number` of the shards shows another class than its label map says."""
    return slice(4, 8), slice(4, 8) if number % 2 else slice(0, 0)


def write_planted(root: Path) -> Path:
    """Three shards of four samples of two sources; odd samples have a region painted over with another class."""
    rng = np.random.default_rng(0)
    plan = {"height": HEIGHT, "width": WIDTH}
    description = {"label_space": SPACE.to_meta(), "generator_sha256": "0" * 64, "plan": plan}
    open_manifest(root, description)
    stats = []
    for shard in range(3):
        samples = []
        for index in range(4):
            record = Record(f"{shard:05d}{index:04d}", shard, f"{shard}-{index // 2}", "train", index % 2, seed=index)
            if (shard, index) == (1, 2):
                samples.append(Sample(record, status="bad_label", error="made so by the test"))
                continue
            image, label_map = scene(rng)
            region = planted(index)
            image[region] = COLOURS[(label_map[region] + 1) % 3]
            members = {"png": png(image), "seg.png": encode_label_png(label_map), "json": b"{}"}
            counts = np.bincount(label_map.ravel(), minlength=256)[:3]
            samples.append(Sample(record, members=members, class_pixels=tuple(counts.tolist())))
        stats.append(write_shard(root, shard, samples, 3))
    write_manifest(root, description, total_of(stats))
    return root


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def reals() -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    rng = np.random.default_rng(1)
    return ((f"real_{number}", scene(rng)) for number in range(5))


def run(shards: Path, out: Path, scorer: ByColour, rules: SampleRules | None = None, **options: object) -> dict | None:
    rule = options.pop("rule", PixelRule(tolerance=3))
    settings = describe(open_shards(shards)[2], scorer, rule, {"root": "here"}, {"network": "mean"})
    work = {"embedder": MeanColour(), "device": torch.device("cpu"), "batch_size": 3, "threads": 2, "part": Part()}
    return run_filter(
        shards, out, scorer, reals, rule, rules or SampleRules(), settings=settings, real_images=5, **work | options
    )

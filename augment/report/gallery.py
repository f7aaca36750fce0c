"""Pictures to compare side by side: what the shards hold, and how the generator drew through its training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jaxtyping import UInt8
from PIL import Image, ImageOps

from augment.report.job import PHOTO_SUFFIXES
from augment.report.page import data_uri, drawing_uri, photo_uri, read_photo
from augment.shards import OK, committed_shards, image_extension, read_member, read_rows
from dpsims.labels import LabelSpace, read_label_map
from dpsims.spread import spread


@dataclass(frozen=True)
class Gallery:
    """A table of images as data URIs: a name per column; rows that are named, too."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


def shard_gallery(shards: Path, data_root: Path, space: LabelSpace, num_maps: int, num_samples: int) -> Gallery:
    """Label map | the real photo | samples made from the label map, for label maps at equal distances in the shards.

    Args:
        data_root: data set in the generic layout that the label maps are from.

    Raises:
        ValueError: no sample, or a real photo that is missing.
    """
    by_map: dict[str, list[dict]] = {}
    for shard in committed_shards(shards):
        for row in read_rows(shards, shard):
            if row["status"] == OK:
                by_map.setdefault(row["source_key"], []).append(row)
    if not by_map:
        raise ValueError(f"{shards} holds no sample that could be made")
    rows = []
    for source_key, samples in spread(list(by_map.items()), num_maps):
        label_map = read_label_map(read_member(shards, samples[0], "seg.png"), space, source=samples[0]["key"])
        real = find_photo(data_root / (samples[0]["split"] or "train") / "images", source_key)
        size = (label_map.shape[1], label_map.shape[0])
        fitted = np.array(ImageOps.fit(Image.fromarray(read_photo(real)), size, Image.Resampling.LANCZOS))
        cells = [drawing_uri(space.colorize(label_map)), photo_uri(fitted)]
        for sample in samples[:num_samples]:
            extension = image_extension(sample["members"])
            cells.append(data_uri(read_member(shards, sample, extension), extension))
        rows.append((source_key, cells))
    most = max(len(cells) for _, cells in rows)
    return Gallery(["label map", "real photo", *(f"sample {index}" for index in range(1, most - 1))], rows)


def find_photo(folder: Path, source_key: str) -> Path:
    files = [folder / f"{source_key}{suffix}" for suffix in PHOTO_SUFFIXES]
    for file in files:
        if file.is_file():
            return file
    raise ValueError(f"{files[0]} (or .png) is missing: the photo that a label map in the shards belongs to")


def training_gallery(run: Path, num_maps: int, num_stages: int) -> Gallery:
    """Label map | the real photo | one sample, same noise, at several times of a GAN's training.

    Cut from the grids in `samples/`: all show the same label maps and noises.

    Args:
        run: folder of tools/train_gan.py.

    Raises:
        ValueError: a file that is missing or not of this run.
    """
    files = sorted((run / "samples").glob("[0-9]*.png"))
    if not files:
        raise ValueError(f"{run / 'samples'}/*.png is missing: the GAN's sample grids")
    size = json.loads((run / "generator.json").read_text())["architecture"]
    options = yaml.safe_load((run / "config.yaml").read_text())["run"]
    shape = (options["sample_maps"], options["sample_noises"] + 2)
    stages = spread(files, num_stages)
    grids = [cut_grid(file, shape, (size["height"], size["width"])) for file in stages]
    rows = []
    for index in range(min(num_maps, shape[0])):
        cells = [drawing_uri(grids[-1][index][0]), photo_uri(grids[-1][index][1])]
        rows.append((f"label map {index + 1}", [*cells, *(photo_uri(grid[index][2]) for grid in grids)]))
    return Gallery(["label map", "real photo", *(f"{int(file.stem):,} images" for file in stages)], rows)


def cut_grid(file: Path, shape: tuple[int, int], size: tuple[int, int]) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """The cells of a sample grid.

    Args:
        shape: rows and columns.
        size: height and width of a cell; what is left between the cells is the gap.
    """
    image = read_photo(file)
    steps = []
    for axis in (0, 1):
        gap, rest = divmod(image.shape[axis] - shape[axis] * size[axis], max(1, shape[axis] - 1))
        if gap < 0 or rest:
            raise ValueError(
                f"{file} is {image.shape[0]}x{image.shape[1]}, which is no grid of "
                f"{shape[0]}x{shape[1]} images of {size[0]}x{size[1]}"
            )
        steps.append(size[axis] + gap)
    tops, lefts = ([index * step for index in range(count)] for step, count in zip(steps, shape, strict=True))
    return [[image[top : top + size[0], left : left + size[1]] for left in lefts] for top in tops]

"""How many images each label map gets by what a segmenter finds hard: FreeMask's ranking, or its gaps in IoU."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from augment.budget import allot
from augment.storage import read_json
from dpsims.labels import LabelSpace


def map_hardness(pixels: Int[np.ndarray, "n c"], hardness: Float[np.ndarray, " c"]) -> Float[np.ndarray, " n"]:
    """Mean hardness of each label map's pixels: h_j = Σ_c n_jc h_c / Σ_c n_jc (Yang et al. 2023, FreeMask).

    Args:
        pixels: n_jc, of each class in each label map; ignored pixels are in none.
        hardness: h_c, mean cross-entropy of a class; NaN where it is not known, and its pixels do not count.

    Returns:
        0 for a label map without a pixel that counts, as in FreeMask's code.
    """
    known = ~np.isnan(hardness)
    pixels = pixels[:, known]
    return (pixels * hardness[known]).sum(axis=1) / np.maximum(pixels.sum(axis=1), 1)  # alike for equal rows: @ is not


def hardness_counts(hardness: Float[np.ndarray, " n"], most: int) -> list[int]:
    """Images of each label map by its rank, 1 to N from the easiest on: min(1 + round(most · rank / N), most).

    As in FreeMask's code: halves are rounded to the even number, and of equally hard label maps the earlier one counts
    as easier.
    """
    counts = np.empty(len(hardness), int)
    ranks = np.arange(1, len(hardness) + 1)
    counts[np.argsort(hardness, kind="stable")] = np.minimum(1 + np.rint(ranks / len(hardness) * most), most)
    return counts.tolist()


def pixel_shares(pixels: Int[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """p_jc, of each class in a label map's pixels that are not ignored; zeros where all of them are."""
    return pixels / np.maximum(pixels.sum(axis=1, keepdims=True), 1)


def gap_weights(pixels: Int[np.ndarray, "n c"], gaps: Float[np.ndarray, " c"]) -> Float[np.ndarray, " n"]:
    """Each label map's part of the images, where 1 is the mean: w_j = N Σ_c (g_c / Σ_k g_k) (p_jc / Σ_i p_ic).

    A class is given images by its gap, and label maps get them by how much of the class they show, p_jc. Presence in
    the place of p would tell few maps apart where most hold most classes, as in street scenes; p alone would leave all
    to the large classes, which a segmenter knows.

    Args:
        pixels: of each class in each label map.
        gaps: g_c = 1 - IoU, 0..1; NaN where it is not known. Such a class, and one in no label map, does not count.

    Raises:
        ValueError: there is no gap.
    """
    shares = pixel_shares(pixels)
    totals = shares.sum(axis=0)  # (C,)
    counted = ~np.isnan(gaps) & (totals > 0)
    if not gaps[counted].any():
        raise ValueError("--gaps: no label map holds a class whose IoU is known and below 100 %")
    of_classes = gaps[counted] / gaps[counted].sum()
    return len(pixels) * (of_classes * shares[:, counted] / totals[counted]).sum(axis=1)


def gap_counts(weights: Float[np.ndarray, " n"], images: int, most: int | None = None) -> list[int]:
    """So many images in proportion to the weights, but of no label map more than `most`: others get what is over.

    Raises:
        ValueError: the label maps with a weight cannot take so many.
    """
    most, able = most or images, int(np.count_nonzero(weights))
    if images > most * able:
        raise ValueError(
            f"--images {images} is more than --most {most} of each of the {able} label maps with a class that has a gap"
        )
    full = np.zeros(len(weights), bool)
    while True:
        free, rest = np.where(full, 0, weights), images - most * int(full.sum())
        over = free / free.sum() * rest > most * (1 + 1e-9)  # all can be just full
        if not over.any():
            break
        full |= over
    return np.where(full, most, allot(free, rest)).tolist()


def read_hardness(file: Path, space: LabelSpace) -> Float[np.ndarray, " c"]:
    """h_c of each class, NaN for null, from a JSON file {"hardness": {CLASS: mean cross-entropy or null, …}, …}.

    Raises:
        ValueError: it holds something else, or lacks a class.
    """
    return _of_classes(f"--hardness {file}", read_json(file), "hardness", space, np.inf)


def read_gaps(file: Path, space: LabelSpace) -> Float[np.ndarray, " c"]:
    """g_c = 1 - IoU of each class, NaN for null, from what tools/train_segmenter.py --split val writes.

    Raises:
        ValueError: it holds something else, lacks a class, or the scores are of a test split.
    """
    scores = read_json(file)
    split = scores.get("split") if isinstance(scores, dict) else None
    if split != "val":
        said = "does not say of which split it is" if split is None else f"is of the {split} split"
        raise ValueError(
            f"--gaps {file} {said}: budgets are made from scores on the val split, which "
            "tools/train_segmenter.py --split val takes; the test split is for the end"
        )
    if scores.get("also_test"):
        raise ValueError(
            f"--gaps {file} is of images on which the segmenter's config also tests: a budget by them would leak the "
            "test into the training; --hardness needs training images alone"
        )
    return 1 - _of_classes(f"--gaps {file}", scores, "IoU", space, 100) / 100


def _of_classes(
    file: str, content: object, key: str, space: LabelSpace, highest: float | int
) -> Float[np.ndarray, " c"]:
    """The numbers of a label space's classes by their names."""
    values = content.get(key) if isinstance(content, dict) else None
    if not isinstance(values, dict):
        raise ValueError(f'{file} has no {key!r} of classes, such as {{"{key}": {{"{space.classes[0]}": 0.5, …}}}}')
    missing = [name for name in space.classes if name not in values]
    if missing:
        raise ValueError(f"{file} lacks {len(missing)} of the {space.num_classes} classes, such as {missing[0]!r}")
    for name in space.classes:
        value = values[name]
        if value is not None and not (type(value) in (int, float) and 0 <= value <= highest and np.isfinite(value)):
            bound = "0 or more" if highest == np.inf else f"0 to {highest}"
            raise ValueError(f"{file}: the {key} of {name!r} is {value!r}, not a number of {bound} or null")
    known = [np.nan if values[name] is None else float(values[name]) for name in space.classes]
    if np.isnan(known).all():
        raise ValueError(f"{file}: the {key} of every class is null")
    return np.array(known)

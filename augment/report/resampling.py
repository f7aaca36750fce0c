"""What a budget by hardness or by gaps comes to: the classes' shares before and after, and label maps to look at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from augment.report.wording import number, share
from augment.resample import pixel_shares
from dpsims.labels import LabelSpace

EACH, WIDTH = 3, 500  # examples of a kind, and pixels of their width at most


def class_table(
    space: LabelSpace,
    named: str,
    values: Float[np.ndarray, " c"],
    pixels: Int[np.ndarray, "n c"],
    counts: Sequence[int],
) -> str:
    """A line for each class that a label map holds: its value, and its share of the images before and after.

    Args:
        named: what the values are.
        values: of each class, NaN where there is none.
        pixels: of each class in each label map.
        counts: images of each label map; before, all had equally many.
    """
    weights = np.array(counts) / sum(counts)
    columns = []
    for shares in (pixels > 0, pixel_shares(pixels)):
        columns += [shares.mean(axis=0), weights @ shares]
    rows = [["class", named, "of images, uniform", "budget", "of pixels, uniform", "budget"]]
    for label in np.flatnonzero(pixels.any(axis=0)):
        of_class = (share(float(column[label])) for column in columns)
        rows.append([space.classes[label], value_of(values, label), *of_class])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def value_of(values: Float[np.ndarray, " c"], label: int | np.integer) -> str:
    return number(None if np.isnan(values[label]) else float(values[label]), 2)


def examples(values: Float[np.ndarray, " n"]) -> list[tuple[str, int]]:
    """Label maps of the lowest, the median and the highest values, three of each, or all of a few.

    Returns:
        For each "lowest", "median" or "highest", or "" if all are there, and its index.
    """
    order = np.argsort(values, kind="stable").tolist()
    if len(order) < 3 * EACH:
        return [("", index) for index in order]
    middle = (len(order) - EACH) // 2
    kinds = {"lowest": order[:EACH], "median": order[middle : middle + EACH], "highest": order[-EACH:]}
    return [(kind, index) for kind, indices in kinds.items() for index in indices]


def picture(label_map: UInt8[np.ndarray, "h w"], space: LabelSpace) -> UInt8[np.ndarray, "H W 3"]:
    """A label map in its colours, reduced if it is wide."""
    height, width = label_map.shape
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        label_map = np.array(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))
    return space.colorize(label_map)


def legend(
    space: LabelSpace, values: Float[np.ndarray, " c"], shown: Sequence[int] | Int[np.ndarray, " k"]
) -> list[tuple[tuple[int, int, int], str]]:
    """Colours and names of the classes that are shown, with their values, the highest first."""
    ordered = sorted(map(int, shown), key=lambda label: (np.isnan(values[label]), -values[label]))
    named = [(space.palette[label], f"{space.classes[label]}  {value_of(values, label)}") for label in ordered]
    return [*named, ((0, 0, 0), "ignored")]

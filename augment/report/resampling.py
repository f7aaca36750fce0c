"""What a budget by hardness or by gaps comes to: the classes' shares before and after, and label maps to look at."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from augment.report.wording import number, share
from dpsims.labels import LabelSpace

EACH, WIDTH = 3, 500  # examples of a kind, and pixels of their width at most


def class_table(
    space: LabelSpace,
    named: str,
    values: Float[np.ndarray, " c"],
    presence: Bool[np.ndarray, "n c"],
    counts: Int[np.ndarray, " n"],
) -> str:
    """A line for each class that a label map holds: its value, and the images that hold it before and after.

    Args:
        named: what the values are.
        values: of each class, NaN where there is none.
        counts: images of each label map; before, all had equally many.
    """
    before, after = presence.mean(axis=0), counts @ presence / counts.sum()
    rows = [["class", named, "of equally many images each", "of these"]]
    for label in np.flatnonzero(before):
        value = None if np.isnan(values[label]) else float(values[label])
        rows.append([space.classes[label], number(value, 2), share(float(before[label])), share(float(after[label]))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    )


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


def picture(label_map: UInt8[np.ndarray, "h w"], space: LabelSpace) -> UInt8[np.ndarray, "h w 3"]:
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
    texts = {label: number(None if np.isnan(values[label]) else float(values[label]), 2) for label in ordered}
    named = [(space.palette[label], f"{space.classes[label]}  {texts[label]}") for label in ordered]
    return [*named, ((0, 0, 0), "ignored")]

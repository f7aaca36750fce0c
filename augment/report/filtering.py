"""What a filter did, for people: a table of the classes, and a picture of samples from its worst to its best."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from augment.filter.run import read_decisions
from augment.report.sheet import read_image
from augment.report.wording import NOTHING, count, number, share
from augment.shards import OK, committed_shards, read_member, read_rows
from augment.storage import Folder
from augment.stream import LABEL
from dpsims.labels import LabelSpace, read_label_map
from dpsims.spread import spread

ROWS = 8
REJECTED = (255, 255, 255)


def class_table(summary: dict) -> str:
    """A line per class: its hardness and limit on real images, and what share of its synthetic pixels is rejected."""
    rows = [["class", "mean loss", "limit", "rejected"]]
    totals = summary["totals"]
    for name in summary["classes"]:
        pixels, rejected = totals["pixels"][name], totals["rejected_pixels"][name]
        of_class = share(rejected / pixels) if pixels else NOTHING
        rows.append([name, number(summary["hardness"][name], 3), number(summary["limits"][name], 3), of_class])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join(["", name.ljust(widths[0]), *right]))
    return "\n".join(lines)


def filter_facts(summary: dict) -> dict[str, str]:
    """What a page says of a filter, beside its picture."""
    settings, totals = summary["settings"], summary["totals"]
    if settings["tolerance"] is not None:
        limit = f"{settings['tolerance']:g} × the mean loss of the class on real images"
    else:
        limit = f"what {share(settings['quantile'])} of the real pixels of the class keep"
    if settings["window"] > 1:
        limit += f", losses averaged over {settings['window']} × {settings['window']} pixels"
    pixels, rejected = sum(totals["pixels"].values()), sum(totals["rejected_pixels"].values())
    dropped = ", ".join(f"{reason} {count(number)}" for reason, number in totals["dropped"].items())
    of_classes = {name: share(totals["rejected_pixels"][name] / of) for name, of in totals["pixels"].items() if of}
    return {
        "scorer": settings["scorer"],
        "limit of a pixel": limit,
        "rejected pixels": share(rejected / pixels) if pixels else NOTHING,
        "samples": f"{count(totals['kept'])} of {count(totals['samples'])} kept" + (f" ({dropped})" if dropped else ""),
        **{f"rejected of {name}": value for name, value in of_classes.items()},
    }


def filter_sheet(shards: Folder, out: Path, space: LabelSpace) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """Rows of an image, its label map, and the label map with rejected pixels in white; from the worst score on.

    No rows where no sample can be read.
    """
    decided = sorted((row["score"], row["key"]) for row in read_decisions(out) if row["error"] is None)
    shown = [key for _, key in spread(decided, ROWS)]
    cells = {}
    for shard in committed_shards(shards):
        images = {row["key"]: row for row in read_rows(shards, shard) if row["status"] == OK and row["key"] in shown}
        labels = {row["key"]: row for row in read_rows(out, shard) if row["key"] in images}
        for key, row in images.items():
            cells[key] = draw(shards, row, out, labels[key] | {"shard": shard}, space)
    return [cells[key] for key in shown]


def draw(shards: Folder, row: dict, out: Path, filtered: dict, space: LabelSpace) -> list[UInt8[np.ndarray, "h w 3"]]:
    before = read_label_map(read_member(shards, row, LABEL), space, source=row["key"])
    after = read_label_map(read_member(out, filtered, LABEL), space, source=row["key"])
    coloured = space.colorize(after)
    coloured[before != after] = REJECTED
    return [read_image(shards, row), space.colorize(before), coloured]

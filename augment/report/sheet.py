"""A picture of what shards hold: label maps from all over them, each followed by some of its samples."""

import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augment.report.gallery import spread
from augment.shards import OK, committed_shards, read_member, read_rows, read_stats
from augment.sources import LabelSource
from augment.storage import Folder
from augment.survey import Reader
from dpsims.labels import LabelSpace, read_label_map

MAPS, SAMPLES = 6, 5  # rows, and samples in a row, at most


def contact_sheet(
    folder: Folder, space: LabelSpace, sources: Mapping[str, LabelSource] | None, reader: Reader
) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """Rows of cells of one size: a coloured label map and samples of it.

    Args:
        sources: the label maps by their source keys, to show each before what its perturbed version is; None leaves
            that out.
        reader: of the sources.
    """
    shards = [shard for shard in committed_shards(folder) if read_stats(folder, shard)["by_status"].get(OK)]
    maps_per_shard = -(-MAPS // len(shards))
    grid = []
    for shard in spread(shards, MAPS):
        by_map: dict[tuple[str, int], list[dict]] = {}
        for row in read_rows(folder, shard):
            if row["status"] == OK:
                by_map.setdefault((row["source_key"], row["variant"]), []).append(row)
        for (source_key, _), rows in spread(list(by_map.items()), maps_per_shard):
            label_map = read_label_map(read_member(folder, rows[0], "seg.png"), space, source=rows[0]["key"])
            before = [] if sources is None else [space.colorize(reader(sources[source_key]).label_map)]
            grid.append([*before, space.colorize(label_map), *(read_image(folder, row) for row in rows[:SAMPLES])])
    grid = grid[:MAPS]
    columns = min(len(cells) for cells in grid)
    return [cells[:columns] for cells in grid]


def read_image(folder: Folder, row: dict) -> UInt8[np.ndarray, "h w 3"]:
    extension = next(name for name in row["members"] if name not in ("json", "seg.png"))
    with Image.open(io.BytesIO(read_member(folder, row, extension))) as image:
        return np.array(image.convert("RGB"))

"""Pictures of what shards hold, or would hold: label maps, each followed by its perturbed versions and its samples."""

import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augment.shards import OK, Sample, committed_shards, image_extension, read_member, read_rows, read_stats
from augment.sources import LabelSource
from augment.storage import Folder
from augment.survey import Reader
from dpsims.labels import LabelSpace, read_label_map
from dpsims.spread import spread

MAPS, SAMPLES, VARIANTS = 6, 5, 3  # rows, and in a row samples or perturbed versions with a sample each, at most


def contact_sheet(
    folder: Folder, space: LabelSpace, sources: Mapping[str, LabelSource] | None, reader: Reader
) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """Rows of cells of one size: a coloured label map and samples of it, or perturbed versions of it and their samples.

    Args:
        sources: the label maps as they were by their source keys, if those in the shards are perturbed.
        reader: of the sources.
    """
    shards = [shard for shard in committed_shards(folder) if read_stats(folder, shard)["by_status"].get(OK)]
    maps_per_shard = -(-MAPS // len(shards))
    grid = []
    for shard in spread(shards, MAPS):
        by_map: dict[str, list[dict]] = {}
        for row in read_rows(folder, shard):
            if row["status"] == OK:
                by_map.setdefault(row["source_key"], []).append(row)
        for source_key, rows in spread(list(by_map.items()), maps_per_shard):
            if sources is None:
                cells = [read_labels(folder, rows[0], space), *(read_image(folder, row) for row in rows[:SAMPLES])]
            else:
                cells = [space.colorize(reader(sources[source_key]).label_map)]
                first_of_variants = {row["variant"]: row for row in reversed(rows)}
                for row in [first_of_variants[variant] for variant in sorted(first_of_variants)][:VARIANTS]:
                    cells += [read_labels(folder, row, space), read_image(folder, row)]
            grid.append(cells)
    grid = grid[:MAPS]
    columns = min(len(cells) for cells in grid)
    return [cells[:columns] for cells in grid]


def preview_sheet(
    samples: Iterable[Sample], space: LabelSpace, sources: Sequence[LabelSource], reader: Reader, *, perturbed: bool
) -> list[list[UInt8[np.ndarray, "h w 3"]]]:
    """A row for each label map: as it is, then each sample, after its label map if that is a perturbed one.

    Args:
        samples: equally many of each label map; those of a bad one are left out.
    """
    by_key = {source.source_key: source for source in sources}
    rows: dict[str, list] = {}
    for sample in samples:
        if sample.status != OK:
            continue
        key = sample.record.source_key
        if key not in rows:
            rows[key] = [space.colorize(reader(by_key[key]).label_map)]
        if perturbed:
            rows[key].append(space.colorize(read_label_map(sample.members["seg.png"], space, source=key)))
        rows[key].append(decoded(sample.members[image_extension(sample.members)]))
    return list(rows.values())


def read_labels(folder: Folder, row: dict, space: LabelSpace) -> UInt8[np.ndarray, "h w 3"]:
    return space.colorize(read_label_map(read_member(folder, row, "seg.png"), space, source=row["key"]))


def read_image(folder: Folder, row: dict) -> UInt8[np.ndarray, "h w 3"]:
    return decoded(read_member(folder, row, image_extension(row["members"])))


def decoded(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image.convert("RGB"))

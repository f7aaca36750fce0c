"""A gallery of a sample of shards: one HTML file to look through, filter and sort, without a server."""

import io
import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from augment.filter.run import DECISIONS, SUMMARY, looked_at
from augment.report.page import data_uri, photo_uri, render
from augment.shards import (
    MANIFEST,
    OK,
    committed_shards,
    image_extension,
    read_manifest,
    read_member,
    read_rows,
    read_stats,
)
from augment.storage import Folder, read_json, write_text
from dpsims.labels import IGNORE_INDEX, UNREADABLE, LabelSpace, read_label_map
from dpsims.spread import spread

AS_THEY_ARE = ("jpg", "webp")  # formats whose files go into the page if they are small enough; PNG would fill it


@dataclass(frozen=True)
class Gallery:
    """What was written.

    Attributes:
        shown: images in the page.
        total: images in the shards.
        size: of the page, in bytes.
        scored: images with a decision; None without decisions.
    """

    shown: int
    total: int
    size: int
    scored: int | None


def write_gallery(
    folder: Folder, out: Folder, *, images: int, width: int, decisions: Folder | None = None, progress: bool = False
) -> Gallery:
    """Write the page.

    Args:
        images: how many to show, at most.
        width: in pixels, to which wider images are reduced.
        decisions: a folder with `decisions.jsonl`, rows of {"key", "keep", "score", "reason"}.
        progress: show a bar, on a terminal.

    Raises:
        ValueError: no images, a file that cannot be read, or decisions on other shards.
    """
    manifest = read_manifest(folder)
    space = LabelSpace.from_meta(manifest.get("label_space"), source=f"label_space in {folder / MANIFEST}")
    rows, total = choose_rows(folder, images)
    if decisions is not None:
        check_whose(decisions, folder, manifest)
    decided = None if decisions is None else read_decisions(decisions / DECISIONS, {row["key"] for row in rows})
    items = []
    for row in tqdm(rows, unit="img", disable=None if progress else True):
        items.append(describe(folder, row, space, width) | (decided or {}).get(row["key"], {}))
    present = {label for item in items for label, _ in item["classes"]}
    page = render(
        "browse.html.j2",
        name=folder.name,
        data={
            "classes": [
                {"id": i, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
                for i, (name, colour) in enumerate(zip(space.classes, space.palette, strict=True))
                if i in present
            ],
            "items": items,
            "total": total,
            "width": width,
            "scored": decided is not None,
        },
        total=total,
        shards=len(committed_shards(folder)),
        sources=len({row["source_key"] for row in rows}),
        generator=manifest.get("generator_sha256"),
    )
    write_text(out, page)
    return Gallery(len(items), total, len(page.encode()), None if decided is None else len(decided))


def choose_rows(folder: Folder, count: int) -> tuple[list[dict], int]:
    """Rows at equal distances over all shards and, in each, over its label maps; and how many images there are."""
    shards = committed_shards(folder)
    sizes = [read_stats(folder, shard)["by_status"].get(OK, 0) for shard in shards]
    total = sum(sizes)
    if not total:
        raise ValueError(f"{folder} holds no image: no shard is finished, or no sample could be made")
    marks = [round(before * min(count, total) / total) for before in (0, *accumulate(sizes))]
    chosen: list[dict] = []
    for shard, (start, stop) in zip(shards, pairwise(marks), strict=True):
        if stop > start:
            rows = [row for row in read_rows(folder, shard) if row["status"] == OK]
            chosen += choose_of_shard(rows, stop - start, turn=start)
    return chosen, total


def choose_of_shard(rows: list[dict], count: int, turn: int) -> Iterator[dict]:
    """`count` rows, as many of each label map as of any other; where it is one, each time another sample.

    Args:
        turn: which sample of the first label map it is.
    """
    groups = [list(group) for _, group in groupby(rows, key=lambda row: row["source_key"])]
    shares, left = [0] * len(groups), min(count, len(rows))
    while left:
        unfilled = [i for i, group in enumerate(groups) if shares[i] < len(group)]
        for i in spread(unfilled, left):
            shares[i] += 1
            left -= 1
    for group, share in zip(groups, shares, strict=True):
        if share == 1:
            yield group[turn % len(group)]
            turn += 1
        elif share:
            yield from spread(group, share)


def check_whose(decisions: Folder, folder: Folder, manifest: dict) -> None:
    """See that decisions that tell so are of these shards."""
    file = decisions / SUMMARY
    if file.exists() and not looked_at(read_json(file), manifest):
        raise ValueError(f"--decisions: the filter in {decisions} is of other shards than those in {folder}")


def read_decisions(file: Folder, keys: Collection[str]) -> dict[str, dict]:
    """What was decided of these keys: keep, score (None if it is no finite number) and reason."""
    decided = {}
    try:
        with file.open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                if row["key"] in keys:
                    score, reason = row["score"], row.get("reason")
                    finite = isinstance(score, int | float) and math.isfinite(score)
                    decided[row["key"]] = {
                        "keep": bool(row["keep"]),
                        "score": score if finite else None,
                        "reason": None if reason is None else str(reason),
                    }
    except FileNotFoundError:
        raise ValueError(f"--decisions: {file} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'--decisions: {file} has not a row {{"key", "keep", "score"}} a line: {error!r}') from None
    return decided


def describe(folder: Folder, row: dict, space: LabelSpace, width: int) -> dict:
    """All that the page knows of a sample."""
    key = row["key"]
    extension = image_extension(row["members"])
    try:
        label_map = read_label_map(read_member(folder, row, "seg.png"), space, source=f"{key}.seg.png")
        image, size = image_uri(read_member(folder, row, extension), extension, width)
        meta = json.loads(read_member(folder, row, "json"))
    except UNREADABLE as error:
        raise ValueError(f"{key} in {folder} cannot be read: {error}; tools/verify_shards.py tells more") from error
    pixels = np.bincount(label_map.ravel(), minlength=IGNORE_INDEX + 1)[: space.num_classes]
    return {
        "key": key,
        "source": row["source_key"],
        "split": row["split"],
        "variant": row["variant"],
        "sample": row["sample_index"],
        "perturbations": row["perturbations"],
        "classes": [[int(i), round(float(pixels[i] / label_map.size), 5)] for i in np.argsort(-pixels) if pixels[i]],
        "image": image,
        "label": label_uri(label_map, space, width),
        "size": size,
        "meta": json.dumps(meta, indent=1, ensure_ascii=False),  # as text: a seed has more digits than JavaScript
    }


def image_uri(content: bytes, extension: str, width: int) -> tuple[str, list[int]]:
    """The image at most `width` wide, and its own width and height."""
    with Image.open(io.BytesIO(content)) as image:
        size = [image.width, image.height]
        if image.width <= width and extension in AS_THEY_ARE:
            image.verify()
            return data_uri(content, extension), size
        image = image.convert("RGB")
        return photo_uri(np.array(image.resize(reduced(image.size, width), Image.Resampling.LANCZOS))), size


def label_uri(label_map: UInt8[np.ndarray, "h w"], space: LabelSpace, width: int) -> str:
    """A coloured label map as a PNG with a palette, a third as large as one without."""
    indices = np.where(label_map == IGNORE_INDEX, space.num_classes, label_map).astype(np.uint8)
    drawing = Image.fromarray(indices)
    drawing = drawing.resize(reduced(drawing.size, width), Image.Resampling.NEAREST)
    drawing.putpalette([channel for colour in (*space.palette, (0, 0, 0)) for channel in colour])
    buffer = io.BytesIO()
    drawing.save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "png")


def reduced(size: tuple[int, int], width: int) -> tuple[int, int]:
    return size if size[0] <= width else (width, max(1, round(size[1] * width / size[0])))

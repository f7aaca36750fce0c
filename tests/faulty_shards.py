"""Shards with faults: sound ones to start from, and changes after which all sums and counts agree again."""

import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image
from test_synthesize import make

from augment.shards import member_places, read_manifest, read_member, read_rows, read_stats, total_of, write_manifest
from augment.storage import write_text
from dpsims.labels import UNREADABLE, encode_label_png
from dpsims.sample import file_sha256


def write_sound_shards(folder: Path) -> Path:
    """Shards of 6, 6 and 3 samples, three of each of five label maps, one of them bad (in `labels` beside them)."""
    labels, ids = folder / "labels", np.array([0, 1, 2, 255], np.uint8)
    labels.mkdir()
    for i in range(5):
        label_map = np.random.default_rng(i).choice(ids, (4, 6)).repeat(8, 0).repeat(8, 1)
        (labels / f"map_{i}.png").write_bytes(encode_label_png(label_map))
    (labels / "map_3.png").write_bytes(b"no image")
    make(labels, folder / "shards")
    return folder / "shards"


def rewrite(folder: Path, shard: int, change: Callable[[dict[str, bytes], list[dict]], None]) -> None:
    """Change the members (by their names) and the rows of a shard, and make all sums and counts agree again."""
    tar, rows = folder / f"{shard:05d}.tar", read_rows(folder, shard)
    with tarfile.open(tar) as archive:
        members = {it.name: archive.extractfile(it).read() for it in archive}
    change(members, rows)
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(members.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    places = member_places(tar)
    for row in rows:
        row["members"] = places.get(row["key"], {})
        names = {extension: members[f"{row['key']}.{extension}"] for extension in row["members"]}
        row["crc32"] = {extension: zlib.crc32(content) for extension, content in names.items()}
    save(folder, shard, rows)


def save(folder: Path, shard: int, rows: list[dict]) -> None:
    """Write the rows, and stats and totals that agree with them and with the tar."""
    jsonl, tar = folder / f"{shard:05d}.jsonl", folder / f"{shard:05d}.tar"
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pixels = np.zeros(256, int)
    for row in rows:
        if "seg.png" in row["members"]:
            with suppress(*UNREADABLE):  # what is no label map is not counted
                label_map = Image.open(io.BytesIO(read_member(folder, row | {"shard": shard}, "seg.png")))
                pixels += np.bincount(np.array(label_map).ravel(), minlength=256)
    stats = {
        "planned": len(rows),
        "by_status": dict(sorted(Counter(row["status"] for row in rows).items())),
        "class_pixels": pixels[:3].tolist(),
        "ignored_pixels": int(pixels[255]),
        "perturbations": {},
        "bytes": tar.stat().st_size,
        "sha256": {"tar": file_sha256(tar), "jsonl": file_sha256(jsonl)},
    }
    write_text(folder / f"{shard:05d}.stats.json", json.dumps(stats))
    write_manifest(folder, read_manifest(folder), total_of(read_stats(folder, i) for i in range(3)))


def edit_rows(folder: Path, change: Callable[[list[dict]], None], shard: int = 0) -> None:
    rows = read_rows(folder, shard)
    change(rows)
    save(folder, shard, rows)


def edit_manifest(folder: Path, change: Callable[[dict], None]) -> None:
    manifest = read_manifest(folder)
    change(manifest)
    (folder / "shards.json").write_text(json.dumps(manifest))


def swap(members: dict[str, bytes], first: int, second: int) -> None:
    """The label maps of two samples of shard 0 change places."""
    names = [f"00000{index:04d}.seg.png" for index in (first, second)]
    members[names[0]], members[names[1]] = members[names[1]], members[names[0]]

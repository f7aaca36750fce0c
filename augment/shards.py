"""Shards on disk: plain WebDataset tars beside a manifest, each committed as a whole, written and read here.

    shards.json        label space, generator hash, plan, totals (null until all shards are there)
    00000.tar          KEY.jpg, KEY.json and KEY.seg.png of each sample, by key
    00000.jsonl        a row per planned sample: status, [offset, size] of its members in the tar, and their checksums
    00000.stats.json   counts and hashes, written last: without it the shard does not exist

Every file gets its name when it is complete. A shard is the unit of work: whoever writes it, and however often, writes
the same bytes.
"""

import json
import reprlib
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import webdataset

from augment.record import Record
from augment.storage import Folder, is_local, new_file, open_folder, read_json, write_text
from augment.stream import stream as stream  # passed on to who reads shards
from dpsims.sample import file_sha256

OK = "ok"
MANIFEST = "shards.json"


@dataclass(frozen=True)
class Sample:
    """One planned sample, made or failed.

    Attributes:
        status: "ok", or in a word what was wrong.
        members: extension in the tar ("jpg", "json", "seg.png") → content; empty where the sample failed.
        class_pixels: pixels of each class in the label map.
        ignored_pixels: pixels of no class.
        perturbations: names of what was done to the label map.
        tried: counts of what was done, drawn again or left out there, told once for all samples of the label map.
    """

    record: Record
    status: str = OK
    error: str | None = None
    members: dict[str, bytes] = field(default_factory=dict)
    class_pixels: tuple[int, ...] = ()
    ignored_pixels: int = 0
    perturbations: tuple[str, ...] = ()
    tried: Counter[str] = field(default_factory=Counter)


def write_shard(folder: Folder, shard: int, samples: Iterable[Sample], num_classes: int) -> dict:
    """Write one shard and commit it; returns its stats. The same samples give the same bytes.

    A shard that another process has committed meanwhile stays as it is.

    Args:
        samples: in the order of their keys; consumed while writing.
    """
    with new_file(shard_file(folder, shard, "tar")) as tar:
        rows, counts = write_tar(tar, shard, samples, num_classes)
        if shard_file(folder, shard, "stats.json").exists():
            tar.unlink()
            return read_stats(folder, shard)
        size, sha256 = tar.stat().st_size, {"tar": file_sha256(tar)}
    with new_file(shard_file(folder, shard, "jsonl")) as jsonl:
        jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sha256["jsonl"] = file_sha256(jsonl)
    stats = {"planned": len(rows), **counts, "bytes": size, "sha256": sha256}
    write_text(shard_file(folder, shard, "stats.json"), json.dumps(stats, indent=1) + "\n")
    return stats


def write_tar(tar: Path, shard: int, samples: Iterable[Sample], num_classes: int) -> tuple[list[dict], dict]:
    """Write the samples' files; returns the manifest rows and the counts."""
    rows = []
    by_status: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    class_pixels, ignored_pixels = [0] * num_classes, 0
    # webdataset sorts a sample's members by extension; time, owner and mode are constants
    with open(tar, "wb") as stream, webdataset.TarWriter(stream, encoder=False, mtime=0) as writer:
        for sample in samples:
            assert sample.record.shard == shard
            by_status[sample.status] += 1
            tried += sample.tried
            told = {"perturbations": list(sample.perturbations), "status": sample.status, "error": sample.error}
            sums = {extension: zlib.crc32(content) for extension, content in sample.members.items()}
            rows.append({**asdict(sample.record), **told, "members": {}, "crc32": sums})
            if sample.status == OK:
                writer.write({"__key__": sample.record.key, **sample.members})
                class_pixels = [a + b for a, b in zip(class_pixels, sample.class_pixels, strict=True)]
                ignored_pixels += sample.ignored_pixels
    places = member_places(tar)
    for row in rows:
        row["members"] = places.get(row["key"], {})
    counts = {"by_status": dict(sorted(by_status.items())), "class_pixels": class_pixels}
    return rows, counts | {"ignored_pixels": ignored_pixels, "perturbations": dict(sorted(tried.items()))}


def member_places(tar: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """key → extension → (offset of the content, size), in bytes."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            places.setdefault(key, {})[extension] = (member.offset_data, member.size)
    return places


def check_manifest(folder: Folder, description: dict) -> None:
    """See that a run can start in `folder`, or go on with the one that is there.

    Args:
        description: all that decides the bytes of the shards, as it goes into `shards.json`.

    Raises:
        ValueError: if the run there was described otherwise (the message lists what changed), or if the folder holds
            something that is no run.
    """
    found = (folder / MANIFEST).exists()
    if not found and folder.exists():
        names = [child.name for child in folder.iterdir()]
        found = MANIFEST in names  # another process has just started the run
        if not found and any(not name.startswith(f"{MANIFEST}.") for name in names):
            raise ValueError(f"--out {folder} is not empty and has no {MANIFEST}; choose another one")
    if found:
        changed = differences({**read_manifest(folder), "totals": None}, {**description, "totals": None})
        if changed:
            raise ValueError(
                f"--out {folder} holds shards of another plan ({'; '.join(changed)}); choose another --out"
            )


def open_manifest(folder: Folder, description: dict) -> None:
    """Start a run in `folder`, unless it is there already; raises what `check_manifest` does."""
    check_manifest(folder, description)
    if not (folder / MANIFEST).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder, description, totals=None)


def write_manifest(folder: Folder, description: dict, totals: dict | None) -> None:
    text = json.dumps({**description, "totals": totals}, indent=1)
    write_text(folder / MANIFEST, text + "\n")


def differences(old: dict, new: dict, prefix: str = "") -> list[str]:
    """What changed between two nested dictionaries, as "name: old → new"."""
    changed = []
    for name in old | new:
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            changed += differences(before, after, prefix=f"{prefix}{name}.")
        elif before != after:
            changed.append(f"{prefix}{name}: {reprlib.repr(before)} → {reprlib.repr(after)}")
    return changed


def total_of(stats: Iterable[dict]) -> dict:
    """Sums over shards."""
    stats = list(stats)
    by_status = sum((Counter(shard["by_status"]) for shard in stats), Counter())
    return {
        "shards": len(stats),
        "planned": sum(shard["planned"] for shard in stats),
        "by_status": dict(sorted(by_status.items())),
        "bytes": sum(shard["bytes"] for shard in stats),
        "class_pixels": [sum(counts) for counts in zip(*(shard["class_pixels"] for shard in stats), strict=True)],
        "ignored_pixels": sum(shard["ignored_pixels"] for shard in stats),
        "perturbations": dict(sorted(sum((Counter(shard["perturbations"]) for shard in stats), Counter()).items())),
    }


def shard_file(folder: Folder, shard: int, suffix: str) -> Folder:
    """The shard's "tar", "jsonl" or "stats.json"."""
    return folder / f"{shard:05d}.{suffix}"


def read_manifest(folder: Folder) -> dict:
    """`shards.json`: label_space, generator_sha256, plan, totals (None while the run is not finished)."""
    file = folder / MANIFEST
    try:
        return read_json(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} holds no shards: {file} is missing") from None


def committed_shards(folder: Folder) -> list[int]:
    """The numbers of the shards that are complete."""
    if not is_local(folder):
        folder.fs.invalidate_cache()  # of listings: other processes write there
    return sorted(int(file.name[:5]) for file in folder.glob("[0-9][0-9][0-9][0-9][0-9].stats.json"))


def shard_urls(folder: Folder | str) -> list[str]:
    """Of the tars in a folder that are complete, for `stream`."""
    folder = open_folder(folder) if isinstance(folder, str) else folder
    return [str(shard_file(folder, shard, "tar")) for shard in committed_shards(folder)]


def read_stats(folder: Folder, shard: int) -> dict:
    return json.loads(shard_file(folder, shard, "stats.json").read_text())


def read_rows(folder: Folder, shard: int) -> list[dict]:
    """The manifest rows of a shard, by key; `members` is extension → [offset, size], `crc32` extension → checksum."""
    with shard_file(folder, shard, "jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_member(folder: Folder, row: dict, extension: str) -> bytes:
    """One file of a sample, without a pass over its tar."""
    offset, size = row["members"][extension]
    with shard_file(folder, row["shard"], "tar").open("rb") as stream:
        stream.seek(offset)
        return stream.read(size)


def image_extension(members: Iterable[str]) -> str:
    """Of a good sample's image, among the extensions of its members."""
    return next(name for name in members if name not in ("json", "seg.png"))


def first_failure(folder: Folder) -> dict | None:
    """The first manifest row whose sample could not be made."""
    for shard in committed_shards(folder):
        if read_stats(folder, shard)["by_status"].keys() - {OK}:
            return next(row for row in read_rows(folder, shard) if row["status"] != OK)
    return None

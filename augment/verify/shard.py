"""One shard: its tar, its rows and its commit mark, held against each other."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from augment.ordered_map import ordered_map, thread_pool
from augment.shards import OK, differences, shard_file
from augment.storage import Folder, local_file
from augment.verify.across import SHOWN
from augment.verify.finding import Finding
from augment.verify.listing import list_tar
from augment.verify.sample import Checked, Common, check_row, check_sample, row_error
from dpsims.labels import IGNORE_INDEX
from dpsims.sample import file_sha256

AHEAD = 4  # samples under way, per thread
STATS = {"planned": int, "by_status": dict, "class_pixels": list, "ignored_pixels": int, "perturbations": dict}
STATS |= {"bytes": int, "sha256": dict}


class ShardCheck:
    """Goes through one shard; findings are collected on the way.

    Args:
        names: of the files in the folder.

    Attributes:
        stats: None if there are none, or they are broken.
        rows: None for each that cannot be read; None in all if there are none.
    """

    def __init__(self, folder: Folder, shard: int, names: Collection[str], common: Common) -> None:
        self.folder, self.shard, self.common = folder, shard, common
        self.findings: list[Finding] = []
        self.there = {suffix: f"{shard:05d}.{suffix}" in names for suffix in ("tar", "jsonl", "stats.json")}
        self.stats = self._read_stats() if self.there["stats.json"] else None
        self.rows = self._read_rows() if self.there["jsonl"] else None

    def add(self, kind: str, message: str, key: str | None = None) -> None:
        self.findings.append(Finding(self.shard, key, kind, message))

    @property
    def whole(self) -> bool:
        """All rows could be read."""
        return self.rows is not None and None not in self.rows

    def name(self, suffix: str) -> str:
        return f"{self.shard:05d}.{suffix}"

    def _read_stats(self) -> dict | None:
        try:
            stats = json.loads(shard_file(self.folder, self.shard, "stats.json").read_text(encoding="utf-8"))
            broken = [name for name, kind in STATS.items() if type(stats[name]) is not kind]
            numbers = [*stats["by_status"].values(), *stats["class_pixels"], *stats["perturbations"].values()]
            whole = not broken and all(type(it) is int for it in numbers) and {"tar", "jsonl"} <= stats["sha256"].keys()
            classes = self.common.space.num_classes if self.common.space else len(stats["class_pixels"])
            whole = whole and len(stats["class_pixels"]) == classes
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            self.add("stats", f"{self.name('stats.json')} is broken; it holds {', '.join(STATS)} of a shard")
        return stats if whole else None

    def _read_rows(self) -> list[dict | None]:
        content = shard_file(self.folder, self.shard, "jsonl").read_bytes()
        self._check_sha256("jsonl", hashlib.sha256(content).hexdigest())
        rows: list[dict | None] = []
        for number, line in enumerate(content.splitlines(), start=1):
            try:
                row = json.loads(line)
                error = row_error(row)
            except ValueError as problem:
                error = f"is not JSON: {problem}"
            if error:
                self.add("row", f"row {number} of {self.name('jsonl')} {error}")
            rows.append(None if error else row)
        return rows

    def _check_sha256(self, suffix: str, found: str) -> None:
        if self.stats is not None and found != self.stats["sha256"][suffix]:
            sums = f"its sha256 is {found[:12]}, {self.name('stats.json')} names {self.stats['sha256'][suffix][:12]}"
            self.add("sha256", f"{self.name(suffix)} is not the file that was committed: {sums}")

    def check_rows(self) -> list[Checked]:
        """What the rows say of themselves, and whether the stats count them; those that can be read."""
        if self.rows is None:
            return []
        if self.stats is not None:
            counts = {"planned": len(self.rows)}
            if self.whole:
                counts["by_status"] = dict(sorted(Counter(row["status"] for row in self.rows).items()))
            changed = differences({name: self.stats[name] for name in counts}, counts)
            if changed:
                told = f"{self.name('stats.json')} does not count the rows of {self.name('jsonl')}"
                self.add("stats", f"{told} ({'; '.join(changed)})")
        checked = [check_row(row, i, self.shard, self.common) for i, row in enumerate(self.rows) if row is not None]
        first: dict[str, int] = {}
        for number, it in enumerate(checked, start=1):
            self.findings += it.findings
            it.findings.clear()
            key = it.row["key"]
            if first.setdefault(key, number) != number:
                self.add("duplicate", f"rows {first[key]} and {number} have the same key", key)
        return checked

    def check_tar(self, checked: list[Checked], threads: int) -> Iterator[Checked]:
        """Look at the files of all rows, and at the tar as a whole; gives each row when it is done.

        Args:
            checked: by `check_rows`.
        """
        if not self.there["tar"]:
            return
        with local_file(shard_file(self.folder, self.shard, "tar")) as tar, thread_pool(threads) as pool:
            if self.stats is not None and tar.stat().st_size != self.stats["bytes"]:
                sizes = f"{tar.stat().st_size:,} bytes; {self.name('stats.json')} says {self.stats['bytes']:,}"
                self.add("size", f"{self.name('tar')} has {sizes}")
            self._check_sha256("tar", file_sha256(tar))
            yield from self._check_members(tar, checked, threads, pool)

    def _check_members(
        self, tar: Path, checked: list[Checked], threads: int, pool: ThreadPoolExecutor
    ) -> Iterator[Checked]:
        listing = list_tar(tar)
        if listing.error:
            self.add("tar", f"{tar.name} {listing.error}")
        for key in sorted(listing.places.keys() - {it.row["key"] for it in checked}) if self.whole else ():
            members = ", ".join(f"{key}.{extension}" for extension in listing.places[key])
            self.add("stray", f"{tar.name} holds {members}, which no row names")
        siblings: dict[tuple[str, int], Checked] = {}  # the first sample of each label map
        pixels, complete = np.zeros(256, np.int64), self.whole
        check = partial(check_sample, tar=tar, listing=listing, common=self.common)
        for it in ordered_map(pool, check, checked, AHEAD * threads):
            self.findings += it.findings
            if it.pixels is not None:
                pixels += it.pixels
                self._compare(it, siblings.setdefault((it.row["source_key"], it.row["variant"]), it))
            elif it.row["status"] == OK:
                complete = False
            yield it
        if complete:
            self._check_pixels(pixels)

    def _compare(self, it: Checked, sibling: Checked) -> None:
        if it.label_sha256 != sibling.label_sha256:
            of = f"{it.row['source_key']!r}, variant {it.row['variant']}"
            message = f"its label map is not that of {sibling.row['key']}, though both are made from {of}"
            self.add("label", message, it.row["key"])

    def _check_pixels(self, pixels: Int64[np.ndarray, "256"]) -> None:
        if self.stats is None:
            return
        classes = len(self.stats["class_pixels"])
        names = self.common.space.classes if self.common.space else [f"class {i}" for i in range(classes)]
        told = dict(zip(names, self.stats["class_pixels"], strict=True)) | {"ignored": self.stats["ignored_pixels"]}
        found = dict(zip(names, pixels.tolist(), strict=False)) | {"ignored": int(pixels[IGNORE_INDEX])}
        changed = differences(told, found)
        if changed:
            listed = "; ".join([*changed[:SHOWN], *([f"{len(changed)} in all"] if len(changed) > SHOWN else [])])
            self.add("pixels", f"{self.name('stats.json')} does not count the pixels of the label maps ({listed})")

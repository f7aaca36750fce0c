"""What `shards.json` says about a folder of shards, and which files are to be there."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from augment.shards import MANIFEST
from augment.storage import Folder
from augment.verify.finding import Finding
from augment.verify.sample import Common
from dpsims.labels import LabelSpace

SUFFIXES = ("tar", "jsonl", "stats.json")
SHARD_FILE = re.compile(r"(\d{5})\.(tar|jsonl|stats\.json)")
PLAN = {"images": int, "label_maps": int, "shard_size": int, "seed": int, "height": int, "width": int}
PLAN |= {"image_format": str, "label_names_sha256": str, "samples_per_map": int | str, "bf16": bool}


@dataclass(frozen=True)
class Description:
    """`shards.json`, as far as it can be read.

    Attributes:
        plan: the entries of its plan that are what they should be.
        totals: None where the run is not finished, or does not say.
    """

    common: Common
    plan: dict[str, Any]
    totals: dict | None

    def num_shards(self) -> int | None:
        """How many shards the plan has; None where it cannot be told before the run is finished."""
        counted = {name: self.plan.get(name) for name in ("samples_per_map", "shard_size", "label_maps")}
        samples, size, maps = counted.values()
        if isinstance(samples, int) and size and maps and 1 <= samples <= size:
            return -(-maps // (size // samples))
        shards = (self.totals or {}).get("shards")
        return shards if isinstance(shards, int) else None


def describe_folder(folder: Folder) -> tuple[Description, list[Finding]]:
    """Read `shards.json`."""
    findings: list[Finding] = []

    def add(message: str) -> None:
        findings.append(Finding(None, None, "manifest", message))

    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        add(f"{MANIFEST} is missing")
        return Description(Common(), {}, None), findings
    except ValueError as error:  # no JSON, or no text
        add(f"{MANIFEST} is not JSON: {error}")
        return Description(Common(), {}, None), findings
    if not isinstance(manifest, dict):
        add(f"{MANIFEST} is no JSON object")
        return Description(Common(), {}, None), findings

    space = None
    try:
        space = LabelSpace.from_meta(manifest.get("label_space"), source=f"label_space in {MANIFEST}")
    except ValueError as error:
        add(str(error))
    given = manifest.get("plan")
    given = given if isinstance(given, dict) else {}
    plan = {name: given[name] for name, kind in PLAN.items() if isinstance(given.get(name), kind)}
    lacking = [name for name in PLAN if name not in plan]
    if lacking:
        add(f"the plan in {MANIFEST} does not say {', '.join(lacking)}")
    generator = manifest.get("generator_sha256")
    if not isinstance(generator, str):
        add(f"{MANIFEST} has no generator_sha256")
        generator = None
    totals = manifest.get("totals")
    if not isinstance(totals, dict):
        add(f"the run is not finished: {MANIFEST} has no totals; the command that made these shards goes on")
        totals = None
    told = {name: plan.get(name) for name in ("height", "width", "image_format", "seed")}
    return Description(Common(space, generator_sha256=generator, **told), plan, totals), findings


def check_files(names: Collection[str], num_shards: int) -> list[Finding]:
    """Every shard of the plan is there, and nothing that looks like a shard besides."""
    findings = []
    for shard in range(num_shards):
        missing = [suffix for suffix in SUFFIXES if f"{shard:05d}.{suffix}" not in names]
        if len(missing) == len(SUFFIXES):
            findings.append(Finding(shard, None, "missing", f"shard {shard:05d} of {num_shards} is not there"))
        elif missing:
            files = ", ".join(f"{shard:05d}.{suffix}" for suffix in missing)
            mark = "; without its commit mark the shard does not count" if "stats.json" in missing else ""
            findings.append(Finding(shard, None, "missing", f"{files} is not there{mark}"))
    for name in sorted(names):
        match = SHARD_FILE.fullmatch(name)
        if (match and int(match[1]) >= num_shards) or (name.endswith(".tar") and not match):
            message = f"{name} is not of the plan, which has {num_shards} shards"
            findings.append(Finding(int(match[1]) if match else None, None, "stray", message))
        elif name.endswith(".part"):
            findings.append(Finding(None, None, "leftover", f"{name} was never finished and can be deleted"))
    return findings


def shards_among(names: Collection[str]) -> set[int]:
    """The numbers of the shards that files belong to."""
    return {int(match[1]) for match in map(SHARD_FILE.fullmatch, names) if match}

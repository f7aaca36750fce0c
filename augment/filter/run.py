"""A filter over all shards of a folder: the ones that it lacks, in one process or as one part of several.

calibration.json   what real images look like, measured first (`augment/filter/calibrate.py`)
00000.…            of each shard (`augment/filter/shard.py`)
decisions.jsonl    {"key", "keep", "score", "reason", …} of each sample
filter.json        classes, hardness, limits, rules, totals; written last

The shards stay as they are. The same command goes on; other rules for whole samples need no second look at images.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn
from tqdm import tqdm

from augment.filter.calibrate import CALIBRATION, FEATURES, Calibration, calibrate, load_calibration, save_calibration
from augment.filter.decide import REASONS, decide, fake_limit
from augment.filter.rules import PixelRule, SampleRules
from augment.filter.scorer import Scorer
from augment.filter.shard import Filter
from augment.ordered_map import thread_pool
from augment.shards import MANIFEST, OK, committed_shards, read_manifest, read_rows, read_stats
from augment.storage import Folder, new_file, read_json, sweep, write_text
from augment.synthesize import Part
from dpsims.labels import LabelSpace
from dpsims.sample import Labelled

DECISIONS, SUMMARY = "decisions.jsonl", "filter.json"


def open_shards(shards: Folder) -> tuple[LabelSpace, tuple[int, int], dict]:
    """The label space, (height, width) and manifest of finished shards; a ValueError if they are not."""
    manifest = read_manifest(shards)
    if manifest["totals"] is None:
        raise ValueError(f"--shards {shards} are not finished; the command that made them goes on")
    space = LabelSpace.from_meta(manifest["label_space"], source=str(shards / MANIFEST))
    return space, (manifest["plan"]["height"], manifest["plan"]["width"]), manifest


def manifest_sha256(manifest: dict) -> str:
    """Of what decides the bytes of shards."""
    decisive = {key: value for key, value in manifest.items() if key != "totals"}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def describe(manifest: dict, scorer: Scorer, rule: PixelRule, real: dict, features: dict | None) -> dict:
    """All that decides what is measured.

    Args:
        real: which real images.
        features: of which network; None without.
    """
    shards = {"generator_sha256": manifest["generator_sha256"], "manifest_sha256": manifest_sha256(manifest)}
    described = {"shards": shards, **scorer.describe(), **asdict(rule), "real": real, "features": features}
    return json.loads(json.dumps(described))


def run_filter(
    shards: Folder,
    out: Path,
    scorer: Scorer,
    reals: Callable[[], Iterable[tuple[str, Labelled]]],
    rule: PixelRule,
    sample_rules: SampleRules,
    *,
    settings: dict,
    real_images: int,
    embedder: nn.Module | None,
    device: torch.device,
    batch_size: int,
    threads: int,
    part: Part,
    progress: bool = False,
) -> dict | None:
    """Measure on real images, filter the shards of a part, and decide once all are there; what is there already stays.

    Args:
        reals: gives the real images with their names and label maps, in the frame of the synthetic ones.
        settings: as of `describe`.
        real_images: how many.
        device: of the embedder.

    Returns:
        The content of `filter.json`; None while shards of other parts are missing.

    Raises:
        ValueError: `out` holds shards, a filter of other settings or something else, the rules ask for what is not
            measured, or a loss is not finite.
    """
    space, size, _ = open_shards(shards)
    if (out / MANIFEST).exists():
        raise ValueError(f"--out {out} holds shards, which stay as they are; decisions go to another folder")
    others = [child.name for child in out.iterdir() if child.suffix != ".part"] if out.exists() else []
    if others and not {CALIBRATION, FEATURES}.intersection(others):
        raise ValueError(f"--out {out} is not empty and has no {CALIBRATION}; choose another one")
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    work = {"embedder": embedder, "device": device, "batch_size": batch_size}
    calibration = load_calibration(out, settings)
    if calibration is None:
        found = calibrate(scorer, reals(), space, rule, **work, total=real_images, progress=progress)
        save_calibration(out, found, settings)
        calibration = load_calibration(out, settings)  # another process' if it was first

    everything, done = committed_shards(shards), set(committed_shards(out))
    mine = everything[part.index :: part.count]
    counts = {shard: read_stats(shards, shard)["by_status"].get(OK, 0) for shard in mine}
    initial = sum(counts[shard] for shard in mine if shard in done)
    options = {"desc": "synthetic images", "unit": "img", "disable": None if progress else True}
    with thread_pool(threads) as pool, tqdm(total=sum(counts.values()), initial=initial, **options) as bar:
        look = Filter(scorer, calibration, space, **work, window=rule.window, size=size, pool=pool)
        for shard in mine:
            for step in look.run(shards, out, shard) if shard not in done else ():
                bar.update(step)
    return finish(out, everything, calibration, space, scorer, settings, sample_rules)


def finish(
    out: Path,
    shards: list[int],
    calibration: Calibration,
    space: LabelSpace,
    scorer: Scorer,
    settings: dict,
    sample_rules: SampleRules,
) -> dict | None:
    """Once all shards are filtered, decide on all samples and return `filter.json`; None before."""
    if set(shards) - set(committed_shards(out)):
        return None
    rows = chain.from_iterable(read_rows(out, shard) for shard in shards)
    fakest, reasons = fake_limit(rows, sample_rules.drop_fakest), Counter()
    with new_file(out / DECISIONS) as part:
        with open(part, "w", encoding="utf-8") as lines:
            for shard in shards:
                for decision in decide(read_rows(out, shard), sample_rules, fakest):
                    lines.write(json.dumps(decision, ensure_ascii=False) + "\n")
                    reasons[decision["reason"]] += 1
        (out / SUMMARY).unlink(missing_ok=True)  # while the two files are of different rules
    stats = [read_stats(out, shard) for shard in shards]
    pixels, rejected = (np.sum([it[name] for it in stats], axis=0) for name in ("class_pixels", "rejected_pixels"))
    summary = {
        "classes": list(space.classes),
        "settings": settings,
        "origin": scorer.origin(),
        "sample_rules": asdict(sample_rules),
        **calibration.describe(space),
        "totals": {
            "samples": reasons.total(),
            "kept": reasons[None],
            "dropped": {reason: reasons[reason] for reason in REASONS if reasons[reason]},
            "pixels": dict(zip(space.classes, pixels.tolist(), strict=True)),
            "rejected_pixels": dict(zip(space.classes, rejected.tolist(), strict=True)),
        },
    }
    write_text(out / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    return summary


def read_summary(out: Path) -> dict:
    """`filter.json`; a ValueError if the filter is not finished."""
    if not (out / SUMMARY).is_file():
        raise ValueError(f"{out} holds no finished filter: {SUMMARY} is missing; the command that makes it goes on")
    return read_json(out / SUMMARY)


def read_decisions(out: Path) -> Iterator[dict]:
    """The rows of `decisions.jsonl`, one at a time."""
    with open(out / DECISIONS, encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def looked_at(summary: dict, manifest: dict) -> bool:
    """Whether a filter, of which this is `filter.json`, is of these shards: those of others may have the same keys."""
    return summary["settings"]["shards"]["manifest_sha256"] == manifest_sha256(manifest)


def kept_keys(out: Path, shards: Path) -> set[str]:
    """Of the samples that a finished filter of these shards keeps.

    Raises:
        ValueError: it is not finished, is of other shards, or keeps none.
    """
    if not looked_at(read_summary(out), read_manifest(shards)):
        raise ValueError(f"the filter in {out} is of other shards than those in {shards}")
    kept = {row["key"] for row in read_decisions(out) if row["keep"]}
    if not kept:
        raise ValueError(f"the filter in {out} keeps no sample")
    return kept


def read_limits(out: Path, space: LabelSpace) -> tuple[dict, Float64[np.ndarray, " c"]]:
    """`filter.json` of a finished filter, and the limit of each class.

    Raises:
        ValueError: it is not finished, or of other classes.
    """
    summary = read_summary(out)
    if summary["classes"] != list(space.classes):
        raise ValueError(f"the filter in {out} is of the classes {summary['classes']}, not {list(space.classes)}")
    limits = [summary["limits"][name] for name in space.classes]
    return summary, np.array([np.inf if limit is None else limit for limit in limits], float)

"""From what was measured of all samples to which are kept: cheap, so that other rules need no second look at images."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from augment.filter.rules import SampleRules
from augment.shards import OK

REASONS = {  # in the order in which they are asked for
    "unreadable": "its files cannot be read",
    "unlabelled": "no labelled pixel is left",
    "rejected": "more than --max-rejected of its pixels are rejected",
    "fake": "it is among the --drop-fakest",
    "copy": "it is nearer than --min-novelty to a real image",
    "alike": "it is nearer than --min-diversity to a sample of its label map that is kept",
}


def decide(rows: Iterable[dict], rules: SampleRules, fakest: float | int = np.inf) -> Iterator[dict]:
    """Rows of `decisions.jsonl`, in the order of the samples'.

    The score is the share of labelled pixels that stay, 0..1.

    Args:
        rows: of a shard, by key (`Measured`); all samples of a label map share one.
        fakest: as of `fake_limit`.

    Raises:
        ValueError: a rule asks for what was not measured.
    """
    kept_before: dict[str, list[bool]] = {}
    for row in rows:
        if row["status"] == OK:
            check_measured(row, rules)
        yield decide_one(row, rules, fakest, kept_before.setdefault(row["source_key"], []))


def decide_one(row: dict, rules: SampleRules, fakest: float, kept_before: list[bool]) -> dict:
    """A sample's decision; adds to `kept_before`, of the readable samples of its source, whether it is kept."""
    if row["status"] != OK:
        reason, share = "unreadable", 1.0
    else:
        share = row["rejected"] / row["labelled"] if row["labelled"] else 1.0
        reason = reason_of(row, rules, share, fakest, kept_before)
        kept_before.append(reason is None)
    measured = {name: row[name] for name in ("fake", "novelty", "nearest_real")}
    return {
        "key": row["key"],
        "keep": reason is None,
        "score": round(1 - share, 4),
        "reason": reason,
        **measured,
        "error": row["error"],
    }


def reason_of(row: dict, rules: SampleRules, share: float, fakest: float, kept_before: Sequence[bool]) -> str | None:
    if share == 1:
        return "unlabelled"
    if rules.max_rejected is not None and share > rules.max_rejected:
        return "rejected"
    if rules.drop_fakest is not None and row["fake"] > fakest:
        return "fake"
    if rules.min_novelty is not None and row["novelty"] < rules.min_novelty:
        return "copy"
    if rules.min_diversity is not None:
        near = [distance for distance, kept in zip(row["siblings"], kept_before, strict=True) if kept]
        if near and min(near) < rules.min_diversity:
            return "alike"
    return None


def fake_limit(rows: Iterable[dict], share: float | int | None) -> float:
    """Above which the fakest of all samples lie: of N, at most `share`·N."""
    if not share:
        return np.inf
    fakes = np.sort([row["fake"] for row in rows if row["fake"] is not None])
    most = int(share * len(fakes) + 1e-9)  # 0.29 · 100 is a bit less than 29
    return float(fakes[-1 - most]) if len(fakes) else np.inf


def check_measured(row: dict, rules: SampleRules) -> None:
    if rules.drop_fakest is not None and row["fake"] is None:
        raise ValueError("--drop-fakest needs --scorer discriminator: a segmenter does not tell how fake an image is")
    if rules.need_features and row["novelty"] is None:
        raise ValueError("--min-novelty and --min-diversity need features, and --features is none")

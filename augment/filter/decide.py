"""From what was measured of all samples to which are kept: cheap, so that other rules need no second look at images."""

from collections import Counter
from collections.abc import Sequence

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


def decide(rows: Sequence[dict], rules: SampleRules) -> list[dict]:
    """Rows of `decisions.jsonl`, in the order of the samples'.

    The score is the share of labelled pixels that stay, 0..1.

    Args:
        rows: of all shards, by key (`Measured`).

    Raises:
        ValueError: a rule asks for what was not measured.
    """
    limit = fake_limit(rows, rules.drop_fakest)
    check_measured(rows, rules)
    kept_before: dict[str, list[bool]] = {}
    return [decide_one(row, rules, limit, kept_before.setdefault(row["source_key"], [])) for row in rows]


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


def fake_limit(rows: Sequence[dict], share: float | int | None) -> float:
    """Above which the fakest samples lie: of N, at most `share`·N."""
    fakes = sorted(row["fake"] for row in rows if row["fake"] is not None)
    if not share or not fakes:
        return np.inf
    return fakes[max(0, len(fakes) - int(share * len(fakes)) - 1)]


def check_measured(rows: Sequence[dict], rules: SampleRules) -> None:
    good = [row for row in rows if row["status"] == OK]
    if rules.drop_fakest is not None and any(row["fake"] is None for row in good):
        raise ValueError("--drop-fakest needs --scorer discriminator: a segmenter does not tell how fake an image is")
    if rules.need_features and any(row["novelty"] is None for row in good):
        raise ValueError("--min-novelty and --min-diversity need features, and --features is none")


def count_decisions(decisions: Sequence[dict]) -> dict:
    """How many samples are kept, and why the others are not."""
    dropped = Counter(row["reason"] for row in decisions if not row["keep"])
    return {
        "samples": len(decisions),
        "kept": sum(row["keep"] for row in decisions),
        "dropped": {reason: dropped[reason] for reason in REASONS if dropped[reason]},
    }

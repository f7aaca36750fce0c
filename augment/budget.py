"""A number of images, shared out over label maps so that rare classes, or classes that one names, get more of them."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from dpsims.labels import LabelSpace
from dpsims.sampling import balanced_weights

ROUNDS = 1000
TOLERANCE = 1e-6


def parse_targets(texts: Sequence[str], space: LabelSpace, budget: int) -> dict[int, float]:
    """`CLASS=N` or `CLASS=P%` → class → share of the images that are to hold it, 0..1.

    Raises:
        ValueError: no such class, or a number that the budget cannot hold.
    """
    targets = {}
    for text in texts:
        match = re.fullmatch(r"(.+)=(\d+(?:\.\d+)?)(%?)", text)
        if match is None or match[1] not in space.classes:
            raise ValueError(
                f"--target {text!r} is CLASS=IMAGES or CLASS=SHARE%, with a class of {', '.join(space.classes)}"
            )
        share = float(match[2]) / (100 if match[3] else budget)
        if not 0 < share <= 1:
            raise ValueError(f"--target {text!r} is more than 0 and at most the budget of {budget} images")
        targets[space.classes.index(match[1])] = share
    return targets


def weigh(
    presence: Bool[np.ndarray, "n c"], targets: Mapping[int, float], space: LabelSpace
) -> Float[np.ndarray, " n"]:
    """Each label map's share of the images; the shares sum to 1.

    They start as training samples images, P ∝ (share of maps that hold the rarest class)^(-1/2). Where a target asks
    for more, they are raked: the maps that hold the class are weighed up together, the others down, in turn for all
    targets; and back again, where other targets bring the class more than it asks for (Bregman 1967). Of all weights
    that meet the targets these are the nearest to where they started, by the Kullback-Leibler divergence.

    Raises:
        ValueError: a target's class is in no label map, or the targets cannot be met together.
    """
    for label in targets:
        if not presence[:, label].any():
            raise ValueError(f"--target: no label map holds {space.classes[label]!r}")
    weights, raised = balanced_weights(presence), dict.fromkeys(targets, 0.0)  # logs of factors
    for turn in range(ROUNDS):
        back, moved = turn < ROUNDS // 2, 0.0  # where that takes too long, targets that are met are enough
        for label, target in targets.items():
            held = presence[:, label]
            own, rest = weights[held].sum(), weights[~held].sum()
            if own == 0 or rest == 0:
                continue
            if target == 1:
                weights = np.where(held, weights / own, 0)
                continue
            step = max(np.log(target / (1 - target) * rest / own), -raised[label] if back else 0.0)
            weights = np.where(held, weights * np.exp(step), weights)
            weights /= weights.sum()
            raised[label] += step
            moved = max(moved, abs(step))
        shares = {label: weights[presence[:, label]].sum() for label in targets}
        met = all(shares[label] > target - TOLERANCE for label, target in targets.items())
        if met and (moved < TOLERANCE or not back):
            return weights
    short = ", ".join(f"{space.classes[label]} {shares[label]:.1%} of {targets[label]:.1%}" for label in targets)
    raise ValueError(f"--target: these label maps cannot meet all targets together; at best {short}")


def allot(weights: Float[np.ndarray, " n"], budget: int) -> list[int]:
    """`budget` images in proportion to the weights, each label map's rounded down or up (largest remainders)."""
    exact = weights / weights.sum() * budget
    counts = np.floor(exact + 1e-9).astype(int)
    rest = budget - counts.sum()
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts.tolist()


def meet(
    counts: Sequence[int], presence: Bool[np.ndarray, "n c"], targets: Mapping[int, float], budget: int
) -> list[int]:
    """Move images until the rounded numbers meet the targets, too: `targets` are shares of `budget` images.

    From label maps without any target's class where there are such, to those that have the fewest.
    """
    counts = np.array(counts)
    wanted = presence[:, list(targets)].any(axis=1)
    for label, target in targets.items():
        held, need = presence[:, label], int(np.ceil(target * budget - TOLERANCE))
        while counts[held].sum() < need and counts[~held].any():
            spare = ~held & (counts > 0)
            spare = spare & ~wanted if (spare & ~wanted).any() else spare
            counts[np.flatnonzero(spare)[counts[spare].argmax()]] -= 1
            counts[np.flatnonzero(held)[counts[held].argmin()]] += 1
    return counts.tolist()


def read_counts(file: Path, names: Sequence[str]) -> list[int]:
    """Images of each label map by name from a JSON file {"NAME": N, …}; those that it does not name get none.

    Or from {"counts": {"NAME": N, …}, …}, as tools/budget.py writes it, with where the numbers come from.

    Raises:
        ValueError: it is something else, or names a label map that is not there.
    """
    try:
        counts = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--budget {file} is neither a number nor a JSON file ({error})") from None
    if isinstance(counts, dict) and isinstance(counts.get("counts"), dict):
        counts = counts["counts"]
    if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
        raise ValueError(f'--budget {file} holds no object of numbers of images such as {{"NAME": 8}}')
    unknown = counts.keys() - set(names)
    if unknown:
        raise ValueError(
            f"--budget {file} names {len(unknown)} label maps that are not there, such as {min(unknown)!r}"
        )
    return [counts.get(name, 0) for name in names]

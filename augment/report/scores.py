"""What the segmenters scored, arm by arm and seed by seed, and what a difference between two arms is worth."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t

from augment.report.wording import number, signed
from augment.storage import read_json

MIN_SEEDS = 3  # fewer differences tell nothing about their own spread
ALPHA = 0.05  # a difference that chance makes in fewer comparisons than this is settled
ALIKE = 0.0101  # test.json holds two digits: differences that are no more than one of the last apart are the same

Scores = dict[str, dict[int, dict]]  # arm → seed → content of its test.json


@dataclass(frozen=True)
class Gain:
    """One arm against another, paired by seed. Scores and differences are in percent points.

    Attributes:
        interval: 95 % confidence interval of the mean difference, by Student's t.
        p: of the paired t-test; like the interval None with one seed, and where all differences are the same to the
            last digit: without a spread there is nothing to tell chance by.
    """

    seeds: tuple[int, ...]
    baseline: tuple[float, ...]
    other: tuple[float, ...]
    differences: tuple[float, ...]
    mean: float
    interval: tuple[float, float] | None
    p: float | None

    @property
    def settled(self) -> bool:
        """Whether the seeds tell the difference from chance, if no other was looked at."""
        return len(self.seeds) >= MIN_SEEDS and self.p is not None and self.p < ALPHA


def read_scores(folder: Path) -> Scores:
    """The `test.json` of every `ARM-seedN` in a folder; the same seeds of every arm.

    Raises:
        ValueError: a file that is missing or broken, by its name.
    """
    scores: Scores = {}
    for work_dir in sorted(folder.glob("*-seed*")):
        named = re.fullmatch(r"(.+)-seed(\d+)", work_dir.name)
        if named:
            scores.setdefault(named[1], {})[int(named[2])] = read_test(work_dir / "test.json")
    if not scores:
        raise ValueError(f"no segmenters in {folder}: ARM-seedN/test.json is missing")
    seeds = sorted({seed for by_seed in scores.values() for seed in by_seed})
    for arm in scores:
        for seed in seeds:
            if seed not in scores[arm]:
                raise ValueError(
                    f"{folder / f'{arm}-seed{seed}' / 'test.json'} is missing; the other arms have seed {seed}"
                )
        scores[arm] = {seed: scores[arm][seed] for seed in seeds}
    return scores


def read_test(file: Path) -> dict:
    """One segmenter's scores, as tools/train_segmenter.py --test writes them."""
    if not file.is_file():
        raise ValueError(f"{file} is missing: this segmenter is not tested yet")
    test = read_json(file)
    missing = {"mIoU", "IoU", "images"} - test.keys()
    if missing:
        raise ValueError(f"{file} has no {', '.join(sorted(missing))}")
    return test


def compare(baseline: Mapping[int, float], other: Mapping[int, float]) -> Gain:
    """Pair two arms' scores by seed."""
    assert baseline.keys() == other.keys() and baseline
    seeds = tuple(sorted(baseline))
    differences = tuple(other[seed] - baseline[seed] for seed in seeds)
    mean = fmean(differences)
    interval = p = None
    if max(differences) - min(differences) > ALIKE:
        error, freedom = stdev(differences) / len(seeds) ** 0.5, len(seeds) - 1
        margin = float(t.ppf(1 - ALPHA / 2, freedom)) * error
        interval = (mean - margin, mean + margin)
        p = 2 * float(t.sf(abs(mean) / error, freedom))
    return Gain(
        seeds=seeds,
        baseline=tuple(baseline[seed] for seed in seeds),
        other=tuple(other[seed] for seed in seeds),
        differences=differences,
        mean=mean,
        interval=interval,
        p=p,
    )


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values of one family of tests, raised so that all together err as rarely as one (Holm 1979).

    One that is None, for a test that is not there yet or cannot be made, stays None and counts as a test.
    """
    adjusted = dict.fromkeys(p_values)
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    highest = 0.0
    for rank, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = highest
    return adjusted


def headline(gain: Gain) -> str:
    """The result in a line that promises nothing which the seeds do not hold."""
    return f"{signed(gain.mean)} mIoU points, {'outside noise' if gain.settled else 'not settled'}"


def sentence(gain: Gain, baseline: str, other: str, test_images: int) -> str:
    """The result in one sentence, with every seed in it and what they are worth.

    Args:
        baseline, other: what the two arms trained on, as in "with … 41.3 %".
    """
    seeds = "one seed" if len(gain.seeds) == 1 else f"{len(gain.seeds)} seeds"
    worth = "" if gain.settled else f", which {seeds} cannot tell from chance"
    if len(gain.seeds) >= MIN_SEEDS and gain.interval:
        low, high = (signed(end) for end in gain.interval)
        worth += (
            f", with a 95 % interval of {low} to {high} over {seeds}"
            if gain.settled
            else f" (95 % interval: {low} to {high})"
        )
    values = zip(gain.seeds, gain.baseline, gain.other, gain.differences, strict=True)
    listed = "; ".join(f"seed {seed}: {number(a, 2)} → {number(b, 2)}, {signed(d, 2)}" for seed, a, b, d in values)
    means = f"{number(fmean(gain.baseline))} % with {baseline} and {number(fmean(gain.other))} % with {other}"
    scored = f"On {test_images} held-out images the segmenter's mean IoU is {means}"
    return f"{scored}: {signed(gain.mean)} points{worth} – {listed}."


def mean_of(values: Iterable[float | None]) -> float | None:
    """Of those there are: a class that a seed neither saw nor predicted has no IoU there."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

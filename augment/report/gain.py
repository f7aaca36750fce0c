"""What arms of training are worth against real images alone, as numbers: by label fraction, budget, arm and class.

`report.json` holds them all, `report.html` shows them. Of the folder that is read, `gain_trained.py` describes the
trainings; NAME/shards, NAME/filtered (what those of a fraction were trained on) and timings.json lie beside them.
"""

import json
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from augment.filter.run import SUMMARY
from augment.report.gain_doubts import find_doubts, find_limits
from augment.report.gain_page import render_gain
from augment.report.gain_trained import FILTERED, REAL, arms_of, planned, read_settings, read_trained, real_arm
from augment.report.gain_words import FEW_SEEDS, GAIN, LOSS, NO_SPREAD, NOISE, UNFINISHED, headline, sentence
from augment.report.job import describe_shards, read_timings
from augment.report.scores import ALPHA, MIN_SEEDS, Gain, Scores, compare, holm, mean_of
from augment.shards import MANIFEST, read_manifest
from augment.storage import read_json, write_text
from dpsims.spread import spread

POINTS = 80  # of a curve, at most


def write_gain_report(out: Path, *, partial: bool = False) -> tuple[Path, str]:
    """Write `report.json` and `report.html` into a folder of tools/gain.py; returns the page and the result's sentence.

    Args:
        partial: report what is finished; else a missing training is an error.

    Raises:
        ValueError: a piece that is missing, broken or does not fit the others, by its file.
    """
    try:
        report = read_gain(out, partial=partial)
        page = render_gain(out, report)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is missing" if error.filename else str(error)) from error
    write_text(out / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(out / "report.html", page)
    return out / "report.html", report["result"]["sentence"]


def read_gain(out: Path, *, partial: bool = False) -> dict:
    """Every number of the report.

    Args:
        partial: as of `write_gain_report`; an arm is judged once its seeds and those of the real arm are all there.
    """
    settings = read_settings(out / "settings.json")
    trained, missing = read_trained(out, settings, partial=partial)
    count = sum(1 for _ in planned(settings))
    images = [test["images"] for scores in trained.values() for arm in scores.values() for test in arm.values()]
    test_images = images[0] if images else None
    fractions = []
    for fraction in settings["fractions"]:
        budgets = {
            budget: describe_arms(settings, budget, trained[fraction["name"], budget]) for budget in settings["budgets"]
        }
        best = {budget: find_best(arms) for budget, arms in budgets.items()}
        fractions.append({**fraction, **describe_made(out / fraction["name"]), "budgets": budgets, "best": best})
    timings = {"machine": None, "stages": []}
    if not partial or (out / "timings.json").is_file():
        timings = read_timings(out / "timings.json")
    report = {
        "settings": {**settings, "config": Path(settings["config"]).name},  # its path is the machine's
        "trainings": {"finished": count - len(missing), "planned": count, "missing": missing},
        "test_images": test_images,
        "fractions": fractions,
        "doubts": find_doubts(out, settings, trained),
        "limits": find_limits(settings, test_images),
        "stages": timings["stages"],
        "seconds": sum(stage["seconds"] for stage in timings["stages"]),
        "machine": timings["machine"],
    }
    return {"result": {"headline": headline(report), "sentence": sentence(report)}, **report}


def describe_arms(settings: dict, budget: str, scores: Scores) -> dict[str, dict]:
    """Every arm of one label fraction and budget: its scores by seed, and what they are worth against the real arm's.

    `verdict` is after correction for all arms that are to be compared, `interval_95` before.
    """
    real = scores.get(real_arm(settings), {})
    arms = arms_of(settings, budget)
    gains = {arm["name"]: pair(real, scores.get(arm["name"], {})) for arm in arms if arm["kind"] != REAL}
    corrected = holm({name: gain.p if is_finished(gain, settings) else None for name, gain in gains.items()})
    described = {}
    for arm in arms:
        name, by_seed = arm["name"], scores.get(arm["name"], {})
        values = [by_seed[seed]["mIoU"] for seed in sorted(by_seed)]
        against = None
        if arm["kind"] != REAL:
            against = describe_gain(gains[name], corrected[name], finished=is_finished(gains[name], settings))
        described[name] = {
            "seeds": sorted(by_seed),
            "values": values,
            "mean": fmean(values) if values else None,
            "std": stdev(values) if len(values) > 1 else None,
            "against_real": against,
            "classes": {name: describe_class(name, real, by_seed) for name in settings["classes"]},
            **describe_curves(by_seed),
        }
    return described


def pair(real: Mapping[int, dict], other: Mapping[int, dict]) -> Gain | None:
    """The mIoU of two arms over the seeds that both have; None where there is no such seed."""
    seeds = real.keys() & other.keys()
    if not seeds:
        return None
    return compare(*({seed: by_seed[seed]["mIoU"] for seed in seeds} for by_seed in (real, other)))


def is_finished(gain: Gain | None, settings: dict) -> bool:
    """Whether all seeds are there. Nothing is judged before: who stops when it looks good has tested nothing."""
    return gain is not None and set(gain.seeds) == set(settings["seeds"])


def describe_gain(gain: Gain | None, p_holm: float | None, *, finished: bool) -> dict:
    """What is known of a difference, and the verdict on it."""
    if gain is None:
        nothing = dict.fromkeys(("mean", "interval_95", "interval_leaves_out_0", "p", "p_holm"))
        return {"seeds": [], "differences": [], **nothing, "outside_noise": False, "verdict": UNFINISHED}
    verdict = judge(gain, p_holm) if finished else UNFINISHED
    return {
        "seeds": list(gain.seeds),
        "differences": list(gain.differences),
        "mean": gain.mean,
        "interval_95": gain.interval and list(gain.interval),
        "interval_leaves_out_0": gain.interval and not gain.interval[0] <= 0 <= gain.interval[1],
        "p": gain.p,
        "p_holm": p_holm,
        "outside_noise": verdict in (GAIN, LOSS),
        "verdict": verdict,
    }


def judge(gain: Gain, p_holm: float | None) -> str:
    if len(gain.seeds) < MIN_SEEDS:
        return FEW_SEEDS
    if p_holm is None:
        return NO_SPREAD
    if p_holm >= ALPHA:
        return NOISE
    return GAIN if gain.mean > 0 else LOSS


def find_best(arms: dict[str, dict]) -> str | None:
    """The arm with the highest mean, of those that are finished."""
    finished = {
        name: arm["mean"]
        for name, arm in arms.items()
        if arm["against_real"] and arm["against_real"]["verdict"] != UNFINISHED
    }
    return max(finished, key=finished.get, default=None)


def describe_class(name: str, real: Mapping[int, dict], other: Mapping[int, dict]) -> dict:
    """IoU in percent by seed, and differences where both arms have an IoU; None where there is none."""
    values = {seed: test["IoU"][name] for seed, test in sorted(other.items())}
    baseline = {seed: test["IoU"][name] for seed, test in real.items()}
    differences = [
        None if value is None or baseline.get(seed) is None else value - baseline[seed]
        for seed, value in values.items()
    ]
    return {
        "values": list(values.values()),
        "mean": mean_of(values.values()),
        "differences": differences,
        "difference": mean_of(differences),
    }


def describe_curves(by_seed: Mapping[int, dict]) -> dict:
    """Iterations that were trained; training loss and validation mIoU by iteration, as means over the seeds."""
    logged = [test["curves"] for test in by_seed.values()]
    curves = {}
    for name in ("loss", "val_mIoU"):
        by_step = [dict(zip(curve[name]["iteration"], curve[name]["value"], strict=True)) for curve in logged]
        by_step = [{step: value for step, value in values.items() if isfinite(value)} for values in by_step]
        steps = spread(sorted(set.intersection(*map(set, by_step))), POINTS) if by_step else []
        curves[name] = {"iteration": steps, "value": [fmean(values[step] for values in by_step) for step in steps]}
    lengths = {curve["iterations"] for curve in logged}
    return {"iterations": lengths.pop() if len(lengths) == 1 else None, **curves}


def describe_made(folder: Path) -> dict:
    """What the arms of a label fraction were trained on, as far as it is there and finished."""
    shards = filtered = None
    if (folder / "shards" / MANIFEST).is_file():
        manifest = read_manifest(folder / "shards")
        if manifest["totals"] is not None:
            shards = describe_shards(manifest)
    if (folder / FILTERED / SUMMARY).is_file():
        filtered = read_json(folder / FILTERED / SUMMARY)
        del filtered["origin"], filtered["settings"]["real"]["root"]  # paths of the machine
    return {"shards": shards, "filter": filtered}


def gain_summary(report: dict) -> dict:
    """The numbers to keep: by label fraction, budget and arm the mIoU of every seed, and the difference to real."""
    fractions = {}
    for fraction in report["fractions"]:
        budgets = {
            budget: {name: summarize(arm) for name, arm in arms.items()} for budget, arms in fraction["budgets"].items()
        }
        fractions[fraction["name"]] = {"images": fraction["images"], **budgets}
    settings, trainings = report["settings"], report["trainings"]
    return {
        "result": report["result"]["sentence"],
        "trainings": {key: trainings[key] for key in ("finished", "planned")},
        "seeds": settings["seeds"],
        "iterations": settings["iterations"],
        "test_images": report["test_images"],
        "doubts": report["doubts"],
        "fractions": fractions,
    }


def summarize(arm: dict) -> dict:
    """To four digits."""

    def short(value: float | None) -> float | None:
        return value if value is None else round(value, 4)

    summary = {"values": arm["values"], "mean": short(arm["mean"]), "std": short(arm["std"])}
    summary["iterations"] = arm["iterations"]
    if gain := arm["against_real"]:
        summary["difference"] = short(gain["mean"])
        summary["interval_95"] = gain["interval_95"] and [short(end) for end in gain["interval_95"]]
        summary |= {"p": short(gain["p"]), "p_holm": short(gain["p_holm"]), "verdict": gain["verdict"]}
    return summary

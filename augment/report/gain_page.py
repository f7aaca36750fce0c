"""The page of a comparison of arms: curves over label fractions, tables of differences, classes, and what was run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from augment.report.charts import WIDE, Arm, Interval, Line, Series, bar_rows, fraction_chart, interval_rows, line_chart
from augment.report.filtering import filter_facts
from augment.report.gain_trained import NEEDED, REAL, real_arm
from augment.report.gain_words import LENGTHS, SHORT, compared, main_budget, p_text, percent, seed_words
from augment.report.gan import flatten
from augment.report.page import data_uri, photo_uri, read_photo, render
from augment.report.scores import MIN_SEEDS

COLOURS = {REAL: "arm-1", "mixed": "arm-2", "synthetic": "line-3", "pretrain": "line-1", "on-the-fly": "line-2"}
OTHER_COLOUR = "line-4"
MANY_CLASSES, SHOWN_CLASSES = 40, 12  # from many on, so many at either end are drawn
FULL_COLOUR = 10.0  # points of a difference
LARGE, REDUCED = 1_500_000, 1600  # a picture of more bytes is reduced to this width, in pixels


@dataclass(frozen=True)
class Look:
    """How an arm is drawn, wherever it is."""

    title: str
    colour: str
    hollow: bool


def render_gain(out: Path, report: dict) -> str:
    """The page as HTML.

    Args:
        out: folder of the comparison, for its pictures.
        report: of `read_gain`.
    """
    settings = report["settings"]
    looks = {
        arm["name"]: Look(arm["title"], COLOURS.get(arm["kind"], OTHER_COLOUR), arm["filtered"])
        for arm in settings["arms"]
    }
    budget = main_budget(settings)
    return render(
        "gain.html.j2",
        report=report,
        looks=looks,
        real=real_arm(settings),
        budget=budget,
        lengths=LENGTHS,
        short=SHORT,
        min_seeds=MIN_SEEDS,
        percent=percent,
        p_text=p_text,
        seeds=seed_words(settings["seeds"]),
        fraction_charts=fraction_charts(report, looks),
        sections=[describe_section(out, fraction, settings, looks, budget) for fraction in report["fractions"]],
        full_colour=FULL_COLOUR,
        many_classes=MANY_CLASSES,
        shown_settings={key: value for key, value in flatten(settings).items() if key not in NEEDED},
    )


def fraction_charts(report: dict, looks: dict[str, Look]) -> list[str]:
    """mIoU over the label fraction, a chart for each budget, of the arms with all seeds; none before there is one."""
    fractions, seeds, charts = report["fractions"], report["settings"]["seeds"], []
    for budget in report["settings"]["budgets"]:
        series = []
        for name in fractions[0]["budgets"][budget]:
            arms = [part["budgets"][budget][name] for part in fractions]
            values = [arm["values"] if is_whole(arm, seeds) else [] for arm in arms]
            series.append(Series(values, looks[name].colour, looks[name].hollow))
        series = [one for one in series if any(one.values)]
        if series:
            ticks = [f"{percent(part)}\n{part['images']:,} images" for part in fractions]
            places = [part["fraction"] for part in fractions]
            charts.append(fraction_chart(places, ticks, series, "mIoU on the test split, %", f"At {LENGTHS[budget]}"))
    return charts


def describe_section(out: Path, fraction: dict, settings: dict, looks: dict[str, Look], budget: str) -> dict:
    """What the page shows of a label fraction, beside its tables."""
    arms = fraction["budgets"][budget]
    best, real = fraction["best"][budget], real_arm(settings)
    whole = [name for name, arm in arms.items() if is_whole(arm, settings["seeds"])]
    bars = [name for name in dict.fromkeys((real, best, "mixed")) if name in whole]
    classes = sort_classes(arms[best or real]["classes"])
    drawn = classes if len(classes) <= MANY_CLASSES else [*classes[:SHOWN_CLASSES], *classes[-SHOWN_CLASSES:]]
    return {
        "fraction": fraction,
        "interval_charts": {
            budget: interval_chart(fraction, budget, looks, settings["seeds"]) for budget in settings["budgets"]
        },
        "bars": bars,
        "best": best,
        "classes": classes,
        "all_drawn": drawn == classes,
        "class_chart": class_chart(fraction, arms, bars, drawn, looks) if len(bars) > 1 else None,
        "heat": {name: arm["classes"] for name, arm in compared(fraction, budget).items() if name in whole},
        "curves": curve_charts(fraction, {name: arms[name] for name in whole}, looks),
        "samples": picture(out / fraction["name"] / "shards" / "samples.png"),
        "sheet": picture(out / fraction["name"] / "filtered" / "sheet.png"),
        "filter": filter_facts(fraction["filter"]) if fraction["filter"] else {},
    }


def sort_classes(classes: dict[str, dict]) -> list[str]:
    """From the largest gain to the largest loss; those without a difference last."""
    return sorted(classes, key=lambda name: -(-np.inf if (d := classes[name]["difference"]) is None else d))


def is_whole(arm: dict, seeds: list[int]) -> bool:
    """Whether an arm has all its seeds: fewer are others than those of the next arm."""
    return set(arm["seeds"]) == set(seeds)


def interval_chart(fraction: dict, budget: str, looks: dict[str, Look], seeds: list[int]) -> str | None:
    """Every arm's difference to real images alone; None where there is none yet."""
    arms = {name: arm["against_real"] for name, arm in compared(fraction, budget).items()}
    arms = {name: against for name, against in arms.items() if against["differences"]}
    if not arms:
        return None
    intervals = [
        Interval(
            against["mean"], against["interval_95"], against["differences"], looks[name].colour, looks[name].hollow
        )
        for name, against in arms.items()
    ]
    title = f"Differences to real images alone at {LENGTHS[budget]}, {percent(fraction)} of the labels"
    rows = [
        name if set(against["seeds"]) == set(seeds) else f"{name}, {len(against['seeds'])} of {len(seeds)} seeds"
        for name, against in arms.items()
    ]
    return interval_rows(rows, intervals, "points of mIoU more than with real images alone", title)


def class_chart(
    fraction: dict, arms: dict[str, dict], bars: Sequence[str], classes: Sequence[str], looks: dict[str, Look]
) -> str:
    """The IoU of each class in a few arms, with the seeds' own values on it."""
    shown = [
        Arm(
            name,
            [arms[name]["classes"][label]["mean"] for label in classes],
            looks[name].colour,
            [arms[name]["classes"][label]["values"] for label in classes],
            looks[name].hollow,
        )
        for name in bars
    ]
    title = f"IoU of each class with {percent(fraction)} of the labels"
    return bar_rows(classes, shown, "IoU on the test split, %", title, WIDE)


def curve_charts(fraction: dict, arms: dict[str, dict], looks: dict[str, Look]) -> list[str]:
    """Validation mIoU and training loss by iteration, a line for each arm; none where none was logged."""
    charts = []
    for key, title in (("val_mIoU", "mIoU on the validation split, %"), ("loss", "Training loss")):
        lines = [
            Line("_", arm[key]["iteration"], arm[key]["value"], looks[name].colour, looks[name].hollow)
            for name, arm in arms.items()
            if arm[key]["value"]
        ]
        if lines:
            charts.append(line_chart(lines, "iterations", f"{title}, {percent(fraction)} of the labels"))
    return charts


def picture(file: Path) -> str | None:
    """An image file as a data URI, smaller where it is large; None where there is none."""
    if not file.is_file():
        return None
    if file.stat().st_size <= LARGE:
        return data_uri(file.read_bytes(), file.suffix[1:])
    image = Image.fromarray(read_photo(file))
    image.thumbnail((REDUCED, 10 * REDUCED))
    return photo_uri(np.array(image))

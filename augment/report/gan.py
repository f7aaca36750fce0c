"""The report on generators side by side: `report.json` holds every number, `report.html` is a page to look at."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from augment.report.charts import Line, line_chart
from augment.report.gan_pictures import Block
from augment.report.gan_segmenters import columns
from augment.report.machine import describe_machine
from augment.report.page import render
from augment.report.training_log import Curves, read_training_log
from augment.report.wording import NOTHING, count, number
from augment.storage import write_text
from dpsims.sample import Snapshot

COLOURS = ("arm-1", "arm-2", "line-1", "line-2", "line-4", "line-3")  # of the runs, in this order
CURVES = ("Loss", "Accuracy", "FID", "KID", "Diversity")  # groups of log.jsonl's keys that are drawn
CURVE_TITLES = {
    "Loss/D/real": "Discriminator’s loss on real photos",
    "Loss/D/fake": "Discriminator’s loss on painted ones",
    "Loss/G/adversarial": "Generator’s adversarial loss",
    "Loss/G/contrastive": "Generator’s contrastive loss",
    "Loss/G/diversity": "Generator’s diversity loss",
}
PLACES = {"out", "data.root", "data.workers", "run.device"}  # options that change nothing about a generator


@dataclass(frozen=True)
class Measure:
    """How a number is shown.

    Attributes:
        lower_is_better: None where neither is.
        digits: behind the point.
        about: what it says, in a few words.
    """

    lower_is_better: bool | None
    digits: int
    about: str


MEASURES = {
    "FID": Measure(True, 2, "distance between painted and real images, as two clouds of features"),
    "KID": Measure(True, 4, "a distance, too, whose mean does not depend on the number of images; ± over its draws"),
    "Precision": Measure(False, 3, "share of painted images that lie among the real ones"),
    "Recall": Measure(False, 3, "share of real images that lie among the painted ones"),
    "LPIPS": Measure(False, 4, "how much z changes an image, by LPIPS"),
    "Diversity": Measure(False, 4, "how much z changes an image, by a backbone's features"),
    "mIoU": Measure(False, 1, "of the label maps, %, in a segmenter’s eyes: is what was painted what was asked for?"),
    "mIoU of photos": Measure(None, 1, "the same of the real photos of these label maps"),
    "TSTR": Measure(False, 1, "mIoU, %, on real test photos of segmenters trained on painted images; ± over seeds"),
    "TRTR": Measure(None, 1, "the same, trained on the real photos"),
}
OTHER = Measure(None, 4, "")
CLOSE = 0.05  # share by which numbers may differ and the headline still names them together
TRAINING = {  # what a snapshot tells of its training, and what it is called here
    "data": "trained on",
    "train_images": "training photos",
    "backbone": "discriminator on",
    "seed": "seed",
    "dpsims": "dpsims",
    "commit": "its commit",
    "torch": "torch",
}


def write_gan_report(
    folder: Path,
    runs: Sequence[dict],
    *,
    settings: dict,
    notes: Sequence[str],
    label_space: dict,
    samples: Sequence[Block],
    interpolations: Sequence[Block],
) -> tuple[Path, dict]:
    """Write `report.json` and `report.html` into the folder; returns the page and the numbers.

    Args:
        runs: of `describe_run`, one or several, with what `gan_segmenters` adds to some of them or to all.
        settings: what was compared: data, split, maps, reals, samples, …; shown as they are.
        notes: what a reader should know about these numbers, a sentence each.
        samples, interpolations: of gan_pictures, a row per run in each block.
    """
    report = {
        "settings": settings,
        "notes": list(notes),
        "runs": list(runs),
        "differences": option_differences({run["name"]: run["options"] for run in runs}),
        "label_space": label_space,
        "machine": describe_machine(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    page = render(
        "gan.html.j2",
        report=report,
        headline=headline(runs),
        table=table(runs),
        colours=COLOURS,
        palette=list(zip(label_space["classes"], label_space["palette"], strict=True)),
        segmented=columns(runs, COLOURS, "segmented", "painted"),
        trained=columns(runs, COLOURS, "trained", "synthetic"),
        facts=facts(runs),
        differences=shown_differences(report["differences"], runs),
        samples=samples,
        z_heads=[f"z {index}" for index in range(1, len(samples[0].rows[0]) + 1)],
        interpolations=interpolations,
        walk_heads=["one z", *[""] * (len(interpolations[0].rows[0]) - 2), "another z"],
        curves=curve_charts(runs),
    )
    write_text(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(folder / "report.html", page)
    return folder / "report.html", report


def describe_run(name: str, snapshot: Snapshot, path: Path, numbers: dict[str, float], run: Path | None = None) -> dict:
    """A generator with its numbers, and with the options and the log of its training.

    Args:
        path: of the snapshot.
        run: folder of the run, where the snapshot lies deeper in it; None is `path`.
    """
    file = path / "generator.json" if path.is_dir() else path.with_suffix(".json")
    return {
        "name": name,
        "numbers": numbers,
        "images_seen": snapshot.images_seen,
        "height": snapshot.height,
        "width": snapshot.width,
        "z_dim": snapshot.z_dim,
        "parameters": sum(parameter.numel() for parameter in snapshot.generator.parameters()),
        "sha256": snapshot.sha256,
        "training": json.loads(file.read_text())["training"],
        "options": read_options(run or path),
        "log": read_log(run or path),
    }


def read_options(run: Path) -> dict | None:
    """`config.yaml` of a run folder, flat, without what only says where it ran; None where there is none."""
    file = run / "config.yaml"
    if not file.is_file():
        return None
    flat = flatten(yaml.safe_load(file.read_text()))
    return {key: value for key, value in flat.items() if key not in PLACES}


def flatten(options: dict, path: str = "") -> dict:
    flat = {}
    for key, value in options.items():
        flat |= flatten(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return flat


def read_log(run: Path) -> Curves:
    """The curves of a run folder that are drawn."""
    return {key: curve for key, curve in read_training_log(run).items() if key.partition("/")[0] in CURVES}


def option_differences(options: dict[str, dict | None]) -> dict[str, dict[str, object]]:
    """Option → value by run, for those that are not the same in all runs with a configuration."""
    known = {name: flat for name, flat in options.items() if flat is not None}
    keys = dict.fromkeys(key for flat in known.values() for key in flat)
    values = {key: {name: flat.get(key) for name, flat in known.items()} for key in keys}
    return {key: row for key, row in values.items() if any(value != next(iter(row.values())) for value in row.values())}


def table(runs: Sequence[dict]) -> list[dict]:
    """A row per number: what it is, every run's value as text, and which runs have the best."""
    rows: list[dict] = []
    for key in dict.fromkeys(key for run in runs for key in run["numbers"]):
        kind, _, features = key.partition("/")
        if kind.endswith(" std"):
            continue  # beside its mean
        measure = MEASURES.get(kind, OTHER)
        values = [run["numbers"].get(key) for run in runs]
        texts = [number(value, measure.digits) for value in values]
        stds = [run["numbers"].get(f"{kind} std/{features}") for run in runs]
        rows.append(
            {
                "measure": kind,
                "features": features,
                "about": measure.about if all(row["measure"] != kind for row in rows) else "",  # once
                "lower_is_better": measure.lower_is_better,
                "values": values,
                "texts": texts,
                "stds": [
                    number(std, measure.digits) if std and std >= 0.5 * 10**-measure.digits else None for std in stds
                ],
                "best": best(values, texts, measure.lower_is_better),
            }
        )
    return rows


def best(values: Sequence[float | None], texts: Sequence[str], lower_is_better: bool | None) -> list[bool]:
    """Which value is the best, all that read the same as it included; none where nothing is better or all are alike."""
    known = [value for value in values if value is not None]
    if lower_is_better is None or len(set(texts)) == 1 or not known:
        return [False] * len(values)
    winner = texts[values.index(min(known) if lower_is_better else max(known))]
    return [text == winner for text in texts]


def text_table(runs: Sequence[dict]) -> str:
    """The table for a terminal, the best of each row starred."""
    rows = [["", "", *(f"{run['name']} " for run in runs)]]
    for row in table(runs):
        arrow = {None: "", True: "↓", False: "↑"}[row["lower_is_better"]]
        texts = [f"{text} ± {std}" if std else text for text, std in zip(row["texts"], row["stds"], strict=True)]
        cells = [text + ("*" if won else " ") for text, won in zip(texts, row["best"], strict=True)]
        rows.append([f"{row['measure']} {row['features']}", arrow, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, arrow, *cells in rows:
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[2:], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), arrow.ljust(widths[1]), *numbers)).rstrip())
    return "\n".join(lines)


def facts(runs: Sequence[dict]) -> dict[str, list[str]]:
    """What every run is, as rows of text; what a snapshot tells of its training differs between versions."""
    rows = {
        "images seen in training": [count(run["images_seen"]) for run in runs],
        "size, pixels": [f"{run['width']} × {run['height']}" for run in runs],
        "parameters": [count(run["parameters"]) for run in runs],
        "snapshot": [run["sha256"][:12] for run in runs],
    }
    for key, title in TRAINING.items():
        if any(key in run["training"] for run in runs):
            rows[title] = [str(run["training"].get(key, NOTHING)) for run in runs]
    return rows


def shown_differences(differences: dict[str, dict], runs: Sequence[dict]) -> dict[str, list[str]]:
    """Differing options as text, as one would give them on the command line."""
    return {
        option: [json.dumps(values[run["name"]]) if run["name"] in values else NOTHING for run in runs]
        for option, values in differences.items()
        if option not in TRAINING  # told already
    }


def headline(runs: Sequence[dict]) -> str:
    """The first number of the table, and whose it is; what is nearly as good is named with the best."""
    row = table(runs)[0]
    if len(runs) == 1:
        return f"{runs[0]['name']}: {row['measure']} {row['texts'][0]}"
    winners = [run["name"] for run, won in zip(runs, row["best"], strict=True) if won]
    if not winners:
        return f"{len(runs)} generators with the same {row['measure']}, {row['texts'][0]}"
    text = next(text for text, won in zip(row["texts"], row["best"], strict=True) if won)
    best = f"the {'lowest' if row['lower_is_better'] else 'highest'} {row['measure']}, {text}"
    values = {run["name"]: value for run, value in zip(runs, row["values"], strict=True) if value is not None}
    top = values[winners[0]]
    near = [name for name, value in values.items() if abs(value - top) <= CLOSE * abs(top)]
    if len(near) > len(winners):
        return f"{', '.join(near[:-1])} and {near[-1]} within {CLOSE:.0%} of {best}"
    return f"{' and '.join(winners)}: {best}"


def curve_charts(runs: Sequence[dict]) -> list[str]:
    """A chart per key of the logs, all runs in it, in the order of CURVES."""
    keys = dict.fromkeys(key for run in runs for key in run["log"])
    charts = []
    for key in sorted(keys, key=lambda key: CURVES.index(key.partition("/")[0])):  # stable within a group
        lines = [
            Line("_", run["log"][key]["images_seen"], run["log"][key]["value"], colour)
            for run, colour in zip(runs, COLOURS, strict=False)
            if key in run["log"]
        ]
        charts.append(line_chart(lines, "images seen", CURVE_TITLES.get(key, key.replace("/", ", "))))
    return charts

"""The report on a whole job: `report.json` holds every number, `report.html` is one file that a person looks at."""

import json
from pathlib import Path

from augment.report.charts import Arm, Line, bar_rows, line_chart, paired_dots
from augment.report.gallery import shard_gallery, training_gallery
from augment.report.job import ARMS, MIXED, REAL, read_job
from augment.report.page import render
from augment.report.scores import MIN_SEEDS
from augment.report.training_log import Curves
from augment.storage import write_text
from dpsims.labels import LabelSpace

COLOURS = {REAL: "arm-1", MIXED: "arm-2"}
SAMPLE_MAPS, SAMPLES_PER_MAP = 6, 4
TRAINING_MAPS, TRAINING_STAGES = 3, 5


def write_report(root: Path, about: str = "") -> tuple[Path, dict]:
    """Write `report.json` and `report.html` into a job's folder (laid out as in `job.py`); returns page and numbers.

    Args:
        about: what a reader should know about the data, in a sentence.

    Raises:
        ValueError: a piece that is missing, broken or unfinished, by its file.
    """
    try:
        job, page = _build(root, about)
    except FileNotFoundError as error:
        missing = f"{error.filename} is missing" if error.filename else str(error)
        raise ValueError(f"{missing}: the job is not finished, or its folder is another one") from error
    write_text(root / "report.json", json.dumps(job, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(root / "report.html", page)
    return root / "report.html", job


def _build(root: Path, about: str) -> tuple[dict, str]:
    job = read_job(root)
    space = LabelSpace.from_meta(job["label_space"])
    page = render(
        "report.html.j2",
        job=job,
        about=about,
        arms=ARMS,
        min_seeds=MIN_SEEDS,
        palette=list(zip(space.classes, space.palette, strict=True)),
        longest=max(stage["seconds"] for stage in job["stages"]),
        samples=shard_gallery(root / "shards", root / "data", space, SAMPLE_MAPS, SAMPLES_PER_MAP),
        training=training_gallery(root / "gan", TRAINING_MAPS, TRAINING_STAGES),
        seed_chart=seed_chart(job["result"]),
        class_chart=class_chart(job["classes"]),
        gan_charts=gan_charts(job["gan"]["log"]),
        segmenter_charts=segmenter_charts(job["segmenters"]),
    )
    return job, page


def seed_chart(result: dict) -> str:
    """Every seed's mIoU in both arms, and the mean."""
    rows = [*(f"seed {seed}" for seed in result["seeds"]), "mean"]
    arms = [Arm(ARMS[arm], [*result[arm]["values"], result[arm]["mean"]], COLOURS[arm]) for arm in ARMS]
    return paired_dots(rows, arms, "mIoU on the test split, %", "mIoU of both arms, by seed")


def class_chart(classes: list[dict]) -> str:
    """The mean IoU of each class in both arms, with the seeds' own values on it."""
    arms = [
        Arm(ARMS[arm], [row[arm]["mean"] for row in classes], COLOURS[arm], [row[arm]["values"] for row in classes])
        for arm in ARMS
    ]
    return bar_rows(
        [row["name"] for row in classes], arms, "IoU on the test split, %", "IoU of each class in both arms"
    )


def gan_charts(log: Curves) -> list[str]:
    """The losses of the discriminator and of the generator, by images seen."""
    charts = []
    for net, title in (("D", "Discriminator's losses"), ("G", "Generator's losses")):
        terms = [name for name in log if name.startswith(f"Loss/{net}/")]
        lines = [
            Line(name.rpartition("/")[2], log[name]["images_seen"], log[name]["value"], f"line-{index}")
            for index, name in enumerate(terms, start=1)
        ]
        charts.append(line_chart(lines, "images seen", title))
    return charts


def segmenter_charts(segmenters: list[dict]) -> list[str]:
    """Training loss and validation mIoU of every segmenter, by iteration; none where none was logged."""
    charts = []
    for curve, title in (("loss", "Training loss"), ("val_mIoU", "mIoU on the validation split, %")):
        lines = []
        for arm in ARMS:
            runs = [run[curve] for run in segmenters if run["arm"] == arm and run[curve]["value"]]
            for index, run in enumerate(runs):
                name = ARMS[arm] if index == 0 else "_"  # once per arm in the legend
                lines.append(Line(name, run["iteration"], run["value"], COLOURS[arm]))
        if lines:
            charts.append(line_chart(lines, "iterations", title))
    return charts

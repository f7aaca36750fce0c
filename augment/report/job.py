"""A whole job's folder as numbers: what was trained, made and measured in it, and how long each stage took.

ROOT/data          the real images, in the generic layout
ROOT/gan           run folder of tools/train_gan.py
ROOT/shards        of tools/synthesize.py
ROOT/segmenters    ARM-seedN: work dirs of tools/train_segmenter.py --test
ROOT/timings.json  {"machine": {…}, "stages": [{"name", "title", "command", "seconds", "starts"}, …]}
"""

import json
from pathlib import Path
from statistics import fmean

from augment.report.scores import Scores, compare, headline, mean_of, read_scores, sentence
from augment.report.training_log import read_training_log
from augment.shards import MANIFEST, OK, read_manifest
from augment.storage import read_json
from dpsims.sample import load_generator

REAL, MIXED = "real", "mixed"
ARMS = {REAL: "real images alone", MIXED: "real and synthetic images"}
SPLITS = ("train", "val", "test")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_job(root: Path) -> dict:
    """Every number of the report.

    Raises:
        FileNotFoundError, ValueError: a piece that is missing, broken or unfinished, by its file.
    """
    scores = read_scores(root / "segmenters")
    seeds = sorted(next(iter(scores.values())))
    for arm in ARMS:
        if arm not in scores:
            raise ValueError(f"{root / 'segmenters' / f'{arm}-seed{seeds[0]}' / 'test.json'} is missing")
    manifest = read_manifest(root / "shards")
    if manifest["totals"] is None:
        raise ValueError(f"{root / 'shards' / MANIFEST} has no totals: synthesis is not finished")
    segmenters = [
        {"arm": arm, "seed": seed, **read_curves(root / "segmenters" / f"{arm}-seed{seed}"), **without_paths(test)}
        for arm in ARMS
        for seed, test in scores[arm].items()
    ]
    check_alike(segmenters, manifest["label_space"]["classes"])
    timings = read_timings(root / "timings.json")
    return {
        "result": describe_result(scores),
        "classes": describe_classes(scores, manifest),
        "segmenters": segmenters,
        "data": {split: count_images(root / "data" / split / "images") for split in SPLITS},
        "gan": describe_gan(root / "gan"),
        "shards": describe_shards(manifest),
        "stages": timings["stages"],
        "seconds": sum(stage["seconds"] for stage in timings["stages"]),
        "machine": timings["machine"],
        "label_space": manifest["label_space"],
    }


def describe_result(scores: Scores) -> dict:
    """mIoU of both arms in percent, by seed and in the mean, and what their difference is worth."""
    real, mixed = ({seed: test["mIoU"] for seed, test in scores[arm].items()} for arm in ARMS)
    gain = compare(real, mixed)
    test_images = next(iter(scores[REAL].values()))["images"]
    return {
        "headline": headline(gain),
        "sentence": sentence(gain, *ARMS.values(), test_images),
        "seeds": gain.seeds,
        "test_images": test_images,
        REAL: {"values": gain.baseline, "mean": fmean(gain.baseline)},
        MIXED: {"values": gain.other, "mean": fmean(gain.other)},
        "difference": {"values": gain.differences, "mean": gain.mean, "interval_95": gain.interval},
        "settled": gain.settled,
    }


def describe_classes(scores: Scores, manifest: dict) -> list[dict]:
    """Per class: its share of the label maps' pixels, and the IoU of both arms in percent; None where there is none."""
    totals = manifest["totals"]
    pixels = sum(totals["class_pixels"]) + totals["ignored_pixels"]
    classes = []
    for name, count in zip(manifest["label_space"]["classes"], totals["class_pixels"], strict=True):
        values = {arm: [test["IoU"][name] for test in scores[arm].values()] for arm in ARMS}
        pairs = zip(values[REAL], values[MIXED], strict=True)
        differences = [None if None in pair else pair[1] - pair[0] for pair in pairs]
        described = {arm: {"values": values[arm], "mean": mean_of(values[arm])} for arm in ARMS}
        described["difference"] = {"values": differences, "mean": mean_of(differences)}
        classes.append({"name": name, "pixel_share": count / pixels, **described})
    return classes


def check_alike(segmenters: list[dict], classes: list[str]) -> None:
    """See that the segmenters may be compared: same classes, same test images, same number of iterations."""
    first = segmenters[0]
    for segmenter in segmenters:
        name = f"segmenters/{segmenter['arm']}-seed{segmenter['seed']}"
        if set(segmenter["test"]["IoU"]) != set(classes):
            listed = ", ".join(segmenter["test"]["IoU"])
            raise ValueError(f"{name}/test.json has the classes {listed}, but the shards have {', '.join(classes)}")
        for what, value, other in (
            ("test images", segmenter["test"]["images"], first["test"]["images"]),
            ("training iterations", segmenter["iterations"], first["iterations"]),
        ):
            if value != other:
                first_name = f"{first['arm']}-seed{first['seed']}"
                raise ValueError(f"{name} had {value} {what}, but {first_name} had {other}: they cannot be compared")


def without_paths(test: dict) -> dict:
    """A segmenter's scores without the places of its files on the machine that it was trained on."""
    return {"test": {key: value for key, value in test.items() if key not in ("config", "checkpoint")}}


def read_curves(work_dir: Path) -> dict:
    """How many iterations, and training loss and validation mIoU by iteration, from what mmengine logged, if it did."""
    train: dict[int, float] = {}
    val: dict[int, float] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):  # one per start; a later one repeats some steps
        for line in file.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut short, where a run was killed
            if "mIoU" in row:
                val[row["step"]] = row["mIoU"]
            elif "loss" in row:
                train[row["step"]] = row["loss"]
    curves = {"loss": train, "val_mIoU": val}
    columns = {
        name: {"iteration": sorted(by_step), "value": [by_step[step] for step in sorted(by_step)]}
        for name, by_step in curves.items()
    }
    return {"iterations": max(train | val, default=None), **columns}


def count_images(folder: Path) -> int:
    return sum(file.suffix.lower() in PHOTO_SUFFIXES for file in folder.iterdir())


def describe_gan(run: Path) -> dict:
    """The generator's size and provenance, and the log of its training as curves."""
    snapshot = load_generator(run)
    log = read_training_log(run)
    if not log:
        raise ValueError(f"{run / 'log.jsonl'} is missing or empty: the GAN has not trained")
    return {
        "parameters": sum(parameter.numel() for parameter in snapshot.generator.parameters()),
        "height": snapshot.height,
        "width": snapshot.width,
        "images_seen": snapshot.images_seen,
        "sha256": snapshot.sha256,
        "training": json.loads((run / "generator.json").read_text())["training"],
        "images_per_second": fmean(log["images_per_second"]["value"]),
        "log": log,
    }


def describe_shards(manifest: dict) -> dict:
    """What was planned, made and failed, by reason."""
    plan, totals = manifest["plan"], manifest["totals"]
    failed = {status: count for status, count in totals["by_status"].items() if status != OK}
    return {
        "label_maps": plan["label_maps"],
        "samples_per_map": plan["samples_per_map"],
        "seed": plan["seed"],
        "planned": totals["planned"],
        "made": totals["by_status"].get(OK, 0),
        "failed": failed,
        "shards": totals["shards"],
        "bytes": totals["bytes"],
    }


def read_timings(file: Path) -> dict:
    timings = read_json(file)
    if not timings.get("stages") or not timings.get("machine"):
        raise ValueError(f"{file} has no stages, or no machine that they ran on")
    for stage in timings["stages"]:
        missing = {"name", "title", "command", "seconds", "starts"} - stage.keys()
        if missing:
            raise ValueError(f"{file}: a stage has no {', '.join(sorted(missing))}")
    return timings

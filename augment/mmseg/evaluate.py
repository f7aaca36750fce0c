"""A segmenter's score on a split: mmseg's IoU with each class's own, and the file that reports it."""

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from augment.mmseg.config import datasets_of
from augment.storage import write_text

_CLASS = "IoU/"


@METRICS.register_module()
class PerClassIoUMetric(IoUMetric):
    """`IoUMetric` that returns each class's IoU too, as `IoU/NAME` in percent.

    It is NaN for a class that neither the labels nor the predictions hold, and the mean leaves it out.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        metrics = super().compute_metrics(results)
        intersect, union = (sum(areas[part] for areas in results) for part in (0, 1))
        per_class = (intersect / union * 100).tolist()
        names = self.dataset_meta["classes"]
        return {
            **{key: round(float(value), 2) for key, value in metrics.items()},
            **{f"{_CLASS}{name}": round(iou, 2) for name, iou in zip(names, per_class, strict=True)},
        }


def score_each_class(cfg: Config) -> None:
    """Have the test split scored by `PerClassIoUMetric` where a config says `IoUMetric`."""
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    for evaluator in evaluators:
        if evaluator.type == "IoUMetric":
            evaluator.type = "PerClassIoUMetric"


def take_val_split(cfg: Config) -> dict:
    """Have a config test on its val split, and say for `score_split` whether that is what it tests on anyway.

    Raises:
        ValueError: it has no val split.
    """
    if not cfg.get("val_dataloader") or not cfg.get("val_evaluator"):
        raise ValueError("--split val: the config has no val_dataloader with a val_evaluator")
    also_test = tests_on_val_split(cfg)
    cfg.test_dataloader, cfg.test_evaluator = copy.deepcopy(cfg.val_dataloader), copy.deepcopy(cfg.val_evaluator)
    return {"also_test": also_test}


def tests_on_val_split(cfg: Config) -> bool:
    return images_of(cfg, "val_dataloader") == images_of(cfg, "test_dataloader")


def choose_nothing_on_test(cfg: Config) -> None:
    """Keep no best checkpoint where the validations are on the images of the test: the last one is tested there."""
    checkpoint = (cfg.get("default_hooks") or {}).get("checkpoint")
    if checkpoint and tests_on_val_split(cfg):
        checkpoint.pop("save_best", None)


def images_of(cfg: Config, loader: str) -> list[dict]:
    """What says which images the data sets of a loader hold."""
    keys = ("data_root", "data_prefix", "ann_file", "indices")
    return [{key: dataset.get(key) or None for key in keys} for dataset in datasets_of(cfg, loader)]


def score_split(runner: Runner, split: str, provenance: dict) -> dict:
    """Test the weights that `runner` has, and write the scores to `test.json`, or `val.json`, in its work dir.

    Args:
        split: which the runner's test split is, test or val.
        provenance: what is tested (config, checkpoint), for the file.

    Returns:
        The content of the file.
    """
    metrics = runner.test()
    images = len(runner.test_dataloader.dataset)
    scores = {**provenance, "split": split, "images": images, **nest_scores(metrics)}
    if is_main_process():
        file = Path(runner.work_dir) / f"{split}.json"
        write_text(file, json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    return scores


def nest_scores(metrics: dict[str, float]) -> dict:
    """What `PerClassIoUMetric` returned, with the classes' IoU in a dict of its own and NaN as None: ready for JSON."""
    values = {key: None if math.isnan(value) else value for key, value in metrics.items()}
    means = {key: value for key, value in values.items() if not key.startswith(_CLASS)}
    return {**means, "IoU": {key.removeprefix(_CLASS): values[key] for key in values if key.startswith(_CLASS)}}


def scores_of_areas(areas: Float64[Tensor, "4 c"], classes: Sequence[str]) -> dict:
    """What `nest_scores` gives, from pixel counts of each class: intersection, union, predicted, labelled."""
    metrics = IoUMetric.total_area_to_metrics(*areas)
    means = {"aAcc": metrics["aAcc"], "mIoU": np.nanmean(metrics["IoU"]), "mAcc": np.nanmean(metrics["Acc"])}
    per_class = {f"{_CLASS}{name}": iou for name, iou in zip(classes, metrics["IoU"], strict=True)}
    return nest_scores({key: round(float(value) * 100, 2) for key, value in {**means, **per_class}.items()})


def format_scores(scores: dict) -> str:
    """A table for people: a line per class, then the means, in percent."""
    rows = [*scores["IoU"].items(), *((key, scores[key]) for key in ("mIoU", "mAcc", "aAcc"))]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {'–' if value is None else f'{value:.2f}':>6}" for name, value in rows)

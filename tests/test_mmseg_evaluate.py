"""Each class's IoU against counts made by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.mmseg.config import load_config
from augment.mmseg.evaluate import (
    PerClassIoUMetric,
    choose_nothing_on_test,
    format_scores,
    nest_scores,
    score_each_class,
    take_val_split,
)

CONFIGS = Path(__file__).parents[1] / "configs" / "segmenters"


def score(prediction: list[list[int]], label_map: list[list[int]], classes: tuple[str, ...]) -> dict[str, float]:
    metric = PerClassIoUMetric(iou_metrics=["mIoU"])
    metric.dataset_meta = {"classes": classes}
    sample = {
        "pred_sem_seg": {"data": torch.tensor([prediction])},
        "gt_sem_seg": {"data": torch.tensor([label_map])},
    }
    metric.process({}, [sample])
    return metric.evaluate(size=1)


def test_iou_of_each_class_leaves_out_the_ignored_and_the_absent():
    # sky: 1 of 2 pixels, road: 1 of 2, car: nowhere; the pixel of id 255 does not count
    metrics = score([[0, 1, 1], [0, 0, 0]], [[0, 0, 1], [255, 255, 255]], ("sky", "road", "car"))
    assert metrics["IoU/sky"] == metrics["IoU/road"] == 50.0
    assert math.isnan(metrics["IoU/car"])
    assert metrics["mIoU"] == 50.0
    assert np.isclose(metrics["aAcc"], 66.67)


def test_scores_are_json_and_a_table():
    scores = nest_scores({"aAcc": 66.67, "mIoU": 50.0, "mAcc": 75.0, "IoU/sky": 50.0, "IoU/car": math.nan})
    assert scores == {"aAcc": 66.67, "mIoU": 50.0, "mAcc": 75.0, "IoU": {"sky": 50.0, "car": None}}
    assert format_scores(scores).splitlines() == [
        "  sky    50.00",
        "  car        –",
        "  mIoU   50.00",
        "  mAcc   75.00",
        "  aAcc   66.67",
    ]


def test_val_in_place_of_test_and_whether_they_are_the_same_images():
    cfg = load_config(CONFIGS / "segformer_b0_camvid_real.py")
    assert take_val_split(cfg) == {"also_test": False}
    assert cfg.test_dataloader.dataset.data_prefix.img_path == "val/images"
    score_each_class(cfg)
    assert (cfg.test_evaluator.type, cfg.val_evaluator.type) == ("PerClassIoUMetric", "IoUMetric")
    for name in ("ade20k", "cityscapes", "coco_stuff"):
        assert take_val_split(load_config(CONFIGS / f"segformer_b0_{name}_real.py")) == {"also_test": True}
    cfg.val_dataloader = None
    with pytest.raises(ValueError, match="--split val: the config has no val_dataloader"):
        take_val_split(cfg)


def test_no_checkpoint_is_chosen_on_the_images_of_the_test():
    kept = {}
    for name in ("camvid", "ade20k", "cityscapes", "coco_stuff"):
        cfg = load_config(CONFIGS / f"segformer_b0_{name}_real.py")
        choose_nothing_on_test(cfg)
        kept[name] = cfg.default_hooks.checkpoint.get("save_best")
    assert kept == {"camvid": "mIoU", "ade20k": None, "cityscapes": None, "coco_stuff": None}
    cfg = load_config("mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py")  # keeps none by itself
    choose_nothing_on_test(cfg)
    assert "save_best" not in cfg.default_hooks.checkpoint

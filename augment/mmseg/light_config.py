"""The light segmenter's config for any data set in the generic layout, from the shipped one."""

from pathlib import Path

from mmengine.config import Config

from augment.mmseg.classes import set_classes
from dpsims.labels import LabelSpace

BASE = Path(__file__).resolve().parents[2] / "configs" / "segmenters" / "efficientnet_lite0_fpn_generic_real.py"


def light_config(
    space: LabelSpace,
    data_root: Path,
    *,
    height: int,
    width: int,
    iterations: int,
    batch_size: int,
    workers: int,
    train_split: str = "train",
    test_split: str = "test",
    shards: Path | None = None,
) -> Config:
    """As `efficientnet_lite0_fpn_camvid_real.py`, for the classes of `space`, and without a validation.

    Args:
        data_root: ROOT/{train_split,test_split}/{images,labels}.
        height, width: of the training crops; test images are scaled to this size, scores taken at the label maps' own.
        iterations: of the training; its checkpoints serve to resume, the last one is the result.
        workers: processes that read the training images; 0 reads them in this one.
        shards: train on these alone, in place of `train_split`.
    """
    cfg = Config.fromfile(BASE)
    set_size(cfg, height, width)
    set_length(cfg, iterations)
    cfg.data_root = str(data_root)
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    set_classes(cfg, [loader.dataset for loader in loaders], space)
    for loader, split in (("train_dataloader", train_split), ("test_dataloader", test_split)):
        folders = {"img_path": f"{split}/images", "seg_map_path": f"{split}/labels"}
        cfg[loader].dataset.update(data_root=cfg.data_root, data_prefix=folders)
        cfg[loader].update(num_workers=workers, persistent_workers=workers > 0)
    cfg.batch_size = cfg.train_dataloader.batch_size = batch_size
    if shards is not None:
        pipeline = cfg.train_pipeline
        dataset = {"type": "ShardSegDataset", "shards": str(shards), "metainfo": cfg.metainfo, "pipeline": pipeline}
        cfg.train_dataloader.dataset = dataset
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.save_best = None
    return cfg


def set_size(cfg: Config, height: int, width: int) -> None:
    """What SEG_HEIGHT and SEG_WIDTH set in configs on `_base_/datasets/generic.py`, after the config was read."""
    sizes = {"height": height, "width": width, "scale": (width, height), "crop_size": (height, width)}
    for name, size in sizes.items():
        cfg[name] = size
    cfg.model.data_preprocessor.size = cfg.crop_size
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline, *(loader.dataset.pipeline for loader in loaders)):
        for step in pipeline:
            step.update({name: sizes[name] for name in ("scale", "crop_size") if name in step})


def set_length(cfg: Config, iterations: int) -> None:
    """What SEG_ITERS sets in configs on `_base_/schedules/adamw.py`, after the config was read."""
    warmup, interval = max(1, iterations // 10), min(iterations, max(200, iterations // 10))
    for name, length in {"max_iters": iterations, "warmup": warmup, "interval": interval}.items():
        cfg[name] = length
    rise, fall = cfg.param_scheduler
    rise.end = fall.begin = warmup
    fall.end = iterations
    cfg.train_cfg.update(max_iters=iterations, val_interval=interval)
    cfg.default_hooks.checkpoint.interval = interval

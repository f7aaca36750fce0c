"""Short trainings on tiny data, for the tests of what is mixed into them."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from augment.mmseg.checkpoint import save_plain_checkpoints
from augment.mmseg.config import load_config
from augment.mmseg.light_config import set_length, set_size
from dpsims.labels import LabelSpace

CONFIGS = Path(__file__).parents[1] / "configs" / "segmenters"


def streets_space() -> LabelSpace:
    """The classes of the demo."""
    metainfo = Config.fromfile(CONFIGS / "_base_" / "datasets" / "streets.py").metainfo
    return LabelSpace(metainfo["classes"], tuple(tuple(colour) for colour in metainfo["palette"]))


class Watch(Hook):
    """Notes each batch and the loss, and stops a run after so many iterations, as if it were killed.

    Attributes:
        batches: the names of each batch's images.
        losses: of the iterations.
        data: the batches themselves.
    """

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.batches, self.losses, self.data = stop, [], [], []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if runner.iter == self.stop:
            raise KeyboardInterrupt
        self.batches.append([sample.img_path.rpartition("/")[2] for sample in data_batch["data_samples"]])
        self.data.append(data_batch)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs["loss"].item())

    def count(self, mark: str) -> list[int]:
        """Images of each batch whose name has a mark."""
        return [sum(mark in name for name in batch) for batch in self.batches]


class Note(Hook):
    """Writes the names of each rank's images into a folder, a line for each iteration."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        names = [sample.img_path.rpartition("/")[2] for sample in data_batch["data_samples"]]
        with open(self.folder / f"rank{get_rank()}", "a") as lines:
            lines.write(" ".join(names) + "\n")


def train(
    config: str,
    root: Path,
    out: Path,
    *,
    iterations: int,
    stop: int | None = None,
    places: dict,
    workers: int = 0,
    kind: type[Runner] = Runner,
    randomness: dict | None = None,
    **mix: object,
) -> Watch:
    """Batches of 4 at 64x64, from the last checkpoint on.

    Args:
        config: name of a shipped one.
        stop: the iteration before which the run is killed.
        places: `shards` or `generator`, as of `load_config`.
        workers, kind: processes that load, and the class of runner.
        randomness: of the config, in place of its own.
        **mix: options of the hook.
    """
    cfg = load_config(CONFIGS / config, data_root=root, **places)
    set_size(cfg, 64, 64)
    set_length(cfg, iterations)
    cfg.merge_from_dict({"work_dir": str(out), "resume": True, "default_hooks.checkpoint.interval": 1})
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = cfg.default_hooks.checkpoint.save_best = None
    cfg.train_dataloader.update(batch_size=4, num_workers=workers, persistent_workers=workers > 0)
    if mix:
        cfg.custom_hooks[0].update(mix)
    if randomness is not None:
        cfg.randomness = randomness
    save_plain_checkpoints(cfg)
    runner = kind.from_cfg(cfg)
    watch = Watch(stop)
    runner.register_hook(watch, "LOWEST")
    if stop is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return watch

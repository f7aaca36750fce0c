"""A run that is stopped at a bad moment ends as one that never was."""

import uuid
from pathlib import Path

import pytest
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmseg.utils import register_all_modules
from mmseg_data import write_data_set
from mmseg_run import CONFIGS, streets_space

from augment.mmseg.checkpoint import load_checkpoint, save_plain_checkpoints
from augment.mmseg.config import load_config
from augment.mmseg.light_config import set_length, set_size
from augment.mmseg.runner import BriefRunner
from augment.report.job import read_curves


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    register_all_modules(init_default_scope=True)
    return write_data_set(tmp_path_factory.mktemp("data") / "data", streets_space())


def runner(root: Path, out: Path) -> BriefRunner:
    """Of 4 iterations, with a checkpoint and a validation after every second one."""
    cfg = load_config(CONFIGS / "efficientnet_lite0_fpn_streets_real.py", data_root=root)
    set_size(cfg, 64, 64)
    set_length(cfg, 4)
    cfg.merge_from_dict({"work_dir": str(out), "resume": True, "train_cfg.val_interval": 2})
    cfg.default_hooks.checkpoint.interval = 2
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = 2
    # mmengine keeps what a process knows of a run by these names
    cfg.experiment_name = cfg.visualizer.name = uuid.uuid4().hex
    save_plain_checkpoints(cfg)
    return BriefRunner.from_cfg(cfg)


class StopInValidation(Hook):
    """Stops a run as if it were killed while it validates after this iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_val_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if runner.iter == self.iteration:
            raise KeyboardInterrupt


@pytest.mark.parametrize("iteration", [2, 4])
def test_a_validation_that_was_not_finished_is_made_up_for(iteration, root, tmp_path):
    stopped = runner(root, tmp_path)
    stopped.register_hook(StopInValidation(iteration))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = runner(root, tmp_path)
    resumed.train()
    curve = read_curves(tmp_path)["val_mIoU"]
    assert curve["iteration"] == [2, 4]
    best = max(zip(curve["value"], [-2, -4], strict=True))  # of equal ones the first
    file = Path(resumed.message_hub.get_info("best_ckpt"))
    assert file.name == f"best_mIoU_iter_{-best[1]}.pth" and file.is_file()


def test_a_checkpoint_is_whole_or_the_one_before(root, tmp_path, monkeypatch):
    once, options = runner(root, tmp_path), {"save_optimizer": False, "save_param_scheduler": False}
    once.save_checkpoint(str(tmp_path), "iter_2.pth", meta={"iter": 1}, **options)

    def killed(self, content: bytes, file: str) -> None:
        Path(file).write_bytes(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalBackend, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        once.save_checkpoint(str(tmp_path), "iter_2.pth", meta={"iter": 2}, **options)
    assert load_checkpoint(tmp_path / "iter_2.pth")["meta"]["iter"] == 1

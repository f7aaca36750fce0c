"""mmengine's runner, with a screen that a person can follow, on the device that a person asks for."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from augment.mmseg.compat import skip_by_index
from augment.mmseg.packages import dicts_in

MAX_LINES = 30


class MissedValidation(Hook):
    """Validates what a run goes on from, where the schedule asks for it.

    mmengine writes the checkpoint before it validates: a run that is stopped in between would never choose it as its
    best, and after the last iteration no other validation comes.
    """

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop) and runner.val_loop is not None and loop.iter >= loop.val_begin:
            if loop.iter % loop.val_interval == 0 or loop.iter == loop.max_iters:
                runner.val_loop.run()


class BriefRunner(Runner):
    """Sends the long dumps (environment, config, list of hooks) to the log file in the work dir alone.

    Works on the config's `device` where it has one, in one process; mmengine takes CUDA wherever there is any. A run
    that goes on looks at no training sample again, and has every validation of one that was never stopped.
    """

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **kwargs: object) -> MMLogger:
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(lambda record: record.getMessage().count("\n") < MAX_LINES)
        return logger

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        if self.cfg.get("device") is None:
            return super().wrap_model(model_wrapper_cfg, model)
        return model.to(self.cfg.device)

    def save_checkpoint(self, out_dir: str, filename: str, *args: object, **kwargs: object) -> None:
        """Under another name until it is whole: where a validation is the best so far, mmengine writes the checkpoint
        that a run would go on from a second time.
        """
        if "://" in out_dir:
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        super().save_checkpoint(out_dir, f"{filename}.part", *args, **kwargs)
        if is_main_process():
            Path(out_dir, f"{filename}.part").replace(Path(out_dir, filename))

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = "cpu",  # in mmengine that device again
    ) -> None:
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        skip_by_index(self.train_loop)
        self.register_hook(MissedValidation())


def distribute_on_cpu(cfg: Config) -> None:
    """Let a config with a launcher run on processes without a GPU, over gloo, where torch has no SyncBN."""
    for part in dicts_in(cfg.model):
        if part.get("type") == "SyncBN":
            part.type = "BN"
    cfg.merge_from_dict(
        {
            "env_cfg.dist_cfg.backend": "gloo",
            "model_wrapper_cfg": {"type": "MMDistributedDataParallel", "device_ids": None},
        }
    )
    torch.cuda.set_device = lambda device: None  # mmengine calls it whatever the backend

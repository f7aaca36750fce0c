"""What lets one code base run on both OpenMMLab families, `onedl-*` and upstream, and on machines without a GPU."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

from augment.mmseg.packages import dicts_in

_FORK_PACKAGES = {
    "mmseg": "onedl-mmsegmentation",
    "mmdet": "onedl-mmdetection",
    "mmpretrain": "onedl-mmpretrain",
}


def resolve_config_scopes() -> None:
    """Make `_base_ = "mmseg::…"` find the configs that the fork ships.

    mmengine asks for the distribution `mmsegmentation`, which the fork calls `onedl-mmsegmentation`.
    """
    for module, package in _FORK_PACKAGES.items():
        try:
            version(package)
        except PackageNotFoundError:
            continue
        MODULE2PACKAGE[module] = package


class _MissingOps(types.ModuleType):
    """Stands in for mmcv's compiled extension: it imports, and only *calling* an op fails."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> None:
            raise RuntimeError(f"{name!r} is one of mmcv's compiled ops, and this mmcv was installed without them")

        return missing


def stub_missing_ops() -> None:
    """Let `import mmcv.ops` succeed where mmcv has no compiled ops: upstream mmseg imports it and calls none of it."""
    if "mmcv._ext" in sys.modules or importlib.util.find_spec("mmcv._ext") is not None:
        return
    stub = _MissingOps("mmcv._ext")
    stub.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", None)
    sys.modules["mmcv._ext"] = stub


def attend_without_ops() -> None:
    """Keep mmcv's deformable attention (Mask2Former's) in PyTorch where the op that it calls on CUDA is missing."""
    if isinstance(sys.modules.get("mmcv._ext"), _MissingOps):
        importlib.import_module("mmcv.ops.multi_scale_deform_attn").IS_CUDA_AVAILABLE = False


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

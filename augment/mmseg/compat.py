"""What lets one code base run on both OpenMMLab families, `onedl-*` and upstream; nothing else knows which it is."""

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dataset import InfiniteSampler
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from torch.utils.data import BatchSampler

_FORK_PACKAGES = {
    "mmseg": "onedl-mmsegmentation",
    "mmdet": "onedl-mmdetection",
    "mmpretrain": "onedl-mmpretrain",
}
# The fork's mmdet would replace numpy and OpenCV by older ones; of what it requires, a segmenter does need these.
_MMDET_NEEDS = "pycocotools shapely terminaltables six"


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


def mmdet_install() -> str:
    """The command that installs the mmdet that goes with this mmseg, and replaces nothing."""
    try:
        version(_FORK_PACKAGES["mmseg"])
    except PackageNotFoundError:
        return "pip install mmdet==3.3.0"
    return f"pip install --no-deps onedl-mmdetection==3.5.1 && pip install {_MMDET_NEEDS}"


class Forwarded(Iterator):
    """Batches for a loop that goes on, which skips the first ones, or is given None for them.

    Args:
        start: makes the batches, when the first one is needed.
    """

    def __init__(self, start: Callable[[], Iterator], skipped: int) -> None:
        self.start, self.skipped = start, skipped
        self.batches: Iterator | None = None

    def __next__(self) -> Any:
        if self.skipped:  # upstream's loop asks for them
            self.skipped -= 1
            return None
        if self.batches is None:
            self.batches = self.start()
        return next(self.batches)

    def skip_iter(self, count: int) -> None:
        """The fork's loop tells how many."""
        self.skipped -= count


def go_on(loop: IterBasedTrainLoop, start: Callable[[], Iterator]) -> None:
    """Have a loop's next batch be the first that `start` makes, whatever the loop does about those of its past."""
    skips = not getattr(loop, "fast_forward_on_resume", False)  # an option of the fork's
    loop.dataloader_iterator = Forwarded(start, loop.iter if skips else 0)


def skip_by_index(loop: BaseLoop) -> None:
    """Let a loop that goes on pass over the indices of what it has seen, as the fork's does; upstream's loads it."""
    if not isinstance(loop, IterBasedTrainLoop):
        return
    loader = loop.dataloader
    sampler = loader.sampler
    if type(sampler) is not InfiniteSampler or type(loader.batch_sampler) is not BatchSampler:
        return
    if not hasattr(sampler, "skip"):
        sampler.indices = islice(sampler._indices_of_rank(), loop.iter * loader.batch_size, None)
        go_on(loop, lambda: iter(loader))

"""Synthetic samples in the training of any mmseg config: one hook, and the config's own data, model and schedule stay.

custom_hooks = [dict(type="augment.mmseg.mix.MixSynthetic", shards="runs/shards", share=0.5)]
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import deepcopy

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import nn
from torch.utils.data import DataLoader, Dataset

from augment.mmseg.compat import go_on
from augment.mmseg.config import datasets_of
from augment.mmseg.initial_weights import without_initial_weights
from augment.mmseg.packages import bare_name
from augment.mmseg.sampler import MixedBatchSampler
from augment.mmseg.shard_dataset import ShardSegDataset
from augment.mmseg.share import Share
from augment.mmseg.tar_backend import PREFIX

KEPT = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "prefetch_factor", "persistent_workers")
KEPT += ("multiprocessing_context",)  # of the loader that is replaced
WEIGHTLESS = ("DiceLoss", "FocalLoss", "LovaszLoss")  # of mmseg's losses those whose `weight` is not one of pixels
PAINTED = "painted"
SYNTHETIC = (f"{PREFIX}://", f"{PAINTED}://")  # how the names of synthetic images begin


class Mixing(Hook, ABC):
    """Puts synthetic samples beside the training data, with a share of each batch.

    What is resumed goes on with the very next batch, at once: none is looked at again. Validation and test stay real.

    Args:
        share, schedule, end, until: of the synthetic samples, as of `Share`.
        loss_weight: of their pixels in the losses of all heads; those of real ones count 1.

    Attributes:
        endless: the synthetic samples have no end (`MixedBatchSampler`).
    """

    priority = "VERY_HIGH"  # the data is there before others look at it
    endless = False

    def __init__(
        self,
        share: float | int = 0.5,
        schedule: str = "constant",
        end: float | int = 0,
        until: int | None = None,
        loss_weight: float | int = 1,
    ) -> None:
        if not loss_weight > 0:
            raise ValueError(f"loss_weight is more than 0, not {loss_weight}; share=0 leaves synthetic samples out")
        self.loss_weight = loss_weight
        self.share = Share(share, schedule, end, until)
        self.weights: torch.Tensor | None = None
        self.loader: DataLoader | None = None

    @abstractmethod
    def synthetic_part(self, real: Dataset, pipeline: list[dict], device: torch.device) -> Dataset:
        """The synthetic samples, to go through the steps that the real ones go through after loading."""

    def finished(self, batches: Iterator) -> Iterator:
        """The loader's batches as the model takes them."""
        return batches

    def before_run(self, runner: Runner) -> None:
        """Put the mixed data in place of the real data, and weights where the losses are."""
        loop = runner._train_loop  # not built by a validation or a test
        if not isinstance(loop, IterBasedTrainLoop):
            if hasattr(loop, "dataloader"):
                counts = f"{type(loop).__name__} counts epochs, {type(self).__name__} iterations"
                raise ValueError(f"{counts}: it takes IterBasedTrainLoop")
            return
        if loop.dataloader is self.loader:
            return  # this is the test after the training
        if isinstance(loop.dataloader.batch_sampler, MixedBatchSampler):
            raise ValueError("custom_hooks has two that put synthetic samples into the training, and may have one")
        device = next(runner.model.parameters()).device
        self.loader = loop.dataloader = self.mixed(loop.dataloader, runner.cfg, seed=seed_of(runner), device=device)
        if self.loss_weight != 1:
            self.weigh(runner.model)

    def before_train(self, runner: Runner) -> None:
        """A run that is resumed knows by now where it was, and of which seed."""
        loop = runner.train_loop
        loop.dataloader.batch_sampler.start, loop.dataloader.batch_sampler.seed = loop.iter, seed_of(runner)
        go_on(loop, lambda: self.finished(iter(loop.dataloader)))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if self.loss_weight != 1:
            synthetic = [sample.img_path.startswith(SYNTHETIC) for sample in data_batch["data_samples"]]
            self.weights = torch.tensor([self.loss_weight if made else 1.0 for made in synthetic])

    def mixed(self, loader: DataLoader, cfg: Config, *, seed: int, device: torch.device) -> DataLoader:
        """A loader of the same kind, over both; `device` is the model's."""
        real = loader.dataset
        synthetic = self.synthetic_part(real, next(datasets_of(cfg, "train_dataloader")).pipeline, device)
        sizes, (rank, world_size) = (len(real), len(synthetic)), get_dist_info()
        process = {"rank": rank, "world_size": world_size, "endless": self.endless}
        sampler = MixedBatchSampler(sizes, self.share, loader.batch_size, seed=seed, **process)
        kept = {name: getattr(loader, name) for name in KEPT}
        return DataLoader(RealAndSynthetic(real, synthetic), batch_sampler=sampler, **kept)

    def weigh(self, model: nn.Module) -> None:
        """Give every loss of a head the weight of each sample's pixels."""
        for loss in weighable_losses(model, self.loss_weight):
            loss.register_forward_pre_hook(self.with_weights, with_kwargs=True)

    def with_weights(self, loss: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """`seg_logit, seg_label` of a head's call and its keywords, among them the pixels' `weight` or None."""
        label = args[1]  # (N, H, W)
        weight = self.weights.to(label.device).view(-1, 1, 1).expand(label.shape)
        given = kwargs.get("weight")
        return args, {**kwargs, "weight": weight if given is None else given * weight}


@HOOKS.register_module()
class MixSynthetic(Mixing):
    """Synthetic samples from shards.

    Args:
        shards: the folder that holds `shards.json`.
        decisions: of a filter of these shards (`ShardSegDataset`).
        **mixing: as of `Mixing`.
    """

    def __init__(self, shards: str, decisions: str | None = None, **mixing: object) -> None:
        super().__init__(**mixing)
        self.shards, self.decisions = shards, decisions

    def synthetic_part(self, real: Dataset, pipeline: list[dict], device: torch.device) -> ShardSegDataset:
        options = {"metainfo": real.metainfo, "decisions": self.decisions}
        return ShardSegDataset(self.shards, **options, pipeline=synthetic_pipeline(pipeline))


class RealAndSynthetic(Dataset):
    """Real samples, and after them synthetic ones, perhaps without end."""

    def __init__(self, real: Dataset, synthetic: Dataset) -> None:
        self.real, self.synthetic = real, synthetic
        self.metainfo = real.metainfo  # at which mmengine looks

    def __len__(self) -> int:
        return len(self.real) + len(self.synthetic)

    def __getitem__(self, index: int) -> dict:
        first = len(self.real)
        return self.real[index] if index < first else self.synthetic[index - first]


def seed_of(runner: Runner) -> int:
    """The same on all ranks, also where each has a seed of its own."""
    own = (runner.cfg.get("randomness") or {}).get("diff_rank_seed")
    return runner.seed - get_dist_info()[0] if own else runner.seed


def synthetic_pipeline(pipeline: list[dict]) -> list[dict]:
    """That of the real images, for label maps whose ids are shifted already."""
    steps = deepcopy(list(pipeline))
    for step in steps:
        if bare_name(step["type"]) == "LoadAnnotations":
            step.pop("reduce_zero_label", None)
    return steps


def check_loss_weight(model: ConfigDict, loss_weight: float | int) -> None:
    """See that the weight has losses to go to, before anything is trained; errors as of `weighable_losses`."""
    if loss_weight != 1:
        register_all_modules(init_default_scope=True)
        weighable_losses(MODELS.build(without_initial_weights(deepcopy(model))), loss_weight)


def weighable_losses(model: nn.Module, loss_weight: float | int) -> list[nn.Module]:
    """Those of all heads.

    Raises:
        ValueError: there are none, as in Mask2Former, or one that takes no pixels' weights or passes over them.
    """
    losses = [loss for module in model.modules() for loss in losses_of(module)]
    if not losses:
        raise ValueError(f"loss_weight={loss_weight}: no head of this model has a loss_decode with pixels to weigh")
    for loss in losses:
        name = type(loss).__name__
        if name in WEIGHTLESS or "weight" not in inspect.signature(loss.forward).parameters:
            raise ValueError(f"loss_weight={loss_weight}: {name} of this model does not weigh pixels")
    return losses


def losses_of(module: nn.Module) -> list[nn.Module]:
    """Of a head: one, or several that are summed."""
    found = getattr(module, "loss_decode", None)
    if found is None:
        return []
    return list(found) if isinstance(found, nn.ModuleList) else [found]

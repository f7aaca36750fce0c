"""Activation checkpointing: blocks that keep their inputs alone and run again in the backward pass.

It is less memory for more time. What a second forward would change twice is kept from it: batch-norm statistics here,
spectral norm's vectors by `layers.settle_weights` within `parametrize.cached`.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from dpsims.discriminator import Discriminator
from dpsims.generator import Generator


def recompute_generator(generator: Generator) -> None:
    """Recompute the encoder's levels, the image path's blocks, and what makes their γ and β."""
    for level in generator.levels:
        level.forward = _recomputed(level, level.forward)
    for block in generator.blocks:
        block.forward = _recomputed(block, block.forward)
        block.modulations = _recomputed(block, block.modulations)


def recompute_discriminator(discriminator: Discriminator) -> None:
    """Recompute the decoder's blocks, and where it can those of a frozen backbone, which has no statistics to move."""
    for block in discriminator.blocks:
        block.forward = _recomputed(block, block.forward)
    backbone = discriminator.backbone
    if backbone.frozen and hasattr(backbone.net, "set_grad_checkpointing"):
        backbone.net.set_grad_checkpointing()


def _recomputed(module: nn.Module, function: Callable) -> Callable:
    def run(*inputs: object) -> object:
        contexts = partial(_contexts, module)
        return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)

    return run


def _contexts(module: nn.Module) -> tuple:
    """For the forward, and for the forward again."""
    return nullcontext(), _FrozenStatistics(module)


class _FrozenStatistics:
    """Within it, batch norms leave their running statistics; it is entered once for each derivative."""

    def __init__(self, module: nn.Module) -> None:
        self.momenta = {norm: norm.momentum for norm in module.modules() if isinstance(norm, _BatchNorm)}

    def __enter__(self) -> None:
        for norm in self.momenta:
            norm.momentum = 0.0

    def __exit__(self, *error: object) -> None:
        for norm, momentum in self.momenta.items():
            norm.momentum = momentum

"""Exponential moving average of the generator, measured in images instead of steps (Karras et al. 2024, EDM2)."""

import copy

import torch
from torch import nn


class EMA:
    """`net` follows a model with a half-life of `halflife_kimg` thousand images.

    Early on the half-life is at most `rampup` times the images seen so far, so that short runs are not an average of
    their start. Parameters and batch-norm statistics are averaged; the rest (spectral norm's vectors, counters) is
    copied, because an average of them has no meaning.
    """

    def __init__(self, model: nn.Module, *, halflife_kimg: float, rampup: float) -> None:
        self.net = copy.deepcopy(model).eval().requires_grad_(False)
        self.halflife_kimg, self.rampup = halflife_kimg, rampup

    @torch.no_grad()
    def update(self, model: nn.Module, *, images_seen: int, batch_size: int) -> None:
        halflife = self.halflife_kimg * 1000
        if self.rampup > 0:
            halflife = min(halflife, images_seen * self.rampup)
        weight = 1 - 0.5 ** (batch_size / max(halflife, 1e-8))
        averaged = dict(self.net.named_parameters())
        averaged |= {k: v for k, v in self.net.named_buffers() if k.endswith(("running_mean", "running_var"))}
        source = model.state_dict()
        torch._foreach_lerp_(list(averaged.values()), [source[k] for k in averaged], weight)
        for key, value in self.net.state_dict().items():
            if key not in averaged:
                value.copy_(source[key])

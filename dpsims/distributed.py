"""Several processes as one trainer: torchrun's ranks, their slices of the joint batch, and what they must agree on."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist
from jaxtyping import Float
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

TIMEOUT = timedelta(hours=2)  # so long do ranks wait for each other: the first one alone validates and saves


def launch(device: torch.device) -> None:
    """Join the ranks that torchrun started, if it did."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)


def leave() -> None:
    """Part from the other ranks; before it, all of them have done what they do together."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    if dist.is_initialized():
        dist.barrier()


def mean(values: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    """The mean over all ranks."""
    return total(values) / world_size()


def total(values: Tensor) -> Tensor:
    """The sum over all ranks."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def from_first(value: object) -> object:
    """The first rank's value, on all of them."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


def anywhere(flag: bool, device: torch.device) -> bool:
    """Whether a flag is set on any rank: they must agree before one of them stops."""
    return bool(total(torch.tensor(int(flag), device=device)).item()) if dist.is_initialized() else flag


def wrap(phase: nn.Module) -> nn.Module:
    """Average the gradients of a phase over the ranks.

    Buffers stay each rank's own: batch norms are synchronised in their forward, and spectral norm's vectors follow
    from the weights.
    """
    if not dist.is_initialized():
        return phase
    wrapped = DistributedDataParallel(phase)
    wrapped.broadcast_buffers = False
    return wrapped


def synchronize_batch_norm(net: nn.Module, *, native: bool) -> None:
    """Have the batch norms in `net` take their statistics over all ranks.

    Args:
        native: by torch's own layer, which is the faster one, but for GPUs alone and without a second derivative.

    Raises:
        ValueError: not `native`, and `net` has norms that only torch's and timm's own layers can stand in for.
    """
    if not dist.is_initialized():
        return
    if native:
        convert_sync_batchnorm(net)  # timm's, which knows norms with a built-in activation, too
        return
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = JointBatchNorm
        elif isinstance(module, nn.BatchNorm2d):
            raise ValueError(
                f"a trained backbone with {type(module).__name__} needs torch's synchronised batch norm, which works "
                "on GPUs alone and not with loss.r1; take one process, freeze the backbone, or set loss.r1.weight=0"
            )


class _Sum(torch.autograd.Function):
    """The sum over all ranks, which passes every rank's gradient to every other."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return total(values.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)  # not a bare sum, which a second derivative would not see


class JointBatchNorm(nn.BatchNorm2d):
    """Batch norm over the joint batch of ranks with equally many images each, on any device, with all derivatives."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if not self.training:
            return super().forward(x)
        shape = (1, -1, 1, 1)
        count = x.numel() // x.shape[1] * world_size()
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _Sum.apply(wide.sum(dim=(0, 2, 3))) / count  # (C,)
        centred = wide - mean.view(shape)
        var = _Sum.apply(centred.square().sum(dim=(0, 2, 3))) / count  # (C,), of the population
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        y = centred * (var + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

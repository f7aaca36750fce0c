"""A start from a generator of another label space: what does not depend on classes is taken over."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import parametrize

from dpsims.generator import Generator
from dpsims.labels import LabelSpace
from dpsims.sample import load_generator

POWER_ITERATIONS = 30  # of spectral norm; it starts a fresh layer with 15


@torch.no_grad()
def take_over(generator: Generator, space: LabelSpace, source: Path) -> str:
    """Fill `generator`, which is in training mode, with the weights of a snapshot, and tell in words what came over.

    The layers that read the one-hot label map are made anew, but for the inputs of classes that both spaces call alike.
    Whatever else has another shape, or no counterpart, keeps its fresh weights.
    """
    old = load_generator(source)
    theirs, ours = old.generator.state_dict(), generator.state_dict()
    shared = [name for name in space.classes if name in old.space.classes]
    columns = [(space.classes.index(name), old.space.classes.index(name)) for name in shared]
    if generator.instances and old.instances:  # the two channels of offsets come last
        columns += [(space.num_classes + axis, old.space.num_classes + axis) for axis in (0, 1)]
    inputs = {f"{name}.parametrizations.weight.original" for name in generator.class_layers()}
    norms = {f"{name}.parametrizations.weight.0._{vector}" for name in generator.class_layers() for vector in "uv"}
    taken, by_class, fresh = [], [], []
    for key, value in ours.items():
        if key in inputs and key in theirs and theirs[key][:, 0].shape == value[:, 0].shape:
            for column, their_column in columns:
                value[:, column] = theirs[key][:, their_column]
            by_class.append(key)
        elif key in theirs and key not in norms and theirs[key].shape == value.shape:
            value.copy_(theirs[key])
            taken.append(key)
        else:
            fresh.append(key)
    for layer in generator.modules():  # σ of what was put together here is not known yet
        if parametrize.is_parametrized(layer, "weight"):
            for _ in range(POWER_ITERATIONS):
                _ = layer.weight
    return (
        f"init_from {source}: {_millions(ours, taken)} of {_millions(ours, list(ours))} M values taken over; in "
        f"{len(by_class)} layers that read classes, the inputs of {len(shared)} of {space.num_classes} classes "
        f"({', '.join(shared) or 'none has a namesake'}); fresh: {_names(fresh)}"
    )


def _millions(state: dict[str, Tensor], keys: list[str]) -> str:
    return f"{sum(state[key].numel() for key in keys) / 1e6:.3g}"


def _names(keys: list[str]) -> str:
    """The layers that tensors belong to, some of them by name."""
    layers = list(
        dict.fromkeys(key.split(".parametrizations")[0] if "param" in key else key.rpartition(".")[0] for key in keys)
    )
    return f"{len(keys)} tensors ({', '.join(layers[:6])}{', …' if len(layers) > 6 else ''})" if keys else "nothing"

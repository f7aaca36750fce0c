"""Synthesis of K images of one label map: the inference graph against K plain passes of the training graph in fp32.

Each part of the difference is added to those before it: one encoding for all K, channels_last, folding (with the
look-up of classes and the pieces that fit the caches), bf16. The weights are random: speed does not depend on them.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import autocast, in_turns, run_alone, short, spread
from benchmarks.options import add_grid, check_preset, gan_config, gan_overrides, grid, parser_of, usual_dtype
from benchmarks.report import run
from dpsims.build import architecture
from dpsims.folded import ClassConv
from dpsims.generator import Generator
from dpsims.inference import InferenceGenerator
from dpsims.labels import LabelSpace, default_palette, onehot

EXAMPLE = "python -m benchmarks.inference --model small --size 256x256 --batch 8 --out small.json"
CHAIN = ("plain", "reuse", "channels_last", "folded", "bf16")  # each adds to the one before


@dataclass(frozen=True)
class Setting:
    """`batch` images of one label map; without bf16 as `dtype` the parts in bf16 are left out."""

    device: str
    dtype: str
    model: str
    channel_base: int | None
    height: int
    width: int
    classes: int
    batch: int
    rounds: int
    warmup: int


def preset(device: str, **options: int) -> list[Setting]:
    each = partial(Setting, device=device, dtype=usual_dtype(device), channel_base=None, batch=8, **options)
    return [
        each(model="small", height=96, width=128, classes=11),  # CamVid as 2 cores train it
        each(model="small", height=256, width=256, classes=151),
        each(model="paper", height=256, width=256, classes=151),
    ]


PRESETS: dict[str, Callable[[], list[Setting]]] = {
    "cpu": partial(preset, "cpu", rounds=5, warmup=1),
    "gpu": partial(preset, "cuda", rounds=20, warmup=3),
}


def measure(setting: Setting) -> dict:
    return run_alone(measure_time, setting)


def random_generator(setting: Setting) -> Generator:
    space = LabelSpace(tuple(map(str, range(setting.classes))), default_palette(setting.classes))
    net = Generator(**architecture(gan_config(gan_overrides(setting)), space))
    return net.eval().requires_grad_(False).to(setting.device)


def passes(setting: Setting, net: Generator, label_map: Tensor) -> dict[str, Callable[[], object]]:
    """What takes turns; each makes `batch` images of the label map, (1, H, W)."""
    device = torch.device(setting.device)
    z = torch.randn(setting.batch, net.z_dim, device=device)
    label_maps = label_map.expand(setting.batch, -1, -1)
    channels_last = deepcopy(net).to(memory_format=torch.channels_last)
    tasks = {
        "plain": lambda: [net(label_map, row) for row in z.split(1)],
        "batched": partial(net, label_maps, z),
        "reuse": partial(net, label_map, z),
        "channels_last": partial(channels_last, label_map, z),
        "folded": partial(InferenceGenerator(net), label_map, z),
    }

    def unfolded() -> None:
        with autocast(device, "bf16"):
            channels_last(label_map, z)

    if setting.dtype == "bf16":
        tasks |= {"unfolded_bf16": unfolded, "bf16": partial(InferenceGenerator(net, torch.bfloat16), label_map, z)}
    return tasks


def first_layers(net: Generator, label_map: Tensor) -> dict[str, Callable[[], object]]:
    """The encoder's first convolution without its spectral norm: over a one-hot map, and by looking up."""
    layer = net.levels[0][0] if isinstance(net.levels[0], nn.Sequential) else net.levels[0].conv_in
    weight, bias = layer.weight, layer.bias
    return {
        "one_hot": lambda: F.conv2d(onehot(label_map, net.num_classes), weight, bias, padding=1),
        "look_up": partial(ClassConv(weight, bias, net.num_classes), label_map),
    }


@torch.inference_mode()
def measure_time(setting: Setting) -> dict:
    device = torch.device(setting.device)
    net = random_generator(setting)
    label_map = torch.randint(setting.classes, (1, setting.height, setting.width), device=device)
    whole, first = passes(setting, net, label_map), first_layers(net, label_map)
    in_turns(whole | first, setting.warmup, device)
    seconds = in_turns(whole | first, setting.rounds, device)

    def faster(name: str, than: str) -> dict[str, float]:
        return spread([slow / fast for slow, fast in zip(seconds[than], seconds[name], strict=True)])

    parts = []
    for name in whole:
        made = {
            "part": name,
            "seconds": spread(seconds[name]),
            "images_per_second": short(setting.batch / statistics.median(seconds[name])),
            "speedup": faster(name, "plain"),
        }
        if name in CHAIN[1:]:
            made["gain"] = faster(name, CHAIN[CHAIN.index(name) - 1])
        parts.append(made)
    look_up = {name: spread(seconds[name]) for name in first} | {"speedup": faster("look_up", "one_hot")}
    return {"parts": parts, "first_layer": look_up}


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("inference", __doc__, EXAMPLE)
    add_grid(parser, list(PRESETS))
    options = parser.parse_args(arguments)
    try:
        check_preset(options)
        settings = PRESETS[options.preset]() if options.preset else [Setting(**values) for values in grid(options)]
        run("inference", arguments, settings, measure, options.out)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

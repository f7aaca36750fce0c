"""The command line that the GAN's benchmarks share, and the GAN's configuration from it."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from benchmarks.measure import DTYPES
from dpsims.config import TrainConfig, from_dict
from dpsims.hardware import pick_device, use_bf16

CONFIGS = Path(__file__).parents[1] / "configs" / "gan"
MODELS = tuple(sorted(file.stem for file in (CONFIGS / "model").glob("*.yaml")))
# Each combination of these is a setting, unless a preset brings its own.
GRID = {
    "model": ["paper"],
    "channel_base": [None],
    "size": [(256, 256)],
    "classes": [151],
    "batch": [8],
    "dtype": [None],
}


def parser_of(name: str, description: str, example: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, help="write the JSON document to this file, too, after every setting")
    return parser


def add_grid(parser: argparse.ArgumentParser, presets: Sequence[str]) -> None:
    add = parser.add_argument
    add("--preset", choices=presets, help="a list of settings instead of the grid of the options that follow")
    add("--model", choices=MODELS, nargs="+", help="of configs/gan/model (default: paper)")
    add("--channel-base", type=positive, nargs="+", help="narrowest width of the image path (default: the model's)")
    add("--size", type=size, nargs="+", metavar="HEIGHTxWIDTH", help="multiples of 32 (default: 256x256)")
    add("--classes", type=positive, nargs="+", help="of the label maps (default: 151)")
    add("--batch", type=positive, nargs="+", help="images at once (default: 8)")
    add("--dtype", choices=DTYPES, nargs="+", help="bf16 is autocast (default: bf16 where the hardware is fast at it)")
    add("--device", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    add("--rounds", type=positive, help="timed, after the warm-up (default: 5)")
    add("--warmup", type=positive, help="rounds before the timed ones (default: 2)")


def grid(arguments: argparse.Namespace) -> Iterator[dict]:
    """Keyword arguments of a setting for every combination, in the order of the options."""
    device = str(pick_device(arguments.device or "auto"))
    shared = {"device": device, "rounds": arguments.rounds or 5, "warmup": arguments.warmup or 2}
    for values in product(*(getattr(arguments, name) or GRID[name] for name in GRID)):
        setting = dict(zip(GRID, values, strict=True))
        height, width = setting.pop("size")
        setting["dtype"] = setting["dtype"] or usual_dtype(device)
        yield {**setting, "height": height, "width": width, **shared}


def usual_dtype(device: str) -> str:
    """What training and synthesis run in on a device unless they are told."""
    return "bf16" if use_bf16(torch.device(device), "auto") else "fp32"


def check_preset(arguments: argparse.Namespace) -> None:
    """A ValueError names the options that have no effect beside a preset, or says that CUDA is missing for it."""
    given = {name for name, value in vars(arguments).items() if value is not None} - {"preset", "out"}
    if arguments.preset and given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise ValueError(f"--preset {arguments.preset} brings its own {names}")
    if arguments.preset == "gpu":
        pick_device("cuda")


def gan_overrides(setting: object) -> list[str]:
    """Of a setting with `model`, `channel_base`, `height` and `width`."""
    overrides = [
        "data.root=.",
        f"model={setting.model}",
        f"data.height={setting.height}",
        f"data.width={setting.width}",
    ]
    return overrides + ([f"generator.channel_base={setting.channel_base}"] if setting.channel_base else [])


def gan_config(overrides: Sequence[str]) -> TrainConfig:
    """The training configuration of `configs/gan`, as tools/train_gan.py composes it."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        options = OmegaConf.to_container(compose("default", list(overrides)), resolve=True)
    return from_dict(TrainConfig, options)


def size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH in pixels."""
    height, _, width = text.partition("x")
    return positive(height), positive(width)


def positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)

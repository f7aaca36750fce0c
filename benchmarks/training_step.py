"""One whole training step of DP-SIMS: D's phase, G's phase, both optimisers, EMA, by `Trainer.train_batch` itself.

Images and label maps are random, for their content does not change the work. Networks without packaged weights get
random ones, so nothing is downloaded.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import (
    Matmul,
    against_floor,
    current_memory,
    in_turns,
    peak_memory,
    rate,
    run_alone,
    short,
    spread,
)
from benchmarks.options import add_grid, check_preset, gan_config, gan_overrides, grid, parser_of, usual_dtype
from benchmarks.report import run, write
from dpsims.config import TrainConfig
from dpsims.gan_step import Batch
from dpsims.labels import LabelSpace, default_palette
from dpsims.pretrained import create_features
from dpsims.trainer import Trainer

EXAMPLE = "python -m benchmarks.training_step --model small --size 96x128 --classes 11 --batch 4 8 --out small.json"
PACKAGED = "tf_efficientnet_lite0"  # its weights are installed with the package
PHASES = ("D", "G", "ema")

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """A step on `batch` images.

    Attributes:
        channel_base: of the generator, instead of the model's; None leaves it.
        classes: of the label maps.
        backbone: of D, frozen.
        perceptual: network of the contrastive loss; one that is not the configuration's serves with all its strides.
    """

    device: str
    dtype: str
    model: str
    channel_base: int | None
    height: int
    width: int
    classes: int
    batch: int
    backbone: str
    perceptual: str
    rounds: int
    warmup: int


def cpu_preset() -> list[Setting]:
    usual = usual_dtype("cpu")
    networks = {"backbone": PACKAGED, "perceptual": PACKAGED}
    each = partial(Setting, device="cpu", channel_base=None, warmup=1, **networks)
    camvid = {"height": 96, "width": 128, "classes": 11}  # as 2 cores train it
    square = {"height": 256, "width": 256, "classes": 151}
    return [
        each(model="small", dtype=usual, batch=8, rounds=5, **camvid),
        each(model="small", dtype="fp32", batch=8, rounds=3, **camvid),
        each(model="small", dtype=usual, batch=4, rounds=3, **square),
        each(model="paper", dtype=usual, batch=2, rounds=2, **square),
    ]


def gpu_preset() -> list[Setting]:
    each = partial(Setting, device="cuda", channel_base=None, rounds=10, warmup=3)
    sizes = [{"height": 256, "width": 256, "classes": 151}, {"height": 256, "width": 352, "classes": 11}]
    light = {"backbone": PACKAGED, "perceptual": PACKAGED}
    full = {"backbone": "convnext_large.fb_in22k_ft_in1k_384", "perceptual": "vgg19.tv_in1k"}
    return [
        *(each(model="paper", dtype="bf16", batch=batch, **size, **light) for size in sizes for batch in (16, 32, 64)),
        each(model="paper", dtype="fp32", batch=16, **sizes[0], **light),
        each(model="paper", dtype="bf16", batch=16, **sizes[0], **full),
        each(model="small", dtype="bf16", batch=32, **sizes[0], **light),
    ]


PRESETS: dict[str, Callable[[], list[Setting]]] = {"cpu": cpu_preset, "gpu": gpu_preset}


def measure(setting: Setting) -> dict:
    return run_alone(measure_step, setting)


def measure_step(setting: Setting) -> dict:
    device = torch.device(setting.device)
    start = current_memory(device)
    with TemporaryDirectory() as folder:
        trainer = Trainer(configure(setting, Path(folder)))
        batch = next(trainer.batches(0))

    for _ in range(setting.warmup):
        trainer.train_batch(batch)
    peak = peak_memory(device)  # before the matrices of the yardstick
    with FlopCounterMode(display=False) as counter:
        counted = phases(trainer, batch, counter.get_total_flops)
    flops = {name: after - before for name, before, after in zip(PHASES, counted, counted[1:], strict=False)}

    matmul = Matmul(device, setting.dtype)
    matmul()
    marks: list[list] = []
    tasks = {"matmul": matmul, "step": lambda: marks.append(phases(trainer, batch, partial(now, device)))}
    seconds = in_turns(tasks, setting.rounds, device)
    per_phase = [spread([elapsed(one[index], one[index + 1]) for one in marks]) for index in range(len(PHASES))]
    step_flops = counted[-1] - counted[0]
    return {
        "parameters": count_parameters(trainer),
        "flops": {**flops, "step": step_flops},
        "matmul_flops_per_second": rate(matmul, seconds["matmul"]),
        "seconds": {**dict(zip(PHASES, per_phase, strict=True)), "step": spread(seconds["step"])},
        "images_per_second": short(setting.batch / statistics.median(seconds["step"])),
        **against_floor(step_flops, seconds["step"], matmul, seconds["matmul"]),
        "memory": {"start_bytes": start, "peak_bytes": peak},
    }


def configure(setting: Setting, folder: Path) -> TrainConfig:
    """A training configuration in `folder`, with the smallest data set that does."""
    write_data(folder / "data", setting)
    return gan_config(
        [
            *gan_overrides(setting),
            f"data.root='{folder / 'data'}'",
            "data.val_split=null",
            "data.workers=0",
            f"out='{folder / 'run'}'",
            f"run.batch_size={setting.batch}",
            f"run.device={setting.device}",
            f"run.precision={setting.dtype}",
            f"discriminator.backbone.name={setting.backbone}",
            f"discriminator.backbone.pretrained={str(setting.backbone == PACKAGED).lower()}",
            "loss.diversity.tau=1.0",
            f"loss.contrastive.network={setting.perceptual}",
            *perceptual_overrides(setting.perceptual, folder),
        ]
    )


def write_data(root: Path, setting: Setting) -> None:
    """Two images of noise, with label maps of 16x16 blocks."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / "train" / kind).mkdir(parents=True)
    for number in range(2):
        image = rng.integers(0, 256, (setting.height, setting.width, 3), np.uint8)
        blocks = rng.integers(0, setting.classes, (setting.height // 16, setting.width // 16), np.uint8)
        Image.fromarray(image).save(root / "train" / "images" / f"{number}.png")
        Image.fromarray(blocks.repeat(16, 0).repeat(16, 1)).save(root / "train" / "labels" / f"{number}.png")
    names = tuple(f"class {number}" for number in range(setting.classes))
    write(root / "meta.json", LabelSpace(names, default_palette(setting.classes)).to_meta())


def perceptual_overrides(name: str, folder: Path) -> list[str]:
    """The configuration's strides for its own network, all that another has; random weights for all but one."""
    overrides = []
    if name != gan_config(["data.root=."]).loss.contrastive.network:
        strides = create_features(name, pretrained=False).feature_info.reduction()
        overrides.append(f"loss.contrastive.strides={strides}")
    if name != PACKAGED:
        weights = folder / "perceptual.safetensors"
        save_file(timm.create_model(name, pretrained=False).state_dict(), weights)
        overrides.append(f"loss.contrastive.weights='{weights}'")
    return overrides


def phases(trainer: Trainer, batch: Batch, read: Callable[[], T]) -> list[T]:
    """What `read` says before a step, after D's phase, after G's, and after the EMA."""
    marks = [read()]
    optimizers = (trainer.optimizers[name] for name in ("D", "G"))
    hooks = [optimizer.register_step_post_hook(lambda *_: marks.append(read())) for optimizer in optimizers]
    trainer.train_batch(batch)
    marks.append(read())
    for hook in hooks:
        hook.remove()
    return marks


def now(device: torch.device) -> float | torch.cuda.Event:
    """A moment in the work of the device; on CUDA an event, which does not make it wait."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def elapsed(start: float | torch.cuda.Event, end: float | torch.cuda.Event) -> float:
    """Seconds between two moments that have passed."""
    return end - start if isinstance(start, float) else start.elapsed_time(end) / 1000


def count_parameters(trainer: Trainer) -> dict[str, int]:
    step = trainer.step
    nets = {"G": step.G, "D": step.D, "contrast": step.contrast}
    trainable, frozen = (
        {name: sum(p.numel() for p in net.parameters() if p.requires_grad == wanted) for name, net in nets.items()}
        for wanted in (True, False)
    )
    return {"trainable": trainable, "frozen": frozen}


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("training_step", __doc__, EXAMPLE)
    add_grid(parser, list(PRESETS))
    parser.add_argument("--backbone", help=f"of the discriminator, any of timm (default: {PACKAGED})")
    parser.add_argument("--perceptual", help=f"network of the contrastive loss, any of timm (default: {PACKAGED})")
    options = parser.parse_args(arguments)
    try:
        check_preset(options)
        if options.preset:
            settings = PRESETS[options.preset]()
        else:
            networks = {"backbone": options.backbone or PACKAGED, "perceptual": options.perceptual or PACKAGED}
            settings = [Setting(**values, **networks) for values in grid(options)]
        run("training_step", arguments, settings, measure, options.out)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

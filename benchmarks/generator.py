"""The generator's forward: images per second, FLOPs and memory, with one label map encoded for 1, 4 or 8 images.

`forward` is `encode` (what z cannot reach: once per label map) and `decode` (once per image), so K images of a label
map cost encode/K + decode each. The weights are random: speed does not depend on them.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import (
    Matmul,
    against_floor,
    autocast,
    current_memory,
    in_turns,
    peak_memory,
    rate,
    run_alone,
    short,
    spread,
)
from benchmarks.options import add_grid, check_preset, gan_config, gan_overrides, grid, parser_of, positive, usual_dtype
from benchmarks.report import run
from dpsims.build import architecture
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette
from dpsims.sample import Snapshot, load_generator, save_generator

EXAMPLE = "python -m benchmarks.generator --model small --size 96x128 256x256 --batch 8 --out small.json"


@dataclass(frozen=True)
class Setting:
    """`batch` images a pass, made from batch / K label maps for each K of `samples`; K = 1 is what is compared to.

    Attributes:
        channel_base: instead of the model's; None leaves it.
        classes: of the label maps.
    """

    device: str
    dtype: str
    model: str
    channel_base: int | None
    height: int
    width: int
    classes: int
    batch: int
    samples: tuple[int, ...]
    rounds: int
    warmup: int

    def __post_init__(self) -> None:
        wrong = [samples for samples in self.samples if self.batch % samples]
        if wrong:
            raise ValueError(f"--batch {self.batch} is no multiple of --samples {wrong[0]}")


def cpu_preset() -> list[Setting]:
    usual = usual_dtype("cpu")
    each = partial(Setting, device="cpu", channel_base=None, warmup=1)
    camvid = {"height": 96, "width": 128, "classes": 11}  # as 2 cores train it
    square = {"height": 256, "width": 256, "classes": 151}
    return [
        each(model="small", dtype=usual, batch=8, samples=(1, 4, 8), rounds=5, **camvid),
        each(model="small", dtype=usual, batch=8, samples=(1, 4, 8), rounds=5, **square),
        each(model="small", dtype="fp32", batch=8, samples=(1, 8), rounds=3, **square),
        each(model="paper", dtype=usual, batch=4, samples=(1, 4), rounds=3, **square),
        each(model="paper", dtype="fp32", batch=1, samples=(1,), rounds=3, **square),
    ]


def gpu_preset() -> list[Setting]:
    each = partial(Setting, device="cuda", channel_base=None, samples=(1, 4, 8), rounds=10, warmup=3)
    sizes = [{"height": 256, "width": 256, "classes": 151}, {"height": 256, "width": 352, "classes": 11}]
    return [
        *(each(model="paper", dtype="bf16", batch=batch, **size) for size in sizes for batch in (16, 32, 64)),
        each(model="paper", dtype="fp32", batch=32, **sizes[0]),
        each(model="small", dtype="bf16", batch=32, **sizes[0]),
    ]


PRESETS: dict[str, Callable[[], list[Setting]]] = {"cpu": cpu_preset, "gpu": gpu_preset}


def measure(setting: Setting) -> dict:
    """Times in one process for all K, memory in a process for each, on one snapshot."""
    with TemporaryDirectory() as folder:
        save_snapshot(Path(folder), setting)
        figures = run_alone(measure_time, setting, Path(folder))
        for made in figures["passes"]:
            made["memory"] = run_alone(measure_memory, setting, Path(folder), made["samples_per_map"])
    return figures


def save_snapshot(folder: Path, setting: Setting) -> None:
    """Random weights, saved as training does, so that loading them is what synthesis does."""
    space = LabelSpace(tuple(map(str, range(setting.classes))), default_palette(setting.classes))
    options = architecture(gan_config(gan_overrides(setting)), space)
    save_generator(folder, Generator(**options), options, space, {"images_seen": 0})


def one_pass(snapshot: Snapshot, setting: Setting, samples: int) -> Callable[[], None]:
    """Makes `batch` images, `samples` of each label map."""
    device = torch.device(setting.device)
    shape = (setting.batch // samples, setting.height, setting.width)
    label_map = torch.randint(setting.classes, shape, device=device)  # (M, H, W)
    z = torch.randn(setting.batch, snapshot.z_dim, device=device)  # (M·K, Z)

    @torch.inference_mode()
    def make() -> None:
        with autocast(device, setting.dtype):
            snapshot.generator(label_map, z)

    return make


def count_flops(generator: Generator, label_map: Tensor, z: Tensor) -> dict[str, int]:
    """Of `encode` and of `decode`."""
    with torch.no_grad(), FlopCounterMode(display=False) as encoding:
        conditioning = generator.encode(label_map)
    with torch.no_grad(), FlopCounterMode(display=False) as decoding:
        generator.decode(conditioning, z)
    return {"encode": encoding.get_total_flops(), "decode": decoding.get_total_flops()}


def measure_time(setting: Setting, folder: Path) -> dict:
    device = torch.device(setting.device)
    snapshot = load_generator(folder, device)
    one_map = torch.zeros(1, setting.height, setting.width, dtype=torch.long, device=device)
    flops = count_flops(snapshot.generator, one_map, torch.ones(1, snapshot.z_dim, device=device))
    passes = {samples: one_pass(snapshot, setting, samples) for samples in sorted({1, *setting.samples})}
    matmul = Matmul(device, setting.dtype)
    tasks = {"matmul": matmul} | {str(samples): make for samples, make in passes.items()}
    in_turns(tasks, setting.warmup, device)
    seconds = in_turns(tasks, setting.rounds, device)

    results = []
    for samples in passes:
        taken = seconds[str(samples)]
        label_maps = setting.batch // samples
        pass_flops = label_maps * flops["encode"] + setting.batch * flops["decode"]
        results.append(
            {
                "samples_per_map": samples,
                "label_maps": label_maps,
                "seconds": spread(taken),
                "images_per_second": short(setting.batch / statistics.median(taken)),
                "speedup": spread([alone / shared for alone, shared in zip(seconds["1"], taken, strict=True)]),
                "flops": pass_flops,
                **against_floor(pass_flops, taken, matmul, seconds["matmul"]),
            }
        )
    return {
        "parameters": sum(parameter.numel() for parameter in snapshot.generator.parameters()),
        "flops": flops,
        "matmul_flops_per_second": rate(matmul, seconds["matmul"]),
        "passes": results,
    }


def measure_memory(setting: Setting, folder: Path, samples: int) -> dict[str, int]:
    """Bytes before the snapshot is loaded, and at most until a pass is done."""
    device = torch.device(setting.device)
    start = current_memory(device)
    one_pass(load_generator(folder, device), setting, samples)()
    return {"start_bytes": start, "peak_bytes": peak_memory(device)}


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("generator", __doc__, EXAMPLE)
    add_grid(parser, list(PRESETS))
    samples_help = "images of each label map; 1 is always measured, too (default: 1 4 8)"
    parser.add_argument("--samples", type=positive, nargs="+", help=samples_help)
    options = parser.parse_args(arguments)
    try:
        check_preset(options)
        if options.preset:
            settings = PRESETS[options.preset]()
        else:
            samples = tuple(options.samples or (1, 4, 8))
            settings = [Setting(**values, samples=samples) for values in grid(options)]
        run("generator", arguments, settings, measure, options.out)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

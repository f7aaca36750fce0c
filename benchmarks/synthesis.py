"""How much of the generator's own rate arrives on disk, and whether memory grows with the number of images.

The same label maps and seeds go through the generator alone, batch by batch, and through `augment.synthesize`: label
maps read, images encoded, tars written, hashed and synced. `--paced 300` puts a bank of ready images in the generator's
place that hands out so many a second and leaves the cores to the others meanwhile, as a GPU would.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from augment.factory import Factory, Settings
from augment.plan import Plan
from augment.sources import find_label_maps
from augment.synthesize import synthesize
from benchmarks.measure import current_memory, in_turns, peak_memory, run_alone, short, spread
from benchmarks.options import MODELS, gan_config, gan_overrides, parser_of, positive, size, usual_dtype
from benchmarks.photos import PhotoBank, label_map, photo_snapshot
from benchmarks.report import run
from dpsims.build import architecture
from dpsims.generator import Generator
from dpsims.hardware import pick_device
from dpsims.labels import LabelSpace, default_palette, encode_label_png
from dpsims.sample import Snapshot

EXAMPLE = "python -m benchmarks.synthesis --paced 300 --size 256x256 --maps 128"


@dataclass(frozen=True)
class Setting:
    """`maps` label maps with `samples` images each, by a model or by a bank that hands out `paced` images a second."""

    device: str
    dtype: str
    model: str | None
    channel_base: int | None
    paced: int | None
    height: int
    width: int
    classes: int
    maps: int
    samples: int
    batch: int
    threads: int
    rounds: int


class PacedBank(PhotoBank):
    """Ready images, so many a second; as with a GPU, the next batch may be under way while the last one is fetched."""

    def __init__(self, bank: PhotoBank, images_per_second: int) -> None:
        super().__init__(bank.images.cpu().numpy())
        self.interval, self.due = 1 / images_per_second, 0.0

    def decode(self, conditioning: Tensor, z: Tensor) -> Tensor:
        took = len(z) * self.interval
        self.due = max(self.due, time.perf_counter() - took) + took
        time.sleep(max(0.0, self.due - time.perf_counter()))
        return super().decode(conditioning, z)


def make_snapshot(setting: Setting) -> Snapshot:
    device, rng = torch.device(setting.device), np.random.default_rng(0)
    shape = (setting.classes, setting.height, setting.width)
    if setting.paced:
        made = photo_snapshot(*shape, rng, count=4 * setting.batch, device=device)
        return replace(made, generator=PacedBank(made.generator, setting.paced).to(device))
    space = LabelSpace(tuple(map(str, range(setting.classes))), default_palette(setting.classes))
    torch.manual_seed(0)
    generator = Generator(**architecture(gan_config(gan_overrides(setting)), space)).eval().requires_grad_(False)
    generator.to(device, memory_format=torch.channels_last)
    return Snapshot(generator, space, setting.height, setting.width, generator.z_dim, False, "0" * 64, 0)


def measure(setting: Setting) -> dict:
    seconds = run_alone(time_both, setting)
    images = setting.maps * setting.samples
    shares = [alone / whole for alone, whole in zip(seconds["generator"], seconds["synthesize"], strict=True)]
    growths = [run_alone(memory_of, replace(setting, maps=maps)) for maps in (setting.maps, 4 * setting.maps)]
    return {
        "images": images,
        **{
            name: {"seconds": spread(taken), "images_per_second": short(images / statistics.median(taken))}
            for name, taken in seconds.items()
        },
        "share": spread(shares),
        "memory": [
            {"images": maps * setting.samples, "growth_bytes": growth}
            for maps, growth in zip((setting.maps, 4 * setting.maps), growths, strict=True)
        ],
    }


def prepare(setting: Setting, folder: Path) -> tuple[Plan, Settings]:
    rng = np.random.default_rng(0)
    for number in range(setting.maps):
        ids = label_map(setting.classes, setting.height, setting.width, rng)
        (folder / f"{number:06d}.png").write_bytes(encode_label_png(ids))
    counts = [setting.samples] * setting.maps
    plan = Plan(find_label_maps(folder), counts, shard_size=max(512, setting.samples), seed=0)
    return plan, Settings(bf16=setting.dtype == "bf16")


def time_both(setting: Setting) -> dict[str, list[float]]:
    """Seconds of every round: the generator alone, and all of it."""
    device, snapshot = torch.device(setting.device), make_snapshot(setting)
    with TemporaryDirectory() as name, ThreadPoolExecutor(setting.threads) as pool:
        folder = Path(name)
        (folder / "labels").mkdir()
        plan, settings = prepare(setting, folder / "labels")
        factory = Factory(snapshot, plan, settings, device, setting.batch, pool)
        shards = range(plan.num_shards)
        maps = list(factory.prepare(shards))
        numbers = count()

        def generate() -> None:
            assert sum(1 for _ in factory.generate(maps)) == len(plan)

        def everything() -> None:
            out, options = folder / f"out-{next(numbers)}", {"batch_size": setting.batch, "threads": setting.threads}
            synthesize(snapshot, plan, out, settings, device=device, **options)

        tasks = {"generator": generate, "synthesize": everything}
        in_turns(tasks, 1, device)
        return in_turns(tasks, setting.rounds, device)


def memory_of(setting: Setting) -> int:
    """Bytes by which a run makes the process grow, at most."""
    device, snapshot = torch.device(setting.device), make_snapshot(setting)
    with TemporaryDirectory() as name:
        (Path(name) / "labels").mkdir()
        plan, settings = prepare(setting, Path(name) / "labels")
        before = current_memory(torch.device("cpu"))
        options = {"batch_size": setting.batch, "threads": setting.threads}
        synthesize(snapshot, plan, Path(name) / "out", settings, device=device, **options)
        return peak_memory(torch.device("cpu")) - before


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("synthesis", __doc__, EXAMPLE)
    add = parser.add_argument
    add("--model", choices=MODELS, help="of configs/gan/model (default: small)")
    add("--channel-base", type=positive, help="narrowest width of the image path (default: the model's)")
    add("--paced", type=positive, metavar="IMAGES", help="a bank of images instead of a model, so many a second")
    add("--size", type=size, default=(256, 256), metavar="HEIGHTxWIDTH", help="(default: 256x256)")
    add("--classes", type=positive, default=19, help="of the label maps (default: %(default)s)")
    add("--maps", type=positive, default=256, help="label maps; for memory four times as many (default: %(default)s)")
    add("--samples", type=positive, default=8, help="images per label map (default: %(default)s)")
    add("--batch", type=positive, default=8, help="images at once (default: %(default)s)")
    add("--threads", type=positive, default=2, help="that read and encode (default: %(default)s)")
    add("--device", default="auto", help="(default: cuda where there is one)")
    add("--rounds", type=positive, default=3, help="timed, after one to warm up (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.paced and (options.model or options.channel_base):
            raise ValueError("--paced is instead of --model and --channel-base")
        device = str(pick_device(options.device))
        setting = Setting(
            device=device,
            dtype=usual_dtype(device),
            model=None if options.paced else options.model or "small",
            channel_base=options.channel_base,
            paced=options.paced,
            height=options.size[0],
            width=options.size[1],
            classes=options.classes,
            maps=options.maps,
            samples=options.samples,
            batch=options.batch,
            threads=options.threads,
            rounds=options.rounds,
        )
        run("synthesis", arguments, [setting], measure, options.out)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Writing and reading shards: samples and megabytes per second, without the generator's time.

Writing is `augment.synthesize` as it is (label maps read, images brought to 8 bits on the generator's device, encoded
in threads, tars hashed and synced to disk) with a bank of ready images in the generator's place. Reading is warm: the
files were just written and are in the page cache, so the figures are the software's, and a slow disk comes on top.
"""

import io
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import webdataset
from PIL import Image

from augment.factory import IMAGE_FORMATS, Settings, encode_image
from augment.plan import Plan
from augment.shards import committed_shards, shard_file
from augment.sources import find_label_maps
from augment.synthesize import synthesize
from benchmarks.measure import in_turns, run_alone, short, spread
from benchmarks.options import parser_of, positive, size
from benchmarks.photos import label_map, photo_snapshot
from benchmarks.report import run
from dpsims.hardware import pick_device
from dpsims.labels import encode_label_png
from dpsims.sample import to_uint8

EXAMPLE = "python -m benchmarks.shards --size 256x256 --format jpg webp --threads 1 2 4"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """`maps` label maps with `samples` images each, in shards of 512 images at most.

    Attributes:
        device: of the bank.
        quality: of JPEG and WebP; None for PNG.
        threads: that read label maps and encode images; each number is a measurement.
        batch: images that the bank hands out at once.
    """

    device: str
    height: int
    width: int
    classes: int
    image_format: str
    quality: int | None
    maps: int
    samples: int
    batch: int
    threads: tuple[int, ...]
    rounds: int


def measure(setting: Setting) -> dict:
    return run_alone(measure_shards, setting)


def measure_shards(setting: Setting) -> dict:
    images = setting.maps * setting.samples
    with TemporaryDirectory() as folder:
        write_seconds = time_writing(setting, Path(folder))
        written = Path(folder) / "shards-0"
        tars = [shard_file(written, shard, "tar") for shard in committed_shards(written)]
        size_on_disk = sum(tar.stat().st_size for tar in tars)
        read_seconds = time_reading(setting, written, tars)

    def figures(seconds: list[float]) -> dict:
        middle = statistics.median(seconds)
        rates = {"images_per_second": images / middle, "megabytes_per_second": size_on_disk / 1e6 / middle}
        return {"seconds": spread(seconds)} | {name: short(value) for name, value in rates.items()}

    return {
        "images": images,
        "shards": len(tars),
        "bytes_per_image": round(size_on_disk / images),
        "stages": time_stages(setting),
        "write": [{"threads": threads, **figures(seconds)} for threads, seconds in write_seconds.items()],
        "index": figures(read_seconds.pop("index")),
        "read": [{"method": method, **figures(seconds)} for method, seconds in read_seconds.items()],
    }


def time_stages(setting: Setting) -> dict[str, dict]:
    """What each image costs in one thread: seconds of its conversion, of its encoding, and of its label map's."""
    device, rng = torch.device(setting.device), np.random.default_rng(0)
    made = photo_snapshot(setting.classes, setting.height, setting.width, rng, count=setting.batch, device=device)
    images = to_uint8(made.generator.images).cpu().numpy()
    ids = label_map(setting.classes, setting.height, setting.width, rng)

    def encode_images() -> None:
        for image in images:
            encode_image(image, setting.image_format, setting.quality)

    tasks = {
        "to_uint8": lambda: to_uint8(made.generator.images).cpu(),
        "encode_image": encode_images,
        "encode_label_png": lambda: [encode_label_png(ids) for _ in images],
    }
    in_turns(tasks, 1, device)
    seconds = in_turns(tasks, setting.rounds, device)
    return {name: spread([batch / setting.batch for batch in taken]) for name, taken in seconds.items()}


def time_writing(setting: Setting, folder: Path) -> dict[int, list[float]]:
    """Threads → seconds of each round; leaves the first round's shards in FOLDER/shards-0."""
    rng = np.random.default_rng(0)
    shape = (setting.classes, setting.height, setting.width)
    (folder / "labels").mkdir()
    for number in range(setting.maps):
        (folder / "labels" / f"{number:05d}.png").write_bytes(encode_label_png(label_map(*shape, rng)))
    device = torch.device(setting.device)
    snapshot = photo_snapshot(*shape, rng, count=4 * setting.batch, device=device)
    label_files = find_label_maps(folder / "labels")
    plan = Plan(label_files, [setting.samples] * len(label_files), shard_size=max(512, setting.samples), seed=0)
    settings = Settings(setting.image_format, setting.quality)
    numbers = count()

    def write(threads: int) -> None:
        out = folder / f"shards-{next(numbers)}"
        synthesize(snapshot, plan, out, settings, device=device, batch_size=setting.batch, threads=threads)

    write(setting.threads[0])  # warm-up
    tasks = {str(threads): partial(write, threads) for threads in setting.threads}
    seconds = in_turns(tasks, setting.rounds, device)
    return {threads: seconds[str(threads)] for threads in setting.threads}


def time_reading(setting: Setting, folder: Path, tars: list[Path]) -> dict[str, list[float]]:
    """Method → seconds of each round; every round reads all images with their label maps."""
    import mmengine.fileio
    from mmseg.utils import register_all_modules

    from augment.mmseg.shard_dataset import ShardSegDataset, index_shards

    register_all_modules(init_default_scope=True)
    members = (setting.image_format, "seg.png")
    load = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
    dataset = ShardSegDataset(str(folder), pipeline=load)
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()

    def sequential() -> Iterator[list[bytes]]:
        for sample in webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False):
            yield [sample[member] for member in members]

    def sequential_decoded() -> Iterator[list[np.ndarray]]:
        for files in sequential():
            yield [np.array(Image.open(io.BytesIO(content))) for content in files]

    def random() -> Iterator[list[bytes]]:
        for info in map(dataset.get_data_info, order):
            yield [mmengine.fileio.get(info[key]) for key in ("img_path", "seg_map_path")]

    def random_decoded() -> Iterator[dict]:
        return map(dataset.__getitem__, order)

    def all_of(read: Callable[[], Iterator[object]]) -> None:
        found = sum(1 for _ in read())
        assert found == len(order)

    tasks = {
        "index": partial(index_shards, folder),
        "webdataset, in order, bytes": partial(all_of, sequential),
        "webdataset, in order, decoded by pillow": partial(all_of, sequential_decoded),
        "ShardSegDataset, shuffled, bytes": partial(all_of, random),
        "ShardSegDataset, shuffled, decoded by mmseg": partial(all_of, random_decoded),
    }
    in_turns(tasks, 1, CPU)
    return in_turns(tasks, setting.rounds, CPU)


def main(arguments: Sequence[str]) -> None:
    parser = parser_of("shards", __doc__, EXAMPLE)
    add = parser.add_argument
    add("--size", type=size, nargs="+", default=[(256, 256)], metavar="HEIGHTxWIDTH", help="(default: 256x256)")
    add("--classes", type=positive, default=19, help="of the label maps (default: %(default)s)")
    add("--format", choices=IMAGE_FORMATS, nargs="+", default=["jpg"], help="of the images (default: jpg)")
    add("--quality", type=positive, default=95, help="of jpg and webp, 1 to 100 (default: %(default)s)")
    add("--maps", type=positive, default=128, help="label maps (default: %(default)s)")
    add("--samples", type=positive, default=8, help="images per label map (default: %(default)s)")
    add("--batch", type=positive, default=8, help="images handed out at once (default: %(default)s)")
    add("--threads", type=positive, nargs="+", default=[1, 2], help="that read and encode (default: 1 2)")
    add("--device", default="auto", help="of the bank of images (default: cuda where there is one)")
    add("--rounds", type=positive, default=5, help="timed, after one to warm up (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        device = str(pick_device(options.device))
        settings = [
            Setting(
                device=device,
                height=height,
                width=width,
                classes=options.classes,
                image_format=image_format,
                quality=None if image_format == "png" else options.quality,
                maps=options.maps,
                samples=options.samples,
                batch=options.batch,
                threads=tuple(options.threads),
                rounds=options.rounds,
            )
            for (height, width), image_format in product(options.size, options.format)
        ]
        run("shards", arguments, settings, measure, options.out)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])

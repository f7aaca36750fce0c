"""Mass production: label maps → generator → encoded samples, shard by shard, each stage feeding the next.

Label maps are read and images encoded in threads while the generator works; the order stays that of the plan.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from tqdm import tqdm

from augment.ordered_map import ordered_map
from augment.record import LabelFile, Record, plan_shards
from augment.shards import (
    OK,
    Sample,
    committed_shards,
    first_failure,
    open_manifest,
    read_stats,
    total_of,
    write_manifest,
    write_shard,
)
from dpsims.frame import fit, fit_label_map
from dpsims.inference import inference_graph
from dpsims.instances import centre_offsets, read_instances
from dpsims.labels import IGNORE_INDEX, encode_label_png, read_label_map
from dpsims.sample import Snapshot, noise, to_uint8

IMAGE_FORMATS = {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}
BAD_LABEL, BAD_IMAGE = "bad_label", "bad_image"
VERSIONS = {"dpsims-augment": version("dpsims-augment"), "torch": str(torch.__version__)}

R = TypeVar("R")


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the shards, beside the generator and the label maps.

    Batch size, threads and device are not here: a run that ran out of memory goes on with a smaller batch.

    Attributes:
        quality: of JPEG or WebP, 1 to 100; None for PNG, which is lossless.
        bf16: run the generator under bfloat16 autocast.
    """

    samples_per_map: int = 8
    maps_per_shard: int = 64
    seed: int = 0
    image_format: str = "jpg"
    quality: int | None = 95
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.image_format not in IMAGE_FORMATS:
            raise ValueError(f"image format {self.image_format!r} is none of {', '.join(IMAGE_FORMATS)}")
        if self.image_format == "png" and self.quality is not None:
            raise ValueError(f"--quality {self.quality} has no meaning with --format png, which is lossless")
        if self.image_format != "png" and not (self.quality and 1 <= self.quality <= 100):
            raise ValueError(f"--quality is 1 to 100, not {self.quality}")


@dataclass(frozen=True)
class PreparedMap:
    """A label map at the generator's size, with what its K samples share; `error` instead if its file is bad."""

    records: list[Record]
    error: str | None = None
    label_map: UInt8[np.ndarray, "h w"] | None = None
    offsets: Float[np.ndarray, "2 h w"] | None = None
    png: bytes = b""
    sha256: str = ""
    class_pixels: tuple[int, ...] = ()
    ignored_pixels: int = 0


@dataclass(frozen=True)
class MadeImage:
    """A sample on its way from the generator to its encoder; no image if there was none to make or it is not finite."""

    record: Record
    source: PreparedMap
    image: UInt8[np.ndarray, "h w 3"] | None


def synthesize(
    snapshot: Snapshot,
    label_files: Sequence[LabelFile],
    folder: Path,
    settings: Settings,
    *,
    device: torch.device | str,
    batch_size: int,
    threads: int,
    progress: bool = False,
) -> dict:
    """Make all shards that `folder` lacks; returns the totals over all of them, as in `shards.json`.

    Args:
        device: where the snapshot's generator is.
        batch_size: images per pass of the generator, at most.
        threads: that read label maps and encode images.
        progress: show a bar, on a terminal.

    Raises:
        ValueError: if `folder` holds shards of another plan, or if no sample could be made.
    """
    check_instances(snapshot, label_files)
    if batch_size < 1 or threads < 1:
        raise ValueError(f"--batch-size and --threads are at least 1, not {batch_size} and {threads}")
    shards = plan_shards(label_files, settings.samples_per_map, settings.maps_per_shard, settings.seed)
    description = describe(snapshot, label_files, settings)
    open_manifest(folder, description)
    finished = {shard: read_stats(folder, shard) for shard in committed_shards(folder)}

    files = {label_file.source_key: label_file for label_file in label_files}
    done = sum(stats["planned"] for stats in finished.values())
    total = sum(len(records) for records in shards)
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=total, initial=done, unit="img", disable=None if progress else True) as bar,
    ):
        factory = Factory(snapshot, settings, files, torch.device(device), batch_size, pool)
        for shard, records in enumerate(shards):
            bar.set_description(f"{len(finished)}/{len(shards)} shards")
            if shard not in finished:
                samples = counted(factory.make(records), bar)
                finished[shard] = write_shard(folder, shard, samples, snapshot.space.num_classes)
        bar.set_description(f"{len(finished)}/{len(shards)} shards")

    totals = total_of(finished[shard] for shard in sorted(finished))
    write_manifest(folder, description, totals)
    if not totals["by_status"].get(OK):
        raise ValueError(
            f"none of the {totals['planned']} samples could be made; the first: {first_failure(folder)['error']}. "
            f"Once that is mended, delete {folder} and run again"
        )
    return totals


def check_instances(snapshot: Snapshot, label_files: Sequence[LabelFile]) -> None:
    """See that label maps have instances if the generator takes them."""
    lacking = [f for f in label_files if snapshot.instances and not (f.instances and f.instances.is_file())]
    if lacking:
        raise ValueError(
            f"the generator takes instances, which {len(lacking)} of {len(label_files)} label maps lack, such as "
            f"{lacking[0].file}; --labels is to be a split folder with labels/ and instances/"
        )


def describe(snapshot: Snapshot, label_files: Sequence[LabelFile], settings: Settings) -> dict:
    """All that decides the bytes of the shards, as `shards.json` holds it."""
    names = json.dumps([(label_file.source_key, label_file.split) for label_file in label_files])
    plan = {
        **asdict(settings),
        "height": snapshot.height,
        "width": snapshot.width,
        "label_maps": len(label_files),
        "label_names_sha256": hashlib.sha256(names.encode()).hexdigest(),
    }
    space = snapshot.space.to_meta()
    return {"label_space": space, "generator_sha256": snapshot.sha256, "plan": plan}


class Factory:
    """Turns planned records into samples.

    Args:
        files: the label maps by source key.
        pool: reads label maps and encodes images.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        settings: Settings,
        files: dict[str, LabelFile],
        device: torch.device,
        batch_size: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.snapshot, self.settings, self.files = snapshot, settings, files
        self.device, self.batch_size, self.pool = device, batch_size, pool
        self.generator = inference_graph(snapshot.generator, bf16=settings.bf16)

    def make(self, records: Iterable[Record]) -> Iterator[Sample]:
        """The samples of the records, in their order; all records of a label map follow one another."""
        by_map = (list(group) for _, group in groupby(records, key=lambda record: record.source_key))
        ahead = 2 * self.batch_size + 2  # one batch is encoded while the next one is made
        prepared = ordered_map(self.pool, self.prepare, by_map, ahead)
        return ordered_map(self.pool, self.encode, self.generate(prepared), ahead)

    def prepare(self, records: list[Record]) -> PreparedMap:
        """Read the records' label map, and its instances if the generator takes them, at the generator's size."""
        source, space = self.files[records[0].source_key], self.snapshot.space
        size = self.snapshot.height, self.snapshot.width
        offsets = None
        try:
            label_map = read_label_map(source.file, space)
            if self.snapshot.instances:
                instances = read_instances(source.instances, label_map.shape[::-1])
                offsets = centre_offsets(np.array(fit(instances, *size, resample=Image.Resampling.NEAREST)))
        except (ValueError, Image.DecompressionBombError) as error:
            text = str(error).replace(str(source.file), source.source_key)
            return PreparedMap(records, error=text.replace(str(source.instances), f"instances of {source.source_key}"))
        label_map = fit_label_map(label_map, *size)
        pixels = np.bincount(label_map.ravel(), minlength=256).tolist()
        return PreparedMap(
            records,
            label_map=label_map,
            offsets=offsets,
            png=encode_label_png(label_map),
            sha256=hashlib.sha256(label_map.tobytes()).hexdigest(),
            class_pixels=tuple(pixels[: space.num_classes]),
            ignored_pixels=pixels[IGNORE_INDEX],
        )

    def generate(self, maps: Iterable[PreparedMap]) -> Iterator[MadeImage]:
        """Each label map goes through `encode` once. A batch is several maps with all their samples, or, where
        these are more than a batch, one map with some of them: `decode` wants equally many samples of each map."""
        maps = iter(maps)
        maps_per_batch = max(1, self.batch_size // self.settings.samples_per_map)
        while group := list(islice(maps, maps_per_batch)):
            images = self.images([source for source in group if source.error is None])
            for source in group:
                for record in source.records:
                    yield MadeImage(record, source, next(images) if source.error is None else None)

    def images(self, maps: list[PreparedMap]) -> Iterator[UInt8[np.ndarray, "h w 3"] | None]:
        """All samples of the first label map, then of the second, …"""
        if not maps:
            return
        inputs = [torch.from_numpy(np.stack([source.label_map for source in maps])).long()]  # (M, H, W)
        if self.snapshot.instances:
            inputs.append(torch.from_numpy(np.stack([source.offsets for source in maps])))  # (M, 2, H, W)
        seeds = [record.seed for source in maps for record in source.records]
        conditioning = self.run(self.generator.encode, *inputs)  # for M·K images
        for start in range(0, len(seeds), self.batch_size):  # more than one turn only where M = 1
            z = noise(seeds[start : start + self.batch_size], self.snapshot.z_dim)
            images = self.run(partial(self.generator.decode, conditioning), z)  # (N, 3, H, W)
            finite = images.abs().amax((1, 2, 3)).isfinite().tolist()
            for image, good in zip(to_uint8(images).cpu().numpy(), finite, strict=True):
                yield image if good else None

    @torch.inference_mode()
    def run(self, stage: Callable[..., R], *inputs: torch.Tensor) -> R:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            return stage(*(x.to(self.device) for x in inputs))

    def encode(self, made: MadeImage) -> Sample:
        """The sample's files as bytes."""
        record, source = made.record, made.source
        if source.error is not None:
            return Sample(record, BAD_LABEL, source.error)
        if made.image is None:
            return Sample(record, BAD_IMAGE, "the generator's output is not finite")
        meta = {
            "source_key": record.source_key,
            "split": record.split,
            "sample_index": record.sample_index,
            "seed": record.seed,
            "perturbations": [],
            "generator_sha256": self.snapshot.sha256,
            "label_sha256": source.sha256,  # of the ids, row by row
            "versions": VERSIONS,
        }
        if source.offsets is not None:
            meta["offsets_sha256"] = hashlib.sha256(source.offsets).hexdigest()
        members = {
            self.settings.image_format: encode_image(made.image, self.settings.image_format, self.settings.quality),
            "json": json.dumps(meta, sort_keys=True).encode(),
            "seg.png": source.png,
        }
        return Sample(record, OK, None, members, source.class_pixels, source.ignored_pixels)


def counted(samples: Iterable[Sample], bar: tqdm) -> Iterator[Sample]:
    for sample in samples:
        yield sample
        bar.update()


def encode_image(image: UInt8[np.ndarray, "h w 3"], image_format: str, quality: int | None) -> bytes:
    """JPEG keeps its colours at full resolution: they follow the label map's edges."""
    options = {"jpg": {"quality": quality, "subsampling": 0}, "webp": {"quality": quality}, "png": {}}[image_format]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, IMAGE_FORMATS[image_format], **options)
    return buffer.getvalue()

"""Label maps → generator → encoded samples, each stage feeding the next.

Label maps are read and images encoded in threads while the generator works, on a GPU one batch ahead of what is fetched
from it; the order stays that of the plan.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain, groupby

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from augment.ordered_map import in_background, ordered_map
from augment.painter import Painter
from augment.perturb.pipeline import Perturbation
from augment.perturb.scene import Scene
from augment.plan import Plan
from augment.record import Record
from augment.shards import OK, Sample
from augment.sources import check_lasting
from augment.survey import Reader
from dpsims import __version__
from dpsims.instances import centre_offsets
from dpsims.labels import IGNORE_INDEX, encode_label_png
from dpsims.sample import Snapshot, to_uint8

IMAGE_FORMATS = {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}
BAD_LABEL, BAD_IMAGE = "bad_label", "bad_image"
VERSIONS = {"dpsims-augment": __version__, "torch": str(torch.__version__)}


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of the shards, beside the generator and the plan.

    Batch size, threads and device are not here: a run that ran out of memory goes on with a smaller batch.

    Attributes:
        quality: of JPEG or WebP, 1 to 100; None for PNG, which is lossless.
        bf16: run the generator under bfloat16 autocast.
        raw_to_id: id in the label files → id of the generator or 255; None where the files hold the generator's.
    """

    image_format: str = "jpg"
    quality: int | None = 95
    bf16: bool = False
    raw_to_id: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        if self.image_format not in IMAGE_FORMATS:
            raise ValueError(f"image format {self.image_format!r} is none of {', '.join(IMAGE_FORMATS)}")
        if self.image_format == "png" and self.quality is not None:
            raise ValueError(f"--quality {self.quality} has no meaning with --format png, which is lossless")
        if self.image_format != "png" and not (self.quality and 1 <= self.quality <= 100):
            raise ValueError(f"--quality is 1 to 100, not {self.quality}")


@dataclass(frozen=True)
class PreparedMap:
    """A label map at the generator's size, with what its samples share; `error` instead if it cannot be used.

    Attributes:
        perturbations, counts: what was done to it, and what was tried (`Perturbed`).
    """

    records: list[Record]
    error: str | None = None
    label_map: UInt8[np.ndarray, "h w"] | None = None
    offsets: Float[np.ndarray, "2 h w"] | None = None
    perturbations: list[dict] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
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


@dataclass(frozen=True)
class Batch:
    """Label maps, and the images of those that can be used, which may still be under way on the device."""

    maps: list[PreparedMap]
    images: UInt8[Tensor, "n h w 3"] | None
    finite: Tensor | None
    done: torch.cuda.Event | None

    def made(self) -> Iterator[MadeImage]:
        """Its images in the order of their records; waits for them."""
        if self.done is not None:
            self.done.synchronize()
        place = 0
        for source in self.maps:
            for record in source.records:
                if source.error is not None:
                    yield MadeImage(record, source, None)
                    continue
                yield MadeImage(record, source, self.images[place].numpy() if self.finite[place] else None)
                place += 1


class Factory:
    """Makes the samples of a plan, shard by shard.

    Args:
        device: where the snapshot's generator is.
        batch_size: images per pass of the generator, at most.
        pool: reads label maps and encodes images.
        perturbation: of each variant of a label map; None takes them as they are.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        plan: Plan,
        settings: Settings,
        device: torch.device,
        batch_size: int,
        pool: ThreadPoolExecutor,
        perturbation: Perturbation | None = None,
    ) -> None:
        self.snapshot, self.plan, self.settings = snapshot, plan, settings
        self.device, self.batch_size, self.pool = device, batch_size, pool
        self.reader = reader_of(snapshot, settings, perturbed=perturbation is not None)
        self.perturbation = perturbation
        self.painter = Painter(snapshot, device, bf16=settings.bf16)

    def make(self, shards: Iterable[int]) -> Iterator[Sample]:
        """The shards' samples, in the order of their records; the next shard is begun while the last one is used."""
        ahead = 4 * self.batch_size + 16  # some batches are encoded and written while the next ones are made
        made = self.generate(self.prepare(shards))
        if self.device.type == "cuda":  # a CPU's cores are busy: a thread more would be in the way of the generator's
            made = in_background(made, self.batch_size)
        return ordered_map(self.pool, self.encode, made, ahead)

    def prepare(self, shards: Iterable[int]) -> Iterator[PreparedMap]:
        """The variants of the shards' label maps."""
        ahead = max(2, round(2 * self.batch_size * self.plan.num_variants / len(self.plan)))  # of what is needed
        places = ((shard, index) for shard in shards for index in self.plan.sources_of(shard))
        scenes = ordered_map(self.pool, lambda place: self.read(*place), places, ahead)
        return ordered_map(self.pool, lambda variant: self.vary(*variant), chain.from_iterable(scenes), ahead)

    def read(self, shard: int, index: int) -> list[tuple[list[Record], Scene | str]]:
        """A label map, with instances if the generator takes them, beside the records of each of its variants.

        Or what is wrong with it, beside all of its records.
        """
        source, records = self.plan.sources[index], self.plan.records(shard, index)
        try:
            scene = self.reader(source)
        except (ValueError, OSError) as error:
            check_lasting(error)
            return [(records, source.without_places(str(error)))]
        return [(list(variant), scene) for _, variant in groupby(records, key=lambda record: record.variant)]

    def vary(self, records: list[Record], scene: Scene | str) -> PreparedMap:
        """A variant of a label map, ready for the generator; `scene` may be an error instead."""
        if isinstance(scene, str):
            return PreparedMap(records, error=scene)
        done, counts = [], Counter()
        if self.perturbation is not None:
            seed = self.plan.variant_seed(records[0].source_key, records[0].variant)
            try:
                scene, done, counts = self.perturbation.perturb(scene, seed)
            except (ValueError, OSError) as error:  # of another label map, which objects come from
                check_lasting(error)
                return PreparedMap(records, error=f"a label map to take from has changed: {type(error).__name__}")
        label_map = scene.label_map
        pixels = np.bincount(label_map.ravel(), minlength=256).tolist()
        return PreparedMap(
            records,
            label_map=label_map,
            offsets=centre_offsets(scene.instances) if self.snapshot.instances else None,
            perturbations=done,
            counts=counts,
            png=encode_label_png(label_map),
            sha256=hashlib.sha256(label_map.tobytes()).hexdigest(),
            class_pixels=tuple(pixels[: self.snapshot.space.num_classes]),
            ignored_pixels=pixels[IGNORE_INDEX],
        )

    def generate(self, maps: Iterable[PreparedMap]) -> Iterator[MadeImage]:
        """Each label map goes through `encode` once. The device works on a batch while the one before is fetched."""
        before: Batch | None = None
        for group in self.groups(maps):
            for batch in self.launch(group):
                if before is not None:
                    yield from before.made()
                before = batch
        if before is not None:
            yield from before.made()

    def groups(self, maps: Iterable[PreparedMap]) -> Iterator[list[PreparedMap]]:
        """Label maps of one shard with as many samples as fill a batch, or one with more.

        Of one shard, because the bytes of a shard are not to depend on which other ones its process makes.
        """
        group: list[PreparedMap] = []
        for source in maps:
            full = sum(len(it.records) for it in group) + len(source.records) > self.batch_size
            if group and (full or group[0].records[0].shard != source.records[0].shard):
                yield group
                group = []
            group.append(source)
        if group:
            yield group

    @torch.inference_mode()
    def launch(self, maps: list[PreparedMap]) -> Iterator[Batch]:
        """Start the generator on all samples of these label maps, in several passes if they are more than a batch."""
        good = [source for source in maps if source.error is None]
        if not good:
            yield Batch(maps, None, None, None)
            return
        conditioning = self.painter.encode([it.label_map for it in good], [it.offsets for it in good])
        seeds = [record.seed for source in good for record in source.records]
        if len(seeds) <= self.batch_size:
            counts = [len(source.records) for source in good]
            yield self.fetch(maps, self.painter.decode(conditioning, counts, seeds))
            return
        assert len(maps) == 1
        for start in range(0, len(seeds), self.batch_size):
            told = good[0].counts if start == 0 else Counter()
            part = replace(good[0], records=good[0].records[start : start + self.batch_size], counts=told)
            images = self.painter.decode(conditioning, [len(part.records)], [record.seed for record in part.records])
            yield self.fetch([part], images)

    def fetch(self, maps: list[PreparedMap], images: Float[Tensor, "n 3 h w"]) -> Batch:
        """Start bringing images to the host."""
        finite = images.abs().amax((1, 2, 3)).isfinite()
        pixels = to_uint8(images)
        if self.device.type != "cuda":
            return Batch(maps, pixels, finite, None)
        pixels, finite = pixels.to("cpu", non_blocking=True), finite.to("cpu", non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(self.device))  # else of the thread's device, which may be another
        return Batch(maps, pixels, finite, done)

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
            "variant": record.variant,
            "sample_index": record.sample_index,
            "seed": record.seed,
            "perturbations": source.perturbations,
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
        names = tuple(done["op"] for done in source.perturbations)
        tried = source.counts if record is source.records[0] else Counter()
        return Sample(record, OK, None, members, source.class_pixels, source.ignored_pixels, names, tried)


def reader_of(snapshot: Snapshot, settings: Settings, *, perturbed: bool = False) -> Reader:
    """Of label files, as the generator takes them, and with the objects that perturbations move."""
    space = replace(snapshot.space, raw_to_id=settings.raw_to_id)
    return Reader(space, (snapshot.height, snapshot.width), snapshot.instances, where_given=perturbed)


def encode_image(image: UInt8[np.ndarray, "h w 3"], image_format: str, quality: int | None) -> bytes:
    """JPEG keeps its colours at full resolution: they follow the label map's edges."""
    options = {"jpg": {"quality": quality, "subsampling": 0}, "webp": {"quality": quality}, "png": {}}[image_format]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, IMAGE_FORMATS[image_format], **options)
    return buffer.getvalue()

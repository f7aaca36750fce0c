"""One shard through the filter: its label maps with rejected pixels at 255, and what was measured of each sample.

00000.tar           KEY.seg.png of each sample that could be read
00000.jsonl         a row per sample that was made, by key
00000.stats.json    counts and hashes, written last: without it the shard is not filtered
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice

import numpy as np
import torch
import webdataset
from jaxtyping import Float32, Int64, UInt8
from torch import nn

from augment.filter.calibrate import Calibration
from augment.filter.neighbours import distances, embed
from augment.filter.rules import average, reject
from augment.filter.scorer import Scorer, check_finite
from augment.ordered_map import ordered_map
from augment.report.sheet import decoded
from augment.shards import OK, image_extension, member_places, read_member, read_rows, shard_file
from augment.sources import check_lasting
from augment.storage import Folder, new_file, write_text
from augment.stream import LABEL
from dpsims.labels import UNREADABLE as UNREADABLE_FILES
from dpsims.labels import LabelSpace, encode_label_png, read_label_map
from dpsims.sample import file_sha256

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Measured:
    """A sample as the filter saw it.

    Attributes:
        labelled, rejected: pixels.
        fake: how fake it looks, 0..1; None where the scorer does not tell.
        novelty: distance to the nearest real image, whose name is `nearest_real`; None without features.
        siblings: distances to the readable samples of the same source that come before it.
        members: as in the rows of shards.
    """

    key: str
    source_key: str
    status: str = OK
    error: str | None = None
    labelled: int = 0
    rejected: int = 0
    fake: float | None = None
    novelty: float | None = None
    nearest_real: str | None = None
    siblings: list[float] = field(default_factory=list)
    members: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A sample with its label map before and after, and its features; None for what cannot be had."""

    sample: Measured
    label_map: UInt8[np.ndarray, "h w"] | None = None
    kept: UInt8[np.ndarray, "h w"] | None = None
    features: Float32[np.ndarray, " d"] | None = None


@dataclass(frozen=True)
class Filter:
    """All that looks at samples, and writes down what it saw.

    Attributes:
        embedder: gives the features; None measures no distances.
        device: of the embedder.
        window: of the rule for pixels.
        size: (height, width) of the images.
        batch_size: images at once, at most.
        pool: reads and decodes.
    """

    scorer: Scorer
    calibration: Calibration
    space: LabelSpace
    embedder: nn.Module | None
    device: torch.device
    window: int
    size: tuple[int, int]
    batch_size: int
    pool: ThreadPoolExecutor

    def run(self, shards: Folder, out: Folder, shard: int) -> Iterator[int]:
        """Filter a shard and commit that; yields how many samples each step took. The same shard, the same bytes.

        A shard that another process has committed meanwhile stays as it is.
        """
        rows = [row for row in read_rows(shards, shard) if row["status"] == OK]
        samples: list[Measured] = []
        features: list[Float32[np.ndarray, " d"] | None] = []
        pixels, rejected = (np.zeros(self.space.num_classes, np.int64) for _ in range(2))
        with new_file(shard_file(out, shard, "tar")) as tar:
            with open(tar, "wb") as stream, webdataset.TarWriter(stream, encoder=False, mtime=0) as writer:
                for batch in self.batches(shards, rows):
                    for seen in batch:
                        samples.append(seen.sample)
                        features.append(seen.features)
                        if seen.kept is not None:
                            before, after = self.count(seen.label_map), self.count(seen.kept)
                            pixels, rejected = pixels + before, rejected + before - after
                            writer.write({"__key__": seen.sample.key, LABEL: encode_label_png(seen.kept)})
                    yield len(batch)
            if shard_file(out, shard, "stats.json").exists():
                tar.unlink()
                return
            size, sha256, places = tar.stat().st_size, {"tar": file_sha256(tar)}, member_places(tar)
        with new_file(shard_file(out, shard, "jsonl")) as jsonl:
            lines = [
                asdict(replace(sample, siblings=siblings, members=places.get(sample.key, {})))
                for sample, siblings in zip(samples, self.sibling_distances(samples, features), strict=True)
            ]
            jsonl.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
            sha256["jsonl"] = file_sha256(jsonl)
        stats = {
            "samples": len(samples),
            "by_status": dict(sorted(Counter(sample.status for sample in samples).items())),
            "class_pixels": pixels.tolist(),
            "rejected_pixels": rejected.tolist(),
            "bytes": size,
            "sha256": sha256,
        }
        write_text(shard_file(out, shard, "stats.json"), json.dumps(stats, indent=1) + "\n")

    def batches(self, shards: Folder, rows: Sequence[dict]) -> Iterator[list[Seen]]:
        """The samples, read ahead in threads; a bad one takes no place in what the networks see."""
        ahead = ordered_map(self.pool, lambda row: self.read(shards, row), rows, 2 * self.batch_size)
        while batch := list(islice(ahead, self.batch_size)):
            good = [(seen, image) for seen, image in batch if image is not None]
            looked = iter(self.look([seen for seen, _ in good], [image for _, image in good]) if good else ())
            yield [seen if image is None else next(looked) for seen, image in batch]

    def read(self, shards: Folder, row: dict) -> tuple[Seen, UInt8[np.ndarray, "h w 3"] | None]:
        """A sample with its label map, and its image; or with what is wrong, and no image."""
        name, sample = image_extension(row["members"]), Measured(row["key"], row["source_key"])
        try:
            content = {extension: read_member(shards, row, extension) for extension in (name, LABEL)}
            changed = [part for part, data in content.items() if zlib.crc32(data) != row["crc32"][part]]
            if changed:
                raise ValueError(f"{', '.join(changed)}: the checksum is not that of the row")
            image = decoded(content[name])
            label_map = read_label_map(content[LABEL], self.space, source=row["key"])
            if not image.shape[:2] == label_map.shape == self.size:
                raise ValueError(f"image {image.shape[:2]} and label map {label_map.shape} are not of {self.size}")
        except UNREADABLE_FILES as error:
            check_lasting(error)
            return Seen(replace(sample, status=UNREADABLE, error=f"{error}")), None
        return Seen(sample, label_map), image

    def look(self, batch: Sequence[Seen], images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Iterator[Seen]:
        losses, fake = self.scorer.score(images, [seen.label_map for seen in batch])
        check_finite(losses, [seen.sample.key for seen in batch])
        features = None if self.embedder is None else embed(self.embedder, images, self.device)
        near = None if features is None else self.calibration.neighbours.nearest(features)
        for place, seen in enumerate(batch):
            loss = average(losses[place], seen.label_map, self.window)
            kept = reject(loss, seen.label_map, self.calibration.limits)
            labelled = int(self.count(seen.label_map).sum())
            sample = replace(
                seen.sample,
                labelled=labelled,
                rejected=labelled - int(self.count(kept).sum()),
                fake=None if fake is None else round(float(fake[place]), 6),
                novelty=None if near is None else round(near[place][0], 4),
                nearest_real=None if near is None else near[place][1],
            )
            yield Seen(sample, seen.label_map, kept, None if features is None else features[place])

    def count(self, label_map: UInt8[np.ndarray, "h w"]) -> Int64[np.ndarray, " c"]:
        """Pixels of each class."""
        return np.bincount(label_map.ravel(), minlength=256)[: self.space.num_classes]

    def sibling_distances(
        self, samples: Sequence[Measured], features: Sequence[Float32[np.ndarray, " d"] | None]
    ) -> list[list[float]]:
        """Of each sample, to those of the same source before it; in units of the typical distance of real images."""
        found: list[list[float]] = []
        before: dict[str, list] = {}
        for sample, own in zip(samples, features, strict=True):
            siblings = before.setdefault(sample.source_key, [])
            if own is None or not siblings:
                found.append([])
            else:
                near = distances(own[None], np.stack(siblings))[0] / self.calibration.neighbours.typical
                found.append([round(distance, 4) for distance in near.tolist()])
            if own is not None:
                siblings.append(own)
        return found

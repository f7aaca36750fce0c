"""What an audit of a data set finds: faults, counted by kind and split, and the numbers of each split."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from dpsims.labels import IGNORE_INDEX, LabelSpace

ERROR, WARNING = "error", "warning"
FAULTS = {  # kind of fault: whether the audit fails by it, and what it says
    "folder": (ERROR, "folders without what the layout has there"),
    "key": (ERROR, "files of the same key as another one"),
    "no label": (ERROR, "images without a label map"),
    "no image": (ERROR, "label maps without an image"),
    "image": (ERROR, "images that cannot be used"),
    "unreadable": (ERROR, "label maps that cannot be read"),
    "mode": (ERROR, "label maps of a wrong mode"),
    "ids": (ERROR, "label maps with ids outside the classes"),
    "size": (ERROR, "label maps of another size than their image"),
    "shared": (ERROR, "images that another split has, too"),
    "instances": (ERROR, "images without a usable instance map"),
    "unused": (WARNING, "images without a usable instance map (which generator.instances=true would need)"),
    "ignored": (WARNING, "label maps that are ignored everywhere"),
    "turned": (WARNING, "images with an EXIF orientation, which is not applied"),
    "small": (WARNING, "images smaller than they are trained at"),
    "cut": (WARNING, "images that lose more than a tenth to the crop"),
    "twice": (WARNING, "images that the split has twice"),
    "name": (WARNING, "names that another split has for another image"),
    "unseen": (WARNING, "classes that no training image holds"),
    "absent": (WARNING, "folders that segmenters need, which are missing or empty"),
    "endings": (WARNING, "endings of files where segmenters take one kind in a folder, in small letters"),
    "translated": (WARNING, "ids that are translated, which segmenters refuse: they take 0 to C-1, 255 = ignored"),
}
EXAMPLES = 5  # of every kind of fault in a split


@dataclass
class Problem:
    """Faults of one kind in one split: how many, and the first few."""

    kind: str
    split: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def severity(self) -> str:
        return FAULTS[self.kind][0]

    @property
    def order(self) -> int:
        return list(FAULTS).index(self.kind)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


@dataclass(frozen=True)
class Row:
    """What is left of a labelled image: faults as (kind, text), and what it holds.

    Attributes:
        size: (width, height) of an image that can be read.
        digest: of its pixels.
        pixels: per id, of a label map that can be used and fits the image.
        instance_pixels: those of them that belong to an instance.
    """

    key: str
    faults: list[tuple[str, str]]
    size: tuple[int, int] | None = None
    digest: bytes | None = None
    pixels: Int[np.ndarray, "256"] | None = None
    instance_pixels: Int[np.ndarray, "256"] | None = None
    num_instances: int = 0


class SplitAudit:
    """A split in numbers: files found, and sums over the sound pairs among them.

    Attributes:
        images, labels: key → file, of all that were found.
        keys: of the sound pairs, in order.
        pixels, instance_pixels: per id, 255 = ignored.
        with_instances: how many of the pairs have an instance map.
        smallest, largest: widths and heights, each for itself.
        best: per class the position in `keys` of the pair that shows most of it; -1 for none.
    """

    def __init__(self, name: str, images: dict[str, Path], labels: dict[str, Path], num_classes: int) -> None:
        self.name, self.images, self.labels, self.num_classes = name, images, labels, num_classes
        self.keys: list[str] = []
        self.pixels, self.instance_pixels = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self.with_instances, self.num_instances = 0, 0
        self.smallest, self.largest = (0, 0), (0, 0)
        self.best, self._best_share = np.full(num_classes, -1), np.zeros(num_classes)
        self._presence: list[np.ndarray] = []
        self._cut = 0.0

    def add(self, row: Row, cut: float) -> None:
        """A sound pair, and the share of its pixels that the crop leaves out."""
        counts = row.pixels[: self.num_classes]
        share = counts / row.pixels.sum()
        better = share > self._best_share
        self.best[better], self._best_share[better] = len(self.keys), share[better]
        self.smallest = tuple(np.minimum(self.smallest, row.size).tolist()) if self.keys else row.size
        self.largest = tuple(np.maximum(self.largest, row.size).tolist())
        self.keys.append(row.key)
        self._presence.append(counts > 0)
        self._cut += cut
        self.pixels += row.pixels
        if row.instance_pixels is not None:
            self.with_instances += 1
            self.num_instances += row.num_instances
            self.instance_pixels += row.instance_pixels

    @property
    def presence(self) -> Bool[np.ndarray, "n c"]:
        """Which sound pair holds which class."""
        return np.stack(self._presence) if self._presence else np.zeros((0, self.num_classes), bool)

    @property
    def cut(self) -> float:
        """Mean share of an image's pixels that the crop leaves out."""
        return self._cut / max(len(self.keys), 1)

    @property
    def ignored(self) -> float:
        """Share of the pixels."""
        return float(self.pixels[IGNORE_INDEX] / max(self.pixels.sum(), 1))

    @property
    def class_share(self) -> Float[np.ndarray, " c"]:
        """Of the pixels that are not ignored."""
        counts = self.pixels[: self.num_classes]
        return counts / max(counts.sum(), 1)

    @property
    def instance_share(self) -> Float[np.ndarray, " c"]:
        """Of each class' pixels, those that belong to an instance; 0 for a class that is not there."""
        return self.instance_pixels[: self.num_classes] / self.pixels[: self.num_classes].clip(min=1)

    def to_dict(self, space: LabelSpace) -> dict:
        images = self.presence.sum(axis=0)
        classes = {
            name: {
                "pixel_share": float(self.class_share[index]),
                "images": int(images[index]),
                "instance_share": float(self.instance_share[index]) if self.with_instances else None,
            }
            for index, name in enumerate(space.classes)
        }
        return {
            "images": len(self.images),
            "label_maps": len(self.labels),
            "sound_pairs": len(self.keys),
            "smallest_width_height": self.smallest,
            "largest_width_height": self.largest,
            "pixels": int(self.pixels.sum()),
            "ignored_share": self.ignored,
            "cut_share": self.cut,
            "images_with_instance_map": self.with_instances,
            "instances": self.num_instances,
            "classes": classes,
        }


@dataclass(frozen=True)
class Audit:
    """The first split is the one for training."""

    splits: Sequence[SplitAudit]
    problems: Sequence[Problem]

    @property
    def passed(self) -> bool:
        return not self.of_severity(ERROR)

    def of_severity(self, severity: str) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == severity]

    def to_dict(self, space: LabelSpace) -> dict:
        return {
            "passed": self.passed,
            "problems": [
                {"severity": problem.severity, "what": FAULTS[problem.kind][1], **vars(problem)}
                for problem in self.problems
            ],
            "splits": {split.name: split.to_dict(space) for split in self.splits},
        }

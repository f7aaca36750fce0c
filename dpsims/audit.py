"""Every file of a data set looked at once, in threads: what would stop training or spoil it, and what it holds.

A bad file is a fault that is counted, and the audit goes on. Of a file nothing is kept but a digest and its classes.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dpsims.audit_result import Audit, Problem, Row, SplitAudit
from dpsims.data import read_image
from dpsims.instances import InstanceMaps
from dpsims.labels import IGNORE_INDEX, UNREADABLE, LabelMapError, LabelSpace, read_label_map
from dpsims.layouts import SameKey, find_images, find_instances, find_labels, find_layout

CHUNK = 1024  # files that are handed to the threads at once
CUT = 0.1  # share of an image that the crop may leave out before it is a fault; FAULTS says so in words
SEGMENTERS_READ = ("train", "val", "test")  # in the generic layout, whatever the GAN's splits are called
ORIENTATION = 0x0112  # EXIF tag; 1 is upright


class Auditor:
    """Goes through the splits of a data set, and remembers what it takes to compare them.

    Args:
        root, layout, space: of the data set.
        height, width: that images are trained at.
        instances: whether training reads instance maps.
        threads: that read files.
    """

    def __init__(
        self, *, root: Path, layout: str, space: LabelSpace, height: int, width: int, instances: bool, threads: int
    ) -> None:
        self.root, self.layout, self.space, self.threads = root, layout, space, threads
        self.height, self.width, self.instances = height, width, instances
        self.problems: dict[tuple[str, str], Problem] = {}
        self.first_seen: dict[bytes, tuple[str, str]] = {}  # digest → split and key
        self.digests: dict[str, dict[str, bytes]] = {}  # split → key → digest

    def run(self, splits: Sequence[str]) -> Audit:
        """Audit these splits; the first is the one for training."""
        audits = [self._audit(split) for split in splits]
        if audits[0].keys:
            for absent in np.flatnonzero(~audits[0].presence.any(axis=0)):
                self._fault("unseen", splits[0], self.space.classes[absent])
        for one, other in combinations(splits, 2):
            mine, theirs = self.digests[one], self.digests[other]
            for key in theirs:
                if key in mine and mine[key] != theirs[key]:
                    self._fault("name", other, f"{key} (also in {one})")
        if self.layout == "generic":
            self._foresee(splits[0])
        return Audit(audits, sorted(self.problems.values(), key=lambda problem: problem.order))

    def _audit(self, split: str) -> SplitAudit:
        images, labels = self._find(split, find_images), self._find(split, find_labels)
        maps = self._find_maps(split)
        audit = SplitAudit(split, images, labels, self.space.num_classes)
        self.digests[split] = {}
        if ("folder", split) in self.problems:
            return audit
        if not images and not labels:
            self._fault("folder", split, "there are no files")
        if self.instances and maps is None and ("instances", split) not in self.problems:
            self._fault("instances", split, f"no {find_layout(self.layout).instance_source.replace('SPLIT', split)}")
        for kind, files, halves in (("no label", images, labels), ("no image", labels, images)):
            for key in files:
                if key not in halves:
                    self._fault(kind, split, self._name(files[key]))

        for row in self._rows(split, images, labels, maps):
            for kind, text in row.faults:
                self._fault(kind, split, text)
            if row.digest is not None:
                self._compare(split, row.key, row.digest)
            if row.pixels is not None:
                audit.add(row, self._cut(*row.size))
        return audit

    def _find(self, split: str, find: Callable[[Path, str, str], dict[str, Path]]) -> dict[str, Path]:
        try:
            return find(self.root, split, self.layout)
        except SameKey as error:
            for clash in error.clashes:
                self._fault("key", split, self._name(clash))
            return error.files
        except ValueError as error:
            self._fault("folder", split, self._name(error))
            return {}

    def _find_maps(self, split: str) -> InstanceMaps | None:
        """What training would read; where it reads none, what is found at no great cost."""
        try:
            return find_instances(self.root, split, self.layout, objects=self.instances)
        except ValueError as error:
            self._fault(self._instance_fault, split, self._name(error))
            return None

    def _rows(
        self, split: str, images: dict[str, Path], labels: dict[str, Path], maps: InstanceMaps | None
    ) -> Iterator[Row]:
        def inspect(key: str) -> Row:
            return self._inspect(key, images[key], labels[key], maps)

        keys = [key for key in images if key in labels]
        with (
            ThreadPoolExecutor(self.threads) as pool,
            tqdm(desc=split, total=len(keys), unit="img", leave=False, disable=None) as bar,
        ):
            for start in range(0, len(keys), CHUNK):
                for row in pool.map(inspect, keys[start : start + CHUNK]):
                    bar.update()
                    yield row

    def _inspect(self, key: str, image_file: Path, label_file: Path, maps: InstanceMaps | None) -> Row:
        faults: list[tuple[str, str]] = []
        size = digest = None
        try:
            image = read_image(image_file)
            size, digest = image.size, _digest(image)
            faults += [(kind, self._name(image_file) + text) for kind, text in self._image_faults(image)]
        except ValueError as error:
            faults.append(("image", self._name(error)))
        try:
            label_map = read_label_map(label_file, self.space)
        except LabelMapError as error:
            return Row(key, [*faults, (error.kind, self._name(error))], size, digest)
        if (label_map == IGNORE_INDEX).all():
            faults.append(("ignored", self._name(label_file)))
        if size is not None and label_map.shape[::-1] != size:
            height, width = label_map.shape
            faults.append(("size", f"{self._name(label_file)} is {width}x{height}, its image {size[0]}x{size[1]}"))
        if size is None or label_map.shape[::-1] != size:
            return Row(key, faults, size, digest)

        pixels, instance_pixels, num_instances = np.bincount(label_map.ravel(), minlength=256), None, 0
        if maps is not None:
            try:
                if key not in maps:
                    raise ValueError(f"{image_file} has none")
                ids = np.array(maps.read(key, size))
                instance_pixels = np.bincount(label_map[ids > 0], minlength=256)
                num_instances = len(np.unique(ids[ids > 0]))
            except ValueError as error:
                faults.append((self._instance_fault, self._name(error)))
        return Row(key, faults, size, digest, pixels, instance_pixels, num_instances)

    def _image_faults(self, image: Image.Image) -> Iterator[tuple[str, str]]:
        """(kind, what to say after the file's name) of an image that can be read."""
        orientation, size = _orientation(image), image.size
        if orientation != 1:
            yield "turned", f" (orientation {orientation})"
        if size[0] < self.width or size[1] < self.height:
            yield "small", f" ({size[0]}x{size[1]})"
        if self._cut(*size) > CUT:
            yield "cut", f" ({self._cut(*size):.0%} of {size[0]}x{size[1]})"

    def _compare(self, split: str, key: str, digest: bytes) -> None:
        self.digests[split][key] = digest
        first_split, first_key = self.first_seen.setdefault(digest, (split, key))
        if first_split != split:
            self._fault("shared", split, f"{key} is {first_key} of {first_split}")
        elif first_key != key:
            self._fault("twice", split, f"{key} is {first_key}")

    def _cut(self, width: int, height: int) -> float:
        """Share of an image's pixels that the crop leaves out, at zoom 1."""
        scale = max(self.height / height, self.width / width)
        return 1 - (self.height / scale) * (self.width / scale) / (height * width)

    def _foresee(self, train: str) -> None:
        """What the GAN can be trained on, but a segmenter's training refuses (or leaves out), by names alone."""
        layout = find_layout(self.layout)
        for split in SEGMENTERS_READ:
            if ("folder", split) in self.problems:
                continue
            for files in (layout.images, layout.labels):
                name = files.folders[0].format(split=split)
                found = _endings(self.root / name, files.endings)
                if not found:
                    self._fault("absent", split, name)
                elif len(found) > 1 or not found.keys() <= set(files.endings):
                    for ending, count in sorted(found.items()):
                        self._fault("endings", split, f"{name}: {count} *{ending}")
        ids = self.space.raw_to_id or {}
        changed = {raw: label for raw, label in ids.items() if raw != label}
        for raw, label in (changed or ids).items():  # a table is refused even if it changes nothing
            self._fault("translated", train, f"{raw} is read as {label}")

    @property
    def _instance_fault(self) -> str:
        return "instances" if self.instances else "unused"

    def _fault(self, kind: str, split: str, text: str) -> None:
        self.problems.setdefault((kind, split), Problem(kind, split)).add(text)

    def _name(self, text: object) -> str:
        """A file, or a message with files in it, without the root."""
        return str(text).replace(f"{self.root}/", "")


def _digest(image: Image.Image) -> bytes:
    """Of size and pixels: the same picture in another file, or another lossless format, has the same."""
    content = hashlib.blake2b(str(image.size).encode(), digest_size=16)
    content.update(np.asarray(image))
    return content.digest()


def _endings(folder: Path, endings: Sequence[str]) -> Counter[str]:
    """How many files have which of the endings, in small letters or capitals."""
    names = os.listdir(folder) if folder.is_dir() else []
    found = (Path(name).suffix for name in names if not name.startswith("."))
    return Counter(ending for ending in found if ending.lower() in endings)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)  # a converted image keeps the EXIF data of its file
    except UNREADABLE:  # the pixels could be read, the EXIF data cannot
        return 1

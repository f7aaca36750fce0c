"""A label map with its objects: instances where an instance map is given, else connected regions of thing classes."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from scipy import ndimage

from dpsims.labels import IGNORE_INDEX

EIGHT = np.ones((3, 3), bool)  # neighbours of a pixel that belong to its region
BASE_SHARE = 0.1  # of an object's height: lowest pixels of columns this near to its bottom touch what it stands on

T = TypeVar("T")
Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels; the last two are exclusive


class Refused(Exception):
    """This draw of an operation cannot stand; `reason` is the word under which it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, eq=False)
class Object:
    """One thing in a scene; `mask` is (h, w), its pixels in `box`."""

    class_id: int
    box: Box
    mask: Bool[np.ndarray, "h w"]

    @property
    def pixel(self) -> tuple[int, int]:
        """(row, column) of its first pixel in reading order: the object's name in recorded parameters."""
        return self.box[0], self.box[1] + int(self.mask[0].argmax())

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def height(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def window(self) -> tuple[slice, slice]:
        return window(self.box)

    def holds(self, row: int, column: int) -> bool:
        top, left, bottom, right = self.box
        return top <= row < bottom and left <= column < right and bool(self.mask[row - top, column - left])

    def base(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows right under the object's lowest pixels, and their columns; rows may be the frame's height."""
        flipped = self.mask[::-1]
        height = len(flipped)
        lowest = height - 1 - flipped.argmax(axis=0)  # (w,) row of each column's lowest pixel
        columns = np.flatnonzero(flipped.any(axis=0) & (lowest >= height - max(1, round(height * BASE_SHARE))))
        return self.box[0] + lowest[columns] + 1, self.box[1] + columns


@dataclass(frozen=True, eq=False)
class Scene:
    """A label map, and its instance map (0 = none) if there is one. Nobody writes to the arrays of a scene."""

    label_map: UInt8[np.ndarray, "h w"]
    instances: Int32[np.ndarray, "h w"] | None = None
    _found: dict = field(default_factory=dict, init=False, repr=False)  # what was asked of this scene before

    def __post_init__(self) -> None:
        assert self.instances is None or self.instances.shape == self.label_map.shape

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives. Threads may make it twice, but all get the first: objects are told apart by identity."""
        if key not in self._found:
            return self._found.setdefault(key, make())
        return self._found[key]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.label_map.shape

    def objects(self, class_id: int) -> tuple[Object, ...]:
        """All objects of a class: its pixels of one instance id each, or its regions (8 neighbours)."""
        return self.remembered(class_id, lambda: tuple(self._find(class_id)))

    def object_at(self, row: int, column: int) -> Object | None:
        """The object of this pixel's class that holds it."""
        objects = self.objects(int(self.label_map[row, column]))
        return next((found for found in objects if found.holds(row, column)), None)

    def present(self) -> Bool[np.ndarray, "256"]:
        """Which ids there are."""
        return self.remembered("present", lambda: np.bincount(self.label_map.ravel(), minlength=256) > 0)

    def support(self, found: Object) -> int:
        """The commonest id right under an object's lowest pixels; ignored where that is the frame's edge."""
        rows, columns = found.base()
        inside = rows < self.label_map.shape[0]
        if not inside.any():
            return IGNORE_INDEX
        return int(np.bincount(self.label_map[rows[inside], columns[inside]]).argmax())

    def whole(self, found: Object) -> bool:
        """Whether an object touches no edge of the frame, which may hide a part of it."""
        top, left, bottom, right = found.box
        return top > 0 and left > 0 and bottom < self.label_map.shape[0] and right < self.label_map.shape[1]

    def _find(self, class_id: int) -> Iterator[Object]:
        mask = self.label_map == class_id
        box = bounding_box(mask)
        if box is None:
            return
        mask = mask[window(box)]
        if self.instances is None:
            numbers, _ = ndimage.label(mask, EIGHT)
        else:
            ids = self.instances[window(box)][mask]
            known, inverse = np.unique(ids, return_inverse=True)
            numbers = np.zeros(mask.shape, np.int32)
            numbers[mask] = inverse + (known[0] != 0)  # 0 stays 0: pixels of no instance are no object
        for number, inner in enumerate(ndimage.find_objects(numbers), start=1):
            top, left = box[0] + inner[0].start, box[1] + inner[1].start
            shape = inner[0].stop - inner[0].start, inner[1].stop - inner[1].start
            yield Object(class_id, (top, left, top + shape[0], left + shape[1]), numbers[inner] == number)


def window(box: Box) -> tuple[slice, slice]:
    """Rows and columns of a box."""
    return slice(box[0], box[2]), slice(box[1], box[3])


def bounding_box(mask: Bool[np.ndarray, "h w"]) -> Box | None:
    """Of a mask's pixels; None where there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def padded(box: Box, pad: int, size: tuple[int, int]) -> Box:
    """A box with `pad` pixels around it, inside a frame of (height, width)."""
    top, left, bottom, right = box
    return max(0, top - pad), max(0, left - pad), min(size[0], bottom + pad), min(size[1], right + pad)

"""Instance ids from files, and as two input channels: each pixel's offset to its instance's centre.

The offsets are those of Panoptic-DeepLab. An instance map is (H, W) with 0 = none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from dpsims.labels import UNREADABLE

GREY_MODES = ("L", "P", "I", "I;16", "I;16B")  # whose numbers are ids; Pillow would turn colours into brightness


@runtime_checkable
class InstanceMaps(Protocol):
    """The instance maps of a split, by key: files, or what is drawn from a list of objects."""

    def __contains__(self, key: str) -> bool: ...

    def read(self, key: str, size: tuple[int, int]) -> Image.Image:
        """The map of an image of (width, height) pixels, as an image of mode I; a ValueError names a bad file."""
        ...


@dataclass(frozen=True)
class GreyMaps:
    """An id per pixel in PNGs of 8 or 16 bits; numbers below `first` are no instance (Cityscapes: 1000)."""

    files: Mapping[str, Path]
    first: int = 1

    def __contains__(self, key: str) -> bool:
        return key in self.files

    def read(self, key: str, size: tuple[int, int]) -> Image.Image:
        ids = np.array(read_instances(self.files[key], size))
        return Image.fromarray(np.where(ids >= self.first, ids, 0).astype(np.int32))


@dataclass(frozen=True)
class GreenMaps:
    """ADE20K's RGB PNGs: green is the number of the instance in the image, red its category."""

    files: Mapping[str, Path]

    def __contains__(self, key: str) -> bool:
        return key in self.files

    def read(self, key: str, size: tuple[int, int]) -> Image.Image:
        return Image.fromarray(read_rgb_ids(self.files[key], size)[..., 1].astype(np.int32))


def read_instances(file: Path, size: tuple[int, int]) -> Image.Image:
    """A grey instance map of (width, height) pixels as an image of mode I."""
    mode, ids = _read(file, size)
    if mode not in GREY_MODES:
        raise ValueError(f"an instance map is a PNG of 8 or 16 bits grey, not of mode {mode!r}: {file}")
    return Image.fromarray(ids.astype(np.int32))


def read_rgb_ids(file: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The three bytes of an instance map of (width, height) pixels that is kept in colours."""
    mode, ids = _read(file, size)
    if mode not in ("RGB", "RGBA"):
        raise ValueError(f"this layout's instance maps are RGB, not of mode {mode!r}: {file}")
    return ids[..., :3]


def _read(file: Path, size: tuple[int, int]) -> tuple[str, np.ndarray]:
    try:
        with Image.open(file) as image:
            mode, ids = image.mode, np.array(image)
    except UNREADABLE as error:
        raise ValueError(f"instance map cannot be read ({error}): {file}") from error
    if ids.shape[1::-1] != size:
        raise ValueError(f"{file} is {ids.shape[1::-1]}, its image is {size} (width, height)")
    return mode, ids


def centre_offsets(instances: Integer[np.ndarray, "h w"]) -> Float[np.ndarray, "2 h w"]:
    """(H, W) ids, 0 = none → (2, H, W) float32: centre minus pixel, (vertical / H, horizontal / W), in (-1, 1).

    The centre is the mean position of the instance's pixels; pixels of no instance have offset 0.
    """
    height, width = instances.shape
    inverse = np.unique(instances, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(inverse)
    offsets = np.empty((2, height, width), np.float32)
    for axis, size in enumerate((height, width)):
        position = np.indices((height, width))[axis]
        centre = np.bincount(inverse, weights=position.reshape(-1)) / counts  # (ids,)
        offsets[axis] = (centre[inverse].reshape(height, width) - position) / size
    offsets[:, instances == 0] = 0
    return offsets

"""Instance ids as two input channels: each pixel's offset to its instance's centre (as in Panoptic-DeepLab)."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer
from PIL import Image, UnidentifiedImageError


def read_instances(file: Path, size: tuple[int, int]) -> Image.Image:
    """A 16-bit instance map of (width, height) pixels as an image of mode I."""
    try:
        with Image.open(file) as image:
            image = image.convert("I")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"instance map cannot be read ({error}): {file}") from error
    if image.size != size:
        raise ValueError(f"{file} is {image.size}, its image is {size} (width, height)")
    return image


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

"""Bringing images and label maps to the size that the nets work at."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def fit(
    image: Image.Image,
    height: int,
    width: int,
    *,
    resample: Image.Resampling,
    zoom: float = 1.0,
    position: tuple[float, float] = (0.5, 0.5),
) -> Image.Image:
    """Resize so that the image covers (height, width) `zoom` times, then crop there: one resampling for both.

    Args:
        position: of the crop, (vertical, horizontal), each 0..1; the default is the centre.
    """
    scale = zoom * max(height / image.height, width / image.width)
    # In pixels of the source; bounded, because rounding may leave the image by 1e-13, which Pillow refuses.
    box_height, box_width = min(height / scale, image.height), min(width / scale, image.width)
    top, left = position[0] * (image.height - box_height), position[1] * (image.width - box_width)
    bottom, right = min(top + box_height, image.height), min(left + box_width, image.width)
    return image.resize((width, height), resample, box=(left, top, right, bottom))


def fit_label_map(label_map: UInt8[np.ndarray, "h w"], height: int, width: int) -> UInt8[np.ndarray, "H W"]:
    """Cover (height, width) and crop the centre; nearest neighbour, so that no id is invented."""
    return np.array(fit(Image.fromarray(label_map), height, width, resample=Image.Resampling.NEAREST))

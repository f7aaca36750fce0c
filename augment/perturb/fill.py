"""Filling holes: each pixel takes over from the nearest one that may spread."""

import numpy as np
from jaxtyping import Bool, Int32
from scipy import ndimage

from augment.perturb.scene import Refused, Scene, bounding_box, padded, window

PAD = 16  # pixels around a hole that are searched first


def fill(
    scene: Scene,
    hole: Bool[np.ndarray, "h w"],
    sources: Bool[np.ndarray, "h w"],
    *,
    keep_instances: bool = False,
    vertical: float = 1.0,
) -> Scene:
    """Each pixel of the hole takes the id of the nearest source.

    Args:
        sources: pixels that may spread, none of them in the hole.
        keep_instances: the instance spreads with its class; else the hole's pixels are of no instance.
        vertical: how far a row is, in columns. With more than 1 what is beside a hole goes on through it.

    Raises:
        Refused: if there is a hole and no source.
    """
    label_map = scene.label_map.copy()
    instances = None if scene.instances is None else scene.instances.copy()
    box = bounding_box(hole)
    if box is None:
        return Scene(label_map, instances)
    pad = PAD
    while True:
        outer = padded(box, pad, scene.size)
        inner, spreading = hole[window(outer)], sources[window(outer)]
        whole_frame = outer == (0, 0, *scene.size)
        if spreading.any():
            distance, nearest = ndimage.distance_transform_edt(~spreading, (vertical, 1.0), return_indices=True)
            if whole_frame or distance[inner].max() <= pad * min(1.0, vertical):  # nothing outside the window is nearer
                break
        elif whole_frame:
            raise Refused("filling")
        pad *= 2
    rows, columns = nearest[0][inner], nearest[1][inner]
    cut = label_map[window(outer)]  # a view of the copy
    cut[inner] = cut[rows, columns]
    if instances is not None:
        cut = instances[window(outer)]
        cut[inner] = cut[rows, columns] if keep_instances else 0
    return Scene(label_map, instances)


def nearest_numbers(numbers: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """Zeros take the nearest number that is none."""
    rows, columns = ndimage.distance_transform_edt(numbers == 0, return_distances=False, return_indices=True)
    return numbers[rows, columns]

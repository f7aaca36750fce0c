"""No operation leaves crumbs: regions too small to be anything, which it made or broke off from larger ones."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt8
from scipy import ndimage

from augment.perturb.context import Context
from augment.perturb.fill import fill
from augment.perturb.scene import EIGHT, Scene, bounding_box, padded, window
from dpsims.labels import IGNORE_INDEX

Numbers = Int[np.ndarray, "h w"]


def regions(label_map: UInt8[np.ndarray, "h w"], classes: Sequence[int]) -> tuple[Numbers, Int[np.ndarray, " n"]]:
    """Regions of these classes numbered from 1 on, 0 elsewhere, and their areas; the area of 0 is 0."""
    numbers = np.zeros(label_map.shape, np.int32)
    areas = [np.zeros(1, np.int64)]
    total = 0
    for class_id in classes:
        found, count = ndimage.label(label_map == class_id, EIGHT)
        inside = found > 0
        numbers[inside] = found[inside] + total
        areas.append(np.bincount(found[inside], minlength=count + 1)[1:])
        total += count
    return numbers, np.concatenate(areas)


def crumbs(
    numbers: Numbers, areas: Int[np.ndarray, " n"], sources: Numbers, source_areas: Int[np.ndarray, " m"], least: int
) -> Bool[np.ndarray, "h w"]:
    """Regions smaller than `least` pixels, but for those that come from one as small or hold half of that one.

    Args:
        sources: for each pixel, the region in the map before that it comes from with its class; 0 for a new pixel.
    """
    small = areas < least
    small[0] = False
    here = small[numbers]
    where, from_region = numbers[here], sources[here]
    came = source_areas[from_region]
    kept = (from_region > 0) & ((came < least) | (2 * areas[where] >= came))
    small[where[kept]] = False
    return small[numbers]


def swept(before: Scene, after: Scene, context: Context) -> Scene:
    """`after` an operation that left pixels where they are or made new ones, without its crumbs.

    Raises:
        Refused: if there is nothing that could take their place.
    """
    changed = before.label_map != after.label_map
    box = bounding_box(changed)
    if box is None:
        return after
    least = context.rules.min_pixels(after.size)
    # A region that goes from the change to the edge of this box is large enough, whatever lies outside.
    outer = window(padded(box, least, after.size))
    here = changed[outer]
    old, new = before.label_map[outer], after.label_map[outer]
    touched = np.bincount(old[here], minlength=256) + np.bincount(new[here], minlength=256)
    touched[IGNORE_INDEX] = 0
    classes = np.flatnonzero(touched).tolist()
    sources, source_areas = regions(old, classes)
    mask = np.zeros(after.size, bool)
    mask[outer] = crumbs(*regions(new, classes), np.where(here, 0, sources), source_areas, least)
    return without(after, mask)


def all_regions(scene: Scene) -> tuple[Numbers, Int[np.ndarray, " n"]]:
    """Of all classes; kept with the scene."""
    return scene.remembered("regions", lambda: regions(scene.label_map, classes_of(scene)))


def classes_of(scene: Scene) -> list[int]:
    present = np.flatnonzero(scene.present())
    return present[present != IGNORE_INDEX].tolist()


def swept_from(after: Scene, sources: Numbers, source_areas: Int[np.ndarray, " m"], context: Context) -> Scene:
    """`after` an operation that brought pixels to other places, without its crumbs; `sources` as for `crumbs`."""
    least = context.rules.min_pixels(after.size)
    return without(after, crumbs(*all_regions(after), sources, source_areas, least))


def warped(scene: Scene, rows: Int[np.ndarray, "..."], columns: Int[np.ndarray, "..."], context: Context) -> Scene:
    """Each pixel comes from (rows, columns), which broadcast to (H, W)."""
    instances = scene.instances
    after = Scene(scene.label_map[rows, columns], None if instances is None else instances[rows, columns])
    numbers, areas = all_regions(scene)
    return swept_from(after, numbers[rows, columns], areas, context)


def without(scene: Scene, mask: Bool[np.ndarray, "h w"]) -> Scene:
    """The masked pixels take the nearest other pixel that is not ignored, with its instance."""
    if not mask.any():
        return scene
    return fill(scene, mask, ~mask & (scene.label_map != IGNORE_INDEX), keep_instances=True)

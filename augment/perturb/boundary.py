"""Operations on boundaries: a small elastic jitter of all, one region that grows or shrinks."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from augment.perturb.context import Context
from augment.perturb.crumbs import swept, warped
from augment.perturb.fill import fill
from augment.perturb.options import check_bounds, check_range
from augment.perturb.scene import EIGHT, Refused, Scene, bounding_box, padded, window
from augment.perturb.smooth import spline_weights
from dpsims.labels import IGNORE_INDEX

SPREAD = 151 / 315  # standard deviation of a spline through unit normal knots in two directions, on average

weights_of = lru_cache(maxsize=64)(spline_weights)


@dataclass(frozen=True)
class Jitter:
    """Every pixel comes from a place nearby; neighbours from neighbours, so that boundaries bend.

    Attributes:
        amplitude_range: standard deviation of the way, as a share of the frame's height.
        spacing: pixels over which it changes, as a share of the frame's height.
    """

    p: float = 0.5
    amplitude_range: tuple[float, float] = (0.0015, 0.004)
    spacing: float = 0.08

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("amplitude_range", self.amplitude_range, 0, 0.1)
        check_bounds("spacing", self.spacing, 0.01, 1)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        height = scene.size[0]
        return {
            "seed": int(rng.integers(2**32)),
            "amplitude": round(rng.uniform(*self.amplitude_range) * height, 3),
            "spacing": round(max(1.0, self.spacing * height), 3),
        }

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        rng = np.random.default_rng(parameters["seed"])
        (height, width), spacing = scene.size, parameters["spacing"]
        down, across = weights_of(height, spacing), weights_of(width, spacing)
        knots = rng.standard_normal((2, down.shape[1], across.shape[1]))
        way = np.rint(down @ knots @ across.T * (parameters["amplitude"] / SPREAD)).astype(int)  # (2, H, W) pixels
        rows = np.clip(np.arange(height)[:, None] + way[0], 0, height - 1)
        columns = np.clip(np.arange(width) + way[1], 0, width - 1)
        return warped(scene, rows, columns, context)


@dataclass(frozen=True)
class Dilate:
    """One region grows over its neighbours, but not over ignored pixels; over things only if it is one.

    Attributes:
        radius_range: pixels, as a share of the frame's height; at least one pixel.
    """

    p: float = 0.5
    radius_range: tuple[float, float] = (0.004, 0.012)

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("radius_range", self.radius_range, 0, 0.2)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        return draw_region(scene, rng, self.radius_range)

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        row, column = parameters["pixel"]
        region = region_at(scene, row, column)
        outer = window(padded(bounding_box(region), parameters["radius"], scene.size))
        ids = scene.label_map[outer]
        near = ndimage.distance_transform_edt(~region[outer]) <= parameters["radius"]
        near &= ids != IGNORE_INDEX
        if not context.is_thing[scene.label_map[row, column]]:
            near &= ~context.is_thing[ids]
        label_map = scene.label_map.copy()
        label_map[outer][near] = scene.label_map[row, column]
        instances = scene.instances
        if instances is not None:
            instances = instances.copy()
            instances[outer][near] = scene.instances[row, column]
        return swept(scene, Scene(label_map, instances), context)


@dataclass(frozen=True)
class Erode:
    """One region shrinks; what it leaves takes the nearest other class that is not ignored.

    Attributes:
        radius_range: pixels, as a share of the frame's height; at least one pixel.
    """

    p: float = 0.5
    radius_range: tuple[float, float] = (0.004, 0.012)

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("radius_range", self.radius_range, 0, 0.2)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        return draw_region(scene, rng, self.radius_range)

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        row, column = parameters["pixel"]
        region = region_at(scene, row, column)
        others = ~region & (scene.label_map != IGNORE_INDEX)
        outer = window(padded(bounding_box(region), parameters["radius"], scene.size))
        ring = np.zeros(scene.size, bool)
        if others[outer].any():
            ring[outer] = region[outer] & (ndimage.distance_transform_edt(~others[outer]) <= parameters["radius"])
        return swept(scene, fill(scene, ring, others, keep_instances=True), context)


def draw_region(scene: Scene, rng: np.random.Generator, radius_range: tuple[float, float]) -> dict | None:
    """A pixel of a class that is drawn first, so that small classes have their turn, and a radius.

    A quarter of the region's thickness is the most: more would make blobs of poles.
    """
    classes = np.flatnonzero(scene.present())
    classes = classes[classes != IGNORE_INDEX]
    if len(classes) < 2:
        return None
    pixels = np.flatnonzero(scene.label_map == rng.choice(classes))
    row, column = divmod(int(rng.choice(pixels)), scene.size[1])
    region = region_at(scene, row, column)
    inside = np.pad(region[window(bounding_box(region))], 1)
    half = int(ndimage.distance_transform_edt(inside).max())  # of the thickness
    radius = min(max(1, round(rng.uniform(*radius_range) * scene.size[0])), half // 2)
    if radius < 1:
        raise Refused("thin")
    return {"pixel": [row, column], "radius": radius}


def region_at(scene: Scene, row: int, column: int) -> Bool[np.ndarray, "h w"]:
    """The pixels of the same class, and instance where there are instances, that hang together with this one."""
    mask = scene.label_map == scene.label_map[row, column]
    if scene.instances is not None:
        mask &= scene.instances == scene.instances[row, column]
    numbers, _ = ndimage.label(mask, EIGHT)
    return numbers == numbers[row, column]

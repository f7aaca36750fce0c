"""What the training label maps are like: how often classes occur, which meet, where their objects stand, how large."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int

from augment.perturb.scene import Scene
from dpsims.labels import IGNORE_INDEX, LabelSpace

COLUMNS = ("class_id", "row", "column", "top", "left", "bottom", "right", "area", "support")  # of an object's row
CLASS, ROW, COLUMN, TOP, LEFT, BOTTOM, RIGHT, AREA, SUPPORT = range(len(COLUMNS))
QUANTILES = 21  # 0, 0.05, …, 1
FEW = 10  # objects of a class below which its heights follow the horizon of all things together
HORIZONS = np.geomspace(10, 0.005, 80)  # how far above the topmost objects' bottoms it may be; far is constant height
NEAREST = 0.005  # to the horizon, in shares of the height: what is nearer counts as being there
OFF = 1.0  # log height from the fit beyond which an object counts no more: half of something, or three in one
TAILS = (0.02, 0.98)  # quantiles of the classes' centres that count as usual
CARRIED = 0.5  # a class is carried if more of its objects rest on other things: riders are, trees behind cars not
CARRIER = 0.1  # a class carries another if more of its objects than that rest on it
ROUND = 6  # digits that are kept of what is fitted


@dataclass(frozen=True)
class MapSummary:
    """One training label map; made in any thread, and merged by `Statistics.of` in any order.

    Attributes:
        pixels: of each class.
        centres: class → mean row of its pixels, as a share of the height.
        objects: rows of integers (`COLUMNS`), of things of at least the minimum area.
    """

    pixels: list[int]
    centres: dict[int, float]
    objects: list[list[int]]


def summarize(scene: Scene, *, things: Sequence[int], num_classes: int, min_pixels: int) -> MapSummary:
    """What the statistics and the index of donors need of a label map at the frame's size."""
    rows = []
    for class_id in things:
        for found in scene.objects(class_id):
            if found.area >= min_pixels:
                rows.append([class_id, *found.pixel, *found.box, found.area, scene.support(found)])
    pixels = np.bincount(scene.label_map.ravel(), minlength=256)[:num_classes]
    centres = {int(label): round(centre(scene, int(label)), ROUND) for label in np.flatnonzero(pixels)}
    return MapSummary(pixels.tolist(), centres, rows)


def centre(scene: Scene, class_id: int) -> float:
    """Mean row of a class' pixels as a share of the height, 0..1; the class must be there."""
    per_row = np.count_nonzero(scene.label_map == class_id, axis=1)
    return float((per_row @ (np.arange(len(per_row)) + 0.5)) / per_row.sum() / len(per_row))


def standing(objects: Int[np.ndarray, "n 9"], things: Sequence[int], size: tuple[int, int]) -> Bool[np.ndarray, " n"]:
    """Which objects can be seen from top to bottom: off the frame's edges, on something that is no thing.

    What a thing is under may hide the rest, as a car hides a pedestrian's legs.
    """
    height, width = size
    inside = (objects[:, TOP] > 0) & (objects[:, LEFT] > 0)
    inside &= (objects[:, BOTTOM] < height) & (objects[:, RIGHT] < width)
    return inside & ~np.isin(objects[:, SUPPORT], [*things, IGNORE_INDEX])


@dataclass(frozen=True)
class ThingStatistics:
    """Objects of a class that stand in full view; positions and heights are shares of the frame's height.

    Attributes:
        count: how many.
        bottoms: quantiles 0, 0.05, …, 1 of where they end.
        horizon, growth: height = growth · (bottom - horizon), as one camera sees objects of one size on flat ground.
        residuals: the same quantiles of log height over that.
        support: share of their area that stands on each class: scraps, of what others hide, say little.
    """

    count: int
    bottoms: list[float]
    horizon: float
    growth: float
    residuals: list[float]
    support: list[float]

    def bottom_at(self, quantile: float) -> float:
        return float(np.interp(quantile, np.linspace(0, 1, QUANTILES), self.bottoms))

    def residual_at(self, quantile: float) -> float:
        return float(np.interp(quantile, np.linspace(0, 1, QUANTILES), self.residuals))

    def usual_height(self, bottom: float) -> float:
        return self.growth * max(NEAREST, bottom - self.horizon)

    def residual(self, bottom: Float[np.ndarray, " n"], height: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """How far log heights are from what is usual there."""
        return np.log(height) - np.log(self.growth) - log_distance(bottom, self.horizon)


@dataclass(frozen=True)
class Statistics:
    """Of all training label maps at the frame's size.

    Attributes:
        images: how many maps.
        presence: maps that hold each class; f_c is this over `images`.
        pixels: of each class.
        together: (C, C) maps that hold both classes.
        centres: class name → usual range of the mean row of its pixels, shares of the height.
        things: class name → its objects, for classes that have any in full view.
        carriers: class name → classes on whose objects most of its objects rest, as riders do on bicycles.
    """

    classes: list[str]
    height: int
    width: int
    images: int
    presence: list[int]
    pixels: list[int]
    together: list[list[int]]
    centres: dict[str, list[float]]
    things: dict[str, ThingStatistics]
    carriers: dict[str, list[str]]

    @classmethod
    def of(
        cls, summaries: Iterable[MapSummary], space: LabelSpace, things: Sequence[int], size: tuple[int, int]
    ) -> "Statistics":
        """Merge what `summarize` found in each map."""
        num_classes = space.num_classes
        pixels, together = np.zeros(num_classes, np.int64), np.zeros((num_classes, num_classes), np.int64)
        centres: list[list[float]] = [[] for _ in range(num_classes)]
        rows: list[list[int]] = []
        images = 0
        for summary in summaries:
            images += 1
            here = np.array(summary.pixels, np.int64)
            pixels += here
            together += np.outer(here > 0, here > 0)
            for class_id, row in summary.centres.items():
                centres[class_id].append(row)
            rows += summary.objects
        if not images:
            raise ValueError("there are no label maps to take statistics of")
        objects = np.array(rows, np.int64).reshape(-1, len(COLUMNS))
        in_view = objects[standing(objects, things, size)]
        ranges = {
            name: np.quantile(found, TAILS).round(ROUND).tolist()
            for name, found in zip(space.classes, centres, strict=True)
            if found
        }
        return cls(
            list(space.classes),
            *size,
            images,
            np.diag(together).tolist(),
            pixels.tolist(),
            together.tolist(),
            ranges,
            thing_statistics(in_view, space, size[0]),
            carriers(objects, space, things),
        )

    @property
    def share(self) -> Float[np.ndarray, " c"]:
        """f_c: share of the maps that hold each class."""
        return np.array(self.presence) / self.images

    def to_dict(self) -> dict:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Statistics":
        """The inverse of `to_dict`."""
        assert values.keys() == {field.name for field in fields(cls)}, values.keys()
        things = {name: ThingStatistics(**thing) for name, thing in values["things"].items()}
        return cls(**{**values, "things": things})

    @property
    def digest(self) -> str:
        """sha256 of the content, hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def thing_statistics(objects: Int[np.ndarray, "n 9"], space: LabelSpace, height: int) -> dict[str, ThingStatistics]:
    """By class name, from the rows of objects in full view. The horizon of rare classes is that of all things."""
    bottoms = objects[:, BOTTOM] / height
    heights = np.log((objects[:, BOTTOM] - objects[:, TOP]) / height)
    common = fit_horizon(bottoms, heights, objects[:, CLASS])
    found = {}
    for class_id in np.unique(objects[:, CLASS]):
        mine = objects[:, CLASS] == class_id
        x, y = bottoms[mine], heights[mine]
        few = len(x) < FEW
        horizon = round(common if few else fit_horizon(x, y, objects[mine, CLASS]), ROUND)
        y = y - log_distance(x, horizon)
        growth = float(np.median(y))
        residuals = np.quantile(y - growth, np.linspace(0, 1, QUANTILES))
        if few:  # half and twice the height are as usual
            residuals = np.linspace(min(residuals[0], -np.log(2)), max(residuals[-1], np.log(2)), QUANTILES)
        support = np.bincount(objects[mine, SUPPORT], objects[mine, AREA], space.num_classes)
        found[space.classes[class_id]] = ThingStatistics(
            count=len(x),
            bottoms=np.quantile(x, np.linspace(0, 1, QUANTILES)).round(ROUND).tolist(),
            horizon=horizon,
            growth=round(float(np.exp(growth)), ROUND),
            residuals=residuals.round(ROUND).tolist(),
            support=(support / support.sum()).round(ROUND).tolist(),
        )
    return found


def log_distance(bottom: Float[np.ndarray, " n"], horizon: float) -> Float[np.ndarray, " n"]:
    """Log of how far below the horizon, in shares of the height."""
    return np.log(np.maximum(NEAREST, bottom - horizon))


def fit_horizon(
    bottoms: Float[np.ndarray, " n"], log_heights: Float[np.ndarray, " n"], classes: Int[np.ndarray, " n"]
) -> float:
    """Row for which the heights of each class are most alike once divided by the distance from it; far if all fit."""
    if not len(bottoms):
        return -float(HORIZONS[0])
    groups = [classes == class_id for class_id in np.unique(classes)]
    candidates = np.quantile(bottoms, TAILS[0]) - HORIZONS
    losses = []
    for horizon in candidates:
        residual = log_heights - log_distance(bottoms, float(horizon))
        for group in groups:  # each class about its own median: a pole is taller than a car at the same place
            residual[group] -= np.median(residual[group])
        losses.append(np.minimum(np.abs(residual), OFF).mean())
    return float(candidates[int(np.argmin(np.round(losses, ROUND)))])


def carriers(objects: Int[np.ndarray, "n 9"], space: LabelSpace, things: Sequence[int]) -> dict[str, list[str]]:
    """By class name, from the rows of all objects: of classes that mostly rest on things of others, what these are."""
    found = {}
    for class_id in things:
        mine = objects[(objects[:, CLASS] == class_id) & (objects[:, SUPPORT] != IGNORE_INDEX)]
        counts = np.bincount(mine[:, SUPPORT], minlength=space.num_classes)
        counts[class_id] = 0
        if counts[list(things)].sum() > CARRIED * len(mine):
            least = CARRIER * len(mine)
            found[space.classes[class_id]] = [space.classes[label] for label in things if counts[label] > least]
    return found

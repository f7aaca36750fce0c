"""What operations know beside the scene: the classes, the training statistics and the other label maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from augment.perturb.donors import Donors
from augment.perturb.scene import Box, Object, Scene
from augment.perturb.statistics import (
    AREA,
    BOTTOM,
    CLASS,
    LEFT,
    RIGHT,
    TOP,
    Statistics,
    ThingStatistics,
    standing,
)
from dpsims.labels import IGNORE_INDEX, LabelSpace

SEEN = 0.02  # share of a class' objects that must stand on a class for it to count as its support
SHAPES = (0.05, 0.95)  # quantiles of width over height between which an object of the training set is pasted


@dataclass(frozen=True)
class Rules:
    """What a perturbed map must keep to, or the operation is drawn again.

    Attributes:
        min_area: of a region that an operation makes or cuts, and of objects that it takes, as a share of the frame.
        min_images: training maps in which two classes must have met before they may meet here.
        position_range: quantiles of the training objects' bottoms between which objects are put.
        height_range: quantiles of their heights, for where they stand, between which these have to be.
        donor_heights: the same for objects that are pasted; the shortest are often parts of what something hides.
        min_visible: share of a placed object that must be inside the frame and in front.
        redraws: how often an operation is drawn again before it is left out.
    """

    min_area: float = 0.0003
    min_images: int = 1
    position_range: tuple[float, float] = (0.05, 0.95)
    height_range: tuple[float, float] = (0.05, 0.95)
    donor_heights: tuple[float, float] = (0.25, 0.95)
    min_visible: float = 0.5
    redraws: int = 5

    def min_pixels(self, size: tuple[int, int]) -> int:
        return max(1, round(self.min_area * size[0] * size[1]))


@dataclass(frozen=True)
class Context:
    """Shared by all scenes and threads.

    Attributes:
        things: ids of the classes whose pixels are objects.
    """

    space: LabelSpace
    things: tuple[int, ...]
    rules: Rules
    statistics: Statistics
    donors: Donors

    def id_of(self, name: str) -> int:
        return self.space.classes.index(name)

    def ids_of(self, names: Sequence[str] | None) -> tuple[int, ...]:
        """Ids of the named classes; None names all things."""
        return self.things if names is None else tuple(self.id_of(name) for name in names)

    def donor(self, source_key: str) -> Scene:
        """Another label map; a ValueError if it is not of the size that the statistics are of."""
        scene, size = self.donors.scene(source_key), (self.statistics.height, self.statistics.width)
        if scene.size != size:
            raise ValueError(f"the label map {source_key!r} is {scene.size}, not {size} (height, width)")
        return scene

    def thing(self, class_id: int) -> ThingStatistics | None:
        """The training objects of a class; None where there were none in full view."""
        return self.statistics.things.get(self.space.classes[class_id])

    def placeable(self, class_id: int, box: Box, height: int) -> str | None:
        """Why an object may not be there, in a word; None where it may. `height` is the frame's."""
        thing = self.thing(class_id)
        if thing is None:
            return "position"
        bottom = box[2] / height
        low, high = (thing.bottom_at(quantile) for quantile in self.rules.position_range)
        if not low - 1e-6 <= bottom <= high + 1e-6:
            return "position"
        low, high = (thing.residual_at(quantile) for quantile in self.rules.height_range)
        residual = thing.residual(np.array([bottom]), np.array([(box[2] - box[0]) / height]))[0]
        return None if low - 1e-6 <= residual <= high + 1e-6 else "height"

    @cached_property
    def is_thing(self) -> Bool[np.ndarray, "256"]:
        table = np.zeros(256, bool)
        table[list(self.things)] = True
        return table

    @cached_property
    def is_ground(self) -> Bool[np.ndarray, "256"]:
        """Ids that may spread into holes and carry objects: neither things nor ignored."""
        table = ~self.is_thing
        table[IGNORE_INDEX] = False
        return table

    @cached_property
    def supports(self) -> dict[int, Float[np.ndarray, "256"]]:
        """Thing → shares of the ground classes under its training objects; only things that stand by themselves."""
        found = {}
        for class_id in self.things:
            thing = self.thing(class_id)
            if thing is None or self.space.classes[class_id] in self.statistics.carriers:
                continue  # riders come with bicycles only
            shares = np.zeros(256)
            shares[: self.space.num_classes] = thing.support
            shares[~self.is_ground | (shares < SEEN)] = 0
            if shares.any():
                found[class_id] = shares / shares.sum()
        return found

    @cached_property
    def together(self) -> Int[np.ndarray, "c c"]:
        """Training maps that hold both classes."""
        return np.array(self.statistics.together)

    @cached_property
    def carries(self) -> set[tuple[int, int]]:
        """(class, class of what stands on it and goes with it)."""
        pairs = ((lower, upper) for upper, names in self.statistics.carriers.items() for lower in names)
        return {(self.id_of(lower), self.id_of(upper)) for lower, upper in pairs}

    @cached_property
    def donor_rows(self) -> dict[int, Int[np.ndarray, " k"]]:
        """Thing → rows of the donors' index that can go elsewhere: in full view, of a usual height for their place."""
        objects, size = self.donors.objects, (self.statistics.height, self.statistics.width)
        good = standing(objects, self.things, size) & (objects[:, AREA] >= self.rules.min_pixels(size))
        heights, widths = objects[:, BOTTOM] - objects[:, TOP], objects[:, RIGHT] - objects[:, LEFT]
        found = {}
        for class_id in self.supports:
            thing = self.thing(class_id)
            rows = np.flatnonzero(good & (objects[:, CLASS] == class_id))
            residual = thing.residual(objects[rows, BOTTOM] / size[0], heights[rows] / size[0])
            low, high = (thing.residual_at(quantile) for quantile in self.rules.donor_heights)
            rows = rows[(residual >= low - 1e-6) & (residual <= high + 1e-6)]
            if len(rows):
                shapes = widths[rows] / heights[rows]
                low = np.quantile(shapes, SHAPES[0], method="lower")
                high = np.quantile(shapes, SHAPES[1], method="higher")
                found[class_id] = rows[(shapes >= low) & (shapes <= high)]
        return found

    def movable(self, scene: Scene, class_ids: Sequence[int]) -> dict[int, list[Object]]:
        """Class → objects of the scene in full view and of at least the minimum area, for classes that have any."""
        least = self.rules.min_pixels(scene.size)
        found = {}
        for class_id in class_ids:
            objects = [o for o in scene.objects(class_id) if o.area >= least and scene.whole(o)]
            objects = [o for o in objects if self.is_ground[scene.support(o)]]
            if objects:
                found[class_id] = objects
        return found

"""Operations on the whole frame: flip, crop and zoom, shift."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from augment.perturb.context import Context
from augment.perturb.crumbs import warped
from augment.perturb.options import check_range
from augment.perturb.scene import Scene


@dataclass(frozen=True)
class Flip:
    """Left and right changed over."""

    p: float = 0.5

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = True  # there is nothing to check: no region, row or class changes

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        return {}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        label_map = np.ascontiguousarray(scene.label_map[:, ::-1])
        instances = scene.instances
        return Scene(label_map, None if instances is None else np.ascontiguousarray(instances[:, ::-1]))


@dataclass(frozen=True)
class Crop:
    """A part of the frame, enlarged to all of it; nearest neighbour.

    Attributes:
        zoom_range: how much it is enlarged, at least 1.
    """

    p: float = 0.5
    zoom_range: tuple[float, float] = (1.0, 1.25)

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("zoom_range", self.zoom_range, 1, 10)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        zoom, row, column = rng.uniform(*self.zoom_range), rng.random(), rng.random()
        return {"zoom": round(zoom, 4), "position": [round(row, 4), round(column, 4)]}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        zoom = parameters["zoom"]
        rows, columns = (
            ((np.arange(size) + 0.5) / zoom + share * (size - size / zoom)).astype(int)
            for size, share in zip(scene.size, parameters["position"], strict=True)
        )
        return warped(scene, rows[:, None], columns, context)


@dataclass(frozen=True)
class Shift:
    """The frame's content, moved. At the sides what is left open is mirrored, above and below the edge goes on.

    Attributes:
        vertical_range, horizontal_range: shares of the frame, positive is down and to the right.
    """

    p: float = 0.5
    vertical_range: tuple[float, float] = (-0.03, 0.03)
    horizontal_range: tuple[float, float] = (-0.1, 0.1)

    needs_things: ClassVar[bool] = False
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("vertical_range", self.vertical_range, -0.5, 0.5)
        check_range("horizontal_range", self.horizontal_range, -0.5, 0.5)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        height, width = scene.size
        rows, columns = rng.uniform(*self.vertical_range) * height, rng.uniform(*self.horizontal_range) * width
        return {"rows": round(rows), "columns": round(columns)}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        height, width = scene.size
        rows = np.clip(np.arange(height) - parameters["rows"], 0, height - 1)
        columns = np.abs(np.arange(width) - parameters["columns"] + 0.5) - 0.5  # -1 is 0, -2 is 1, …
        columns = (width - 0.5 - np.abs(columns - width + 0.5)).astype(int)  # width is width - 1, …
        return warped(scene, rows[:, None], columns, context)

"""Pictures of single things, cut out of lit polygons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from demo.view import NEAREST, Camera

BRIGHTEST = 4.0  # radiance that the 8-bit drawing surface can hold
Face = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "3"]]  # corners in metres, radiance


@dataclass(frozen=True)
class Sprite:
    """A thing on the picture, within the window that starts at (left, top).

    Attributes:
        radiance: linear RGB.
        paint: pixels that the thing covers in the image.
        outline: pixels that an annotator would give it; differs where the thing has small holes.
    """

    left: int
    top: int
    radiance: Float[np.ndarray, "h w 3"]
    paint: Bool[np.ndarray, "h w"]
    outline: Bool[np.ndarray, "h w"]

    @property
    def window(self) -> tuple[slice, slice]:
        height, width = self.paint.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def over(self, below: "Sprite") -> "Sprite":
        """This sprite in front of another one, as one."""
        left, top = min(self.left, below.left), min(self.top, below.top)
        right = max(sprite.left + sprite.paint.shape[1] for sprite in (self, below))
        bottom = max(sprite.top + sprite.paint.shape[0] for sprite in (self, below))
        size = bottom - top, right - left
        both = Sprite(left, top, np.zeros((*size, 3), np.float32), np.zeros(size, bool), np.zeros(size, bool))
        for sprite in (below, self):
            rows, columns = (slice(s.start - o, s.stop - o) for s, o in zip(sprite.window, (top, left), strict=True))
            both.radiance[rows, columns][sprite.paint] = sprite.radiance[sprite.paint]
            both.paint[rows, columns] |= sprite.paint
            both.outline[rows, columns] |= sprite.outline
        return both


def rasterise(camera: Camera, faces: Sequence[Face]) -> Sprite | None:
    """Draw faces in their order, later ones over earlier ones; None where nothing of them is on the picture."""
    faces = [face for face in faces if face[0][:, 2].min() > NEAREST]
    if not faces:
        return None
    points = np.concatenate([face[0] for face in faces])
    rows, columns = camera.window(points)
    top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
    if left >= right or top >= bottom:
        return None
    corners = np.split(camera.project(points) - [left, top], np.cumsum([len(face[0]) for face in faces])[:-1])
    radiance = np.stack([face[1] for face in faces])
    codes = np.sqrt(np.clip(radiance / BRIGHTEST, 0, 1)) * 255  # the root keeps dark tones apart in 8 bits
    fills = (codes + 0.5).astype(int).tolist()
    size = (right - left, bottom - top)
    colours, paint = Image.new("RGB", size), Image.new("L", size)
    draw_colour, draw_paint = ImageDraw.Draw(colours), ImageDraw.Draw(paint)
    for polygon, fill in zip(corners, fills, strict=True):
        outline = polygon.ravel().tolist()
        draw_colour.polygon(outline, fill=tuple(fill))
        draw_paint.polygon(outline, fill=255)
    covered = np.asarray(paint) > 0
    if not covered.any():
        return None
    radiance = (np.asarray(colours, np.float32) / 255) ** 2 * BRIGHTEST
    return Sprite(left, top, radiance, covered, covered)


def disc(centre: Sequence[float], radius: float, squash: float = 1.0, corners: int = 12) -> Float[np.ndarray, "n 3"]:
    """A circle, or a polygon of few `corners` that stands on a side, facing the camera; `squash` narrows it."""
    angle = (np.arange(corners) + 0.5) * (2 * np.pi / corners) - np.pi / 2
    points = np.empty((corners, 3))
    points[:] = centre
    points[:, 0] += radius * squash * np.cos(angle)
    points[:, 1] += radius * np.sin(angle)
    return points


def strip(start: Sequence[float], stop: Sequence[float], wide: float, narrow: float) -> Float[np.ndarray, "4 3"]:
    """A bar from `start` to `stop` that faces the camera, `wide` metres across at the start, `narrow` at the stop."""
    (x0, y0, z0), (x1, y1, z1) = start, stop
    length = 2 * max(math.hypot(x1 - x0, y1 - y0), 1e-6)
    ax, ay = (y0 - y1) / length, (x1 - x0) / length  # half a metre across the bar
    return np.array(
        [
            (x0 - ax * wide, y0 - ay * wide, z0),
            (x1 - ax * narrow, y1 - ay * narrow, z1),
            (x1 + ax * narrow, y1 + ay * narrow, z1),
            (x0 + ax * wide, y0 + ay * wide, z0),
        ]
    )


def cast_shadows(
    camera: Camera, to_sun: Float[np.ndarray, "3"], solids: Sequence[Float[np.ndarray, "n 3"]]
) -> Float[np.ndarray, "h w"]:
    """Where polygons keep the sun from the road: 0 (lit) or 1, as if the ground were everywhere."""
    shadow = Image.new("L", (camera.width, camera.height))
    draw = ImageDraw.Draw(shadow)
    if solids:
        points = np.concatenate(solids)
        fallen = points - to_sun * (points[:, 1:2] / to_sun[1])
        ends = np.cumsum([len(solid) for solid in solids])[:-1]
        for corners, z in zip(np.split(camera.project(fallen), ends), np.split(fallen[:, 2], ends), strict=True):
            if z.max() > NEAREST:
                draw.polygon(corners.ravel().tolist(), fill=255)
    return np.asarray(shadow, np.float32) / 255

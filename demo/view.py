"""Where a street scene is seen from and what light falls on it.

Metres: X to the right, Y up from the road, Z away from the camera, which stands at (0, eye, 0).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

NEAREST = 0.4  # metres; points nearer than this are drawn as if they were here


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the street.

    Attributes:
        width, height: pixels.
        focal: pixels.
        column, row: the vanishing point of the street, pixels.
        eye: metres above the road.
        roll: radians.
    """

    width: int
    height: int
    focal: float
    column: float
    row: float
    eye: float
    roll: float

    @classmethod
    def draw(cls, rng: np.random.Generator, width: int, height: int) -> "Camera":
        return cls(
            width=width,
            height=height,
            focal=width * rng.uniform(0.72, 0.95),
            column=width * rng.uniform(0.32, 0.68),
            row=height * rng.uniform(0.40, 0.54),
            eye=rng.uniform(1.4, 2.4),
            roll=rng.normal(0, 0.012),
        )

    @cached_property
    def rays(self) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """Slopes X/Z (to the right) and -Y/Z (down) of the ray through each pixel's centre."""
        x = (np.arange(self.width, dtype=np.float32) + 0.5 - self.column) / self.focal
        y = (np.arange(self.height, dtype=np.float32)[:, None] + 0.5 - self.row) / self.focal
        cos, sin = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        return x * cos + y * sin, y * cos - x * sin

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 2"]:
        """World points, metres → (column, row) in pixels."""
        depth = np.maximum(points[:, 2], NEAREST)
        x, y = points[:, 0] / depth, (self.eye - points[:, 1]) / depth
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.stack(
            [self.column + self.focal * (x * cos - y * sin), self.row + self.focal * (x * sin + y * cos)], 1
        )

    def window(self, points: Float[np.ndarray, "n 3"]) -> tuple[slice, slice]:
        """The rows and columns of the picture that a box around the points covers; may be empty."""
        corners = self.project(points)
        (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0)) + 1
        rows = np.clip([top, bottom], 0, self.height).astype(int)
        columns = np.clip([left, right], 0, self.width).astype(int)
        return slice(*rows.tolist()), slice(*columns.tolist())


@dataclass(frozen=True)
class Light:
    """Sun, sky and air. All colours are linear RGB radiance; 1 is about a white wall in the sun.

    Attributes:
        to_sun: unit vector.
        sun: what the sun adds to a surface that faces it; near zero under an overcast sky.
        ambient: what the sky adds everywhere.
        zenith, horizon: the sky's own colours.
        cloud: the colour of clouds.
        cover: share of the sky under cloud, 0 to 1.
        haze: share of light lost to the air per metre.
    """

    to_sun: Float[np.ndarray, "3"]
    sun: Float[np.ndarray, "3"]
    ambient: Float[np.ndarray, "3"]
    zenith: Float[np.ndarray, "3"]
    horizon: Float[np.ndarray, "3"]
    cloud: Float[np.ndarray, "3"]
    cover: float
    haze: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """A day out of four kinds: clear, changeable, overcast, and low sun."""
        kind = rng.choice(["clear", "changeable", "overcast", "low"], p=[0.35, 0.25, 0.25, 0.15])
        elevation = np.radians(rng.uniform(13, 24) if kind == "low" else rng.uniform(26, 62))
        azimuth = rng.uniform(0, 2 * np.pi)
        to_sun = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
        strength = {"clear": 1.0, "changeable": 0.85, "overcast": 0.06, "low": 0.8}[kind] * rng.uniform(0.85, 1.1)
        warmth = np.array([1.0, 0.62, 0.34]) if kind == "low" else np.array([1.0, 0.92, 0.80])
        blue = np.array([0.13, 0.27, 0.60]) * rng.uniform(0.7, 1.3)
        pale = np.array([0.62, 0.74, 0.90]) * rng.uniform(0.9, 1.1)
        grey = np.array([0.70, 0.73, 0.78]) * rng.uniform(0.8, 1.25)
        if kind == "overcast":
            zenith, horizon, cloud, ambient = grey * 0.8, grey * 1.05, grey * 0.72, grey * 0.8
        else:
            zenith, horizon, cloud = blue, pale, np.array([1.0, 0.98, 0.95]) * rng.uniform(0.95, 1.2)
            ambient = np.array([0.21, 0.24, 0.30]) * rng.uniform(0.7, 1.2)
        if kind == "low":
            horizon, cloud = pale * [1.25, 0.92, 0.62], cloud * [1.0, 0.76, 0.62]
        cover = {"clear": 0.12, "changeable": 0.5, "overcast": 0.8, "low": 0.35}[kind] + rng.uniform(-0.1, 0.15)
        haze = float(np.exp(rng.normal(np.log(0.0015), 0.7)))
        colours = (to_sun, warmth * strength, ambient, zenith, horizon, cloud)
        return cls(*(np.asarray(colour, np.float32) for colour in colours), cover, haze)

    def on(
        self,
        albedo: Float[np.ndarray, "*n 3"],
        normal: Float[np.ndarray, "*n 3"],
        lit: Float[np.ndarray, "*n 1"] | float,
    ) -> Float[np.ndarray, "*n 3"]:
        """Radiance of matt surfaces; `lit` is 0 in the sun's shadow and 1 outside it."""
        facing = np.maximum(normal @ self.to_sun, 0)[..., None] * lit
        open_sky = 0.75 + 0.25 * normal[..., 1:2]
        return albedo * (self.ambient * open_sky + self.sun * facing)

    def through_air(
        self, radiance: Float[np.ndarray, "*n 3"], depth: Float[np.ndarray, "*n"] | float
    ) -> Float[np.ndarray, "*n 3"]:
        """What arrives of `radiance` from `depth` metres away: distance fades to the horizon's colour."""
        kept = np.exp(-self.haze * np.asarray(depth))[..., None]
        return radiance * kept + self.horizon * 0.85 * (1 - kept)

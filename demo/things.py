"""People and signs: things that look much alike from every side, so they are drawn facing the camera."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from demo.sprites import Face, disc, strip
from demo.view import Camera, Light

SKIN = np.array([(0.55, 0.36, 0.27), (0.42, 0.25, 0.17), (0.22, 0.12, 0.08), (0.10, 0.06, 0.04)])
HAIR = np.array([(0.015, 0.012, 0.01), (0.06, 0.035, 0.02), (0.25, 0.16, 0.06), (0.35, 0.33, 0.31)])
Part = tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "3"]]  # corners in metres, albedo
FACING = np.array([0.0, 0.25, -0.97])  # the normal of what is drawn flat: towards the camera, a little upwards


def _cloth(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Mostly dark and dull, at times bright."""
    grey = rng.uniform(0.015, 0.14) * rng.uniform(0.75, 1.3, 3)
    return grey if rng.random() < 0.65 else rng.uniform(0.02, 0.6, 3)


def lit_flat(parts: list[Part], light: Light, lit: float) -> list[Face]:
    """Light polygons that face the camera; what is brighter than white shines by itself."""
    albedo = np.stack([colour for _, colour in parts])
    # round bodies catch some of the sun wherever it stands
    radiance = light.on(albedo, np.broadcast_to(FACING, albedo.shape), 0.7 * lit) + 0.18 * lit * light.sun * albedo
    radiance = np.where(albedo.max(1, keepdims=True) > 1, albedo, radiance)
    return [(points, colour) for (points, _), colour in zip(parts, radiance, strict=True)]


@dataclass(frozen=True)
class Person:
    """Someone who stands or walks at (x, 0, z).

    Attributes:
        tall: metres.
        build: width relative to the usual.
        stride, swing: how far a foot and a hand are from where they hang, as shares of the height.
        coat: height to which the upper garment reaches down, as a share of the whole.
        bag: the side that carries one: -1, 1, or 0 for none.
    """

    x: float
    z: float
    tall: float
    build: float
    stride: float
    swing: float
    coat: float
    bag: int
    skin: Float[np.ndarray, "3"]
    hair: Float[np.ndarray, "3"]
    top: Float[np.ndarray, "3"]
    legs: Float[np.ndarray, "3"]

    @classmethod
    def draw(cls, rng: np.random.Generator, x: float, z: float) -> "Person":
        child = rng.random() < 0.12
        return cls(
            x=x,
            z=z,
            tall=rng.uniform(1.05, 1.4) if child else rng.normal(1.72, 0.09),
            build=rng.uniform(0.85, 1.25),
            stride=rng.uniform(0.0, 0.14),
            swing=rng.uniform(-0.08, 0.08),
            coat=rng.choice([0.48, 0.44, 0.28], p=[0.5, 0.3, 0.2]),
            bag=int(rng.choice([-1, 0, 1], p=[0.2, 0.6, 0.2])),
            skin=SKIN[rng.integers(len(SKIN))],
            hair=HAIR[rng.integers(len(HAIR))] * rng.uniform(0.7, 1.3),
            top=_cloth(rng),
            legs=_cloth(rng) * 0.8,
        )

    @cached_property
    def parts(self) -> list[Part]:
        """Polygons in metres with their albedo, back to front."""

        def at(across: float, up: float) -> tuple[float, float, float]:
            return self.x + across * self.tall, up * self.tall, self.z

        wide = self.build * self.tall
        leg, ankle, wrist = 0.10 * wide, 0.06 * wide, 0.045 * wide
        hand, foot = 0.13 * self.build + self.swing, self.stride
        shoe = np.array([0.03, 0.025, 0.02])
        parts = [
            (strip(at(0.04, 0.5), at(foot, 0.04), leg, ankle), self.legs * 0.7),
            (strip(at(foot, 0.03), at(foot + 0.06, 0.02), ankle, ankle), shoe),
            (strip(at(-0.04, 0.5), at(-foot, 0.04), leg, ankle), self.legs),
            (strip(at(-foot, 0.03), at(-foot + 0.06, 0.02), ankle, ankle), shoe),
            (strip(at(0.10 * self.build, 0.80), at(hand, 0.46), ankle, wrist), self.top * 0.75),
            (strip(at(0, self.coat), at(0, 0.83), 0.20 * wide, 0.25 * wide), self.top),
            (strip(at(-0.11 * self.build, 0.81), at(-hand, 0.46), ankle, wrist), self.top * 0.85),
            (disc(at(-hand, 0.45), 0.024 * self.tall, corners=6), self.skin),
            (strip(at(0, 0.82), at(0, 0.88), 0.07 * self.tall, 0.06 * self.tall), self.skin * 0.8),
            (disc(at(0, 0.935), 0.066 * self.tall, squash=0.78), self.hair),
            (disc(at(0.006, 0.915), 0.052 * self.tall, squash=0.78), self.skin),
        ]
        if self.bag:
            side = self.bag * 0.15 * self.build
            bag = strip(at(side, 0.56), at(side, 0.36), 0.16 * self.tall, 0.19 * self.tall)
            parts.append((bag, self.hair * 2 + 0.03))
        return parts

    def solids(self) -> list[Float[np.ndarray, "n 3"]]:
        return [points for points, _ in self.parts]

    def faces(self, camera: Camera, light: Light, lit: float) -> list[Face]:
        return lit_flat(self.parts, light, lit)

    def footprint(self) -> Float[np.ndarray, "n 3"]:
        """The ground at the feet, which stays dark without a sun too."""
        return disc((self.x, 0, self.z), 0.3)[:, [0, 2, 1]] + [0, -self.z, self.z]


@dataclass(frozen=True)
class Sign:
    """A post at (x, 0, z) with a plate, a signal or a lamp on it.

    Attributes:
        kind: ban, order, warning, panel, stop, signal or lamp.
        tall: metres to the middle of the plate or to the lamp's arm.
        size: radius of a plate, metres.
        arm: which way a lamp's arm points: -1 or 1.
        signal: which light is on (0 green), or which colour a panel has.
    """

    x: float
    z: float
    kind: str
    tall: float
    size: float
    arm: int
    signal: int
    post: Float[np.ndarray, "3"]

    @classmethod
    def draw(cls, rng: np.random.Generator, x: float, z: float) -> "Sign":
        kinds = ["ban", "order", "warning", "panel", "stop", "signal", "lamp"]
        kind = str(rng.choice(kinds, p=[0.16, 0.12, 0.14, 0.16, 0.08, 0.14, 0.2]))
        return cls(
            x=x,
            z=z,
            kind=kind,
            tall=rng.uniform(5.0, 8.0) if kind == "lamp" else rng.uniform(2.2, 3.1),
            size=rng.uniform(0.42, 0.62),
            arm=-1 if x > 0 else 1,
            signal=int(rng.integers(3)),
            post=rng.uniform(0.06, 0.35) * np.ones(3),
        )

    @cached_property
    def parts(self) -> list[Part]:
        """Polygons in metres with their albedo (above 1: it shines), back to front."""
        red, blue, white, dark = (np.array(c) for c in ([0.5, 0.02, 0.02], [0.02, 0.08, 0.4], [0.7] * 3, [0.02] * 3))
        size = self.size

        def at(across: float, up: float) -> tuple[float, float, float]:
            """Metres from the middle of the plate."""
            return self.x + across, self.tall + up, self.z

        def plate(radius: float, corners: int, up: float = 0.0) -> Float[np.ndarray, "n 3"]:
            return disc(at(0, up), radius, corners=corners)

        def bar(half: float, thick: float) -> Float[np.ndarray, "4 3"]:
            return strip(at(-half, 0), at(half, 0), thick, thick)

        thick = 0.2 if self.kind in ("lamp", "signal") else 0.14
        parts = [(strip((self.x, 0, self.z), at(0, 0), thick, thick * 0.8), self.post)]
        if self.kind == "lamp":
            tip, end = at(1.6 * self.arm, 0.25), at(2.2 * self.arm, 0.25)
            parts += [(strip(at(0, 0), tip, 0.13, 0.11), self.post), (strip(tip, end, 0.24, 0.16), self.post * 1.4)]
        elif self.kind == "signal":
            parts.append((strip(at(0, -0.55), at(0, 0.55), 0.5, 0.5), dark))
            for lamp, colour in enumerate(([0.06, 1.6, 0.5], [2.0, 1.0, 0.05], [2.6, 0.08, 0.05])):
                shown = np.array(colour) * (1.0 if lamp == self.signal else 0.04)
                parts.append((plate(0.15, 10, up=(lamp - 1) * 0.34), shown))
        elif self.kind == "panel":
            board = [blue, np.array([0.02, 0.2, 0.07]), np.array([0.6, 0.42, 0.03])][self.signal]
            parts += [(bar(1.1 * size, 1.4 * size), board), (bar(0.75 * size, 0.25 * size), white)]
        elif self.kind == "warning":
            parts += [(plate(1.15 * size, 3), red), (plate(0.72 * size, 3), white)]
            parts.append((strip(at(0, -0.15), at(0, 0.2), 0.09, 0.09), dark))
        elif self.kind == "ban":
            parts += [(plate(size, 14), red), (plate(0.7 * size, 14), white), (bar(0.5 * size, 0.14), dark)]
        else:
            parts.append((plate(size, 8), red) if self.kind == "stop" else (plate(size, 14), blue))
            parts.append((bar(0.5 * size, 0.14), white))
        return parts

    def solids(self) -> list[Float[np.ndarray, "n 3"]]:
        return [points for points, _ in self.parts]

    def faces(self, camera: Camera, light: Light, lit: float) -> list[Face]:
        return lit_flat(self.parts, light, lit)

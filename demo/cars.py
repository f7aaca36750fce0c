"""Cars: a side profile pushed out to the car's width, with glass, wheels, lights and plates."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from demo.sprites import Face
from demo.view import Camera, Light

# (length from the tail, height) of the outline, clockwise from under the tail; shares of the length, metres.
# The stretches between them are: tail, rear window, roof, windscreen, bonnet, nose.
PROFILES = {
    "hatchback": [(0, 0.24), (0.01, 0.92), (0.10, 1.42), (0.52, 1.48), (0.74, 0.98), (0.97, 0.80), (1, 0.24)],
    "saloon": [(0, 0.24), (0.01, 0.95), (0.26, 1.38), (0.54, 1.42), (0.73, 0.95), (0.97, 0.76), (1, 0.24)],
    "estate": [(0, 0.25), (0.01, 0.95), (0.07, 1.46), (0.54, 1.50), (0.72, 1.00), (0.97, 0.82), (1, 0.25)],
    "offroader": [(0, 0.36), (0.01, 1.08), (0.04, 1.74), (0.56, 1.78), (0.70, 1.18), (0.97, 1.05), (1, 0.36)],
    "van": [(0, 0.32), (0.01, 1.15), (0.03, 2.15), (0.74, 2.20), (0.90, 1.25), (0.98, 1.05), (1, 0.32)],
}
LENGTHS = {"hatchback": 3.9, "saloon": 4.6, "estate": 4.6, "offroader": 4.5, "van": 5.2}
PAINTS = np.array(  # silver, white, black, grey, blue, red, green, beige, yellow
    [
        (0.42, 0.43, 0.44),
        (0.70, 0.70, 0.68),
        (0.02, 0.02, 0.025),
        (0.13, 0.14, 0.15),
        (0.03, 0.08, 0.28),
        (0.42, 0.03, 0.03),
        (0.04, 0.15, 0.08),
        (0.42, 0.36, 0.26),
        (0.60, 0.42, 0.04),
    ]
)
POPULAR = np.array([0.2, 0.17, 0.16, 0.15, 0.12, 0.1, 0.04, 0.04, 0.02])
DARK, GLASS, PLATE, LAMP = (np.array(c) for c in ([0.03] * 3, [0.03, 0.035, 0.04], [0.6, 0.58, 0.48], [0.8, 0.8, 0.76]))


@dataclass(frozen=True)
class Panel:
    """A flat piece of a car: corners (across, up, forward) in metres, albedo, and how much sky it mirrors."""

    corners: Float[np.ndarray, "n 3"]
    albedo: Float[np.ndarray, "3"]
    gloss: float


@dataclass(frozen=True)
class Car:
    """A car whose middle stands at (x, 0, z); heading 0 shows its tail to the camera, ±π/2 a side."""

    x: float
    z: float
    heading: float
    kind: str
    paint: Float[np.ndarray, "3"]
    scale: float
    braking: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, x: float, z: float, heading: float) -> "Car":
        return cls(
            x=x,
            z=z,
            heading=heading + rng.normal(0, 0.03),
            kind=str(rng.choice(list(PROFILES), p=[0.32, 0.26, 0.14, 0.16, 0.12])),
            paint=PAINTS[rng.choice(len(PAINTS), p=POPULAR)] * rng.uniform(0.7, 1.2),
            scale=rng.uniform(0.95, 1.08),
            braking=bool(rng.random() < 0.3),
        )

    def outline(self) -> list[tuple[float, float]]:
        """(forward, up) of the profile's corners, metres from the middle."""
        return [((share - 0.5) * LENGTHS[self.kind], up) for share, up in PROFILES[self.kind]]

    def half_width(self, up: float) -> float:
        """Metres from the middle to the side: the cabin leans in above the belt line."""
        lean = 0.07 if self.kind == "van" else 0.34
        return 0.88 - lean * max(up - PROFILES[self.kind][1][1], 0.0)

    def placed(self, corners: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """(across, up, forward) around the middle of the car → world."""
        cos, sin = np.cos(self.heading), np.sin(self.heading)
        across, up, forward = corners.T * self.scale
        return np.stack([self.x + across * cos + forward * sin, up, self.z - across * sin + forward * cos], 1)

    def footprint(self) -> Float[np.ndarray, "4 3"]:
        """The ground under the car, which stays dark without a sun too."""
        half = LENGTHS[self.kind] / 2 - 0.1
        return self.placed(np.array([(-0.9, 0, -half), (0.9, 0, -half), (0.9, 0, half), (-0.9, 0, half)]))

    def solids(self) -> list[Float[np.ndarray, "n 3"]]:
        """What casts its shadow: the floor, both sides, and the stretches of the profile between them."""
        profile = self.outline()
        shell = [
            np.array([(-0.88, y0, z0), (0.88, y0, z0), (0.88, y1, z1), (-0.88, y1, z1)])
            for (z0, y0), (z1, y1) in pairwise(profile)
        ]
        sides = [np.array([(side, up, forward) for forward, up in profile]) for side in (-0.88, 0.88)]
        return [self.footprint(), *map(self.placed, shell + sides)]

    def stretch(self, part: int) -> list[Panel]:
        """A stretch of the profile (0 tail, 1 rear window, 2 roof, 3 windscreen, 4 bonnet, 5 nose) with its fittings.

        The first panel is the shell itself.
        """
        (z0, y0), (z1, y1) = self.outline()[part : part + 2]

        def panel(left: float, right: float, low: float, high: float, albedo: np.ndarray, gloss: float) -> Panel:
            """A rectangle: -1 to 1 across, 0 to 1 along the profile."""
            corners = []
            for across, along in ((left, low), (left, high), (right, high), (right, low)):
                up = y0 + (y1 - y0) * along
                corners.append((across * self.half_width(up), up, z0 + (z1 - z0) * along))
            return Panel(np.array(corners), albedo, gloss)

        panels = [panel(-1, 1, 0, 1, self.paint, 0.06)]
        if part in (0, 5):
            axle, low = z0 + 0.2 if part == 0 else z0 - 0.2, min(y0, y1)
            for left in (-0.84, 0.60):  # the tyres that show under the shell
                tyre = [(left, 0, axle), (left, low, axle), (left + 0.24, low, axle), (left + 0.24, 0, axle)]
                panels.append(Panel(np.array(tyre), DARK, 0.0))
        if part == 3 or (part == 1 and self.kind != "van"):
            panels.append(panel(-0.9, 0.9, 0.08, 0.92, GLASS, 0.13))
        elif part == 1:
            panels += [panel(left, left + 0.77, 0.25, 0.75, GLASS, 0.11) for left in (-0.85, 0.08)]
        elif part == 0:
            red = np.array([2.2, 0.10, 0.06]) if self.braking else np.array([0.45, 0.02, 0.02])
            panels += [panel(-1, 1, 0, 0.3, DARK, 0.02), panel(-0.3, 0.3, 0.42, 0.6, PLATE, 0)]
            panels += [panel(left, left + 0.24, 0.55, 0.92, red, 0.03) for left in (-0.98, 0.74)]
        elif part == 5:
            panels += [panel(-1, 1, 0.7, 1, DARK, 0.02), panel(-0.5, 0.5, 0.2, 0.55, DARK, 0.04)]
            panels += [panel(left, left + 0.35, 0.12, 0.45, LAMP, 0.15) for left in (-0.97, 0.62)]
            panels.append(panel(-0.28, 0.28, 0.6, 0.8, PLATE, 0))
        return panels

    def flank(self, side: int) -> list[Panel]:
        """The left (-1) or right (1) side with windows and wheels."""

        def panel(points: list[tuple[float, float]], albedo: np.ndarray, gloss: float, out: float = 0.0) -> Panel:
            corners = [(side * (self.half_width(up) + out), up, forward) for forward, up in points]
            return Panel(np.array(corners), albedo, gloss)

        profile = self.outline()
        (_, belt), (rear, roof), (front, _), (screen, _) = profile[1:5]
        low, high, pillar = belt + 0.06, roof - 0.07, (rear + front) / 2
        panels = [panel(profile, self.paint, 0.05)]
        back = [(rear, low), (rear + 0.12, high), (pillar - 0.05, high), (pillar - 0.05, low)]
        fore = [(pillar + 0.05, low), (pillar + 0.05, high), (front - 0.04, high), (screen - 0.12, low)]
        panels += [panel(window, GLASS, 0.11) for window in ([fore] if self.kind == "van" else [back, fore])]
        angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
        for axle in (-0.31 * LENGTHS[self.kind], 0.30 * LENGTHS[self.kind]):
            for radius, grey in ((0.38, 0.008), (0.32, 0.025), (0.19, 0.35)):  # arch, tyre, rim
                circle = zip(axle + radius * np.cos(angle), 0.32 + radius * np.sin(angle), strict=True)
                panels.append(panel(list(circle), np.full(3, grey), 0.01, out=0.02))
        return panels

    def faces(self, camera: Camera, light: Light, lit: float) -> list[Face]:
        """What the camera sees of the car, back to front; `lit` is 1 in the sun, 0 in the shadow of a building."""
        groups = [*(self.stretch(part) for part in range(6)), self.flank(-1), self.flank(1)]
        panels = [panel for group in groups for panel in group]
        ends = np.cumsum([len(panel.corners) for panel in panels])[:-1]
        corners = np.split(self.placed(np.concatenate([panel.corners for panel in panels])), ends)
        starts = np.cumsum([0] + [len(group) for group in groups])  # the first panel of a group is the shell itself
        shells = [corners[start] for start in starts[:-1]]
        middles = np.stack([shell.sum(0) / len(shell) for shell in shells])
        a, b, c = (np.stack([shell[k] for shell in shells]) for k in range(3))
        normals = np.cross(b - a, c - a)
        outward = np.sum(normals * (middles - [self.x, 0.7, self.z]), 1, keepdims=True)
        normals *= np.sign(outward) / np.linalg.norm(normals, axis=1, keepdims=True)
        to_eye = np.array([0.0, camera.eye, 0.0]) - middles
        distance = np.linalg.norm(to_eye, axis=1)
        visible = np.sum(normals * to_eye, 1) > 0

        normal = np.repeat(normals, np.diff(starts), 0)
        sky = light.horizon + (light.zenith - light.horizon) * np.maximum(normal[:, 1:2], 0)
        gloss = np.array([[panel.gloss] for panel in panels]) * (0.45 + 0.55 * lit)
        radiance = light.on(np.stack([panel.albedo for panel in panels]), normal, lit) + gloss * sky
        faces = list(zip(corners, radiance, strict=True))
        far_to_near = [g for g in np.argsort(-distance) if visible[g]]
        return [face for g in far_to_near for face in faces[starts[g] : starts[g + 1]]]

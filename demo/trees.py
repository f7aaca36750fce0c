"""Trees: a trunk of polygons and a crown of overlapping balls whose edge and light are broken up by noise."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image

from demo.sprites import Face, Sprite, disc, rasterise, strip
from demo.textures import Noise
from demo.view import Camera, Light

REACH = 1.25  # how far balls and noise may stand out of the crown's width and height
GRID = 32  # cells across a crown's smooth fields, which are then enlarged to its pixels
LEAVES = np.array(
    [
        (0.05, 0.11, 0.02),
        (0.08, 0.15, 0.03),
        (0.03, 0.07, 0.025),
        (0.13, 0.15, 0.03),
        (0.28, 0.15, 0.03),
        (0.22, 0.07, 0.02),
    ]
)
FREQUENT = np.array([0.3, 0.27, 0.2, 0.13, 0.06, 0.04])


@dataclass(frozen=True)
class Tree:
    """A tree, or a bush, at (x, 0, z).

    Attributes:
        clear: height of the crown's foot, metres.
        tall: height of the crown's top, metres.
        radius: half the crown's width, metres.
        balls: (across, up, radius) of the crown's balls in units of (radius, half its height, radius).
        dense: how much of the crown's outline leaves fill, about 0 to 1.
    """

    x: float
    z: float
    clear: float
    tall: float
    radius: float
    balls: Float[np.ndarray, "n 3"]
    leaf: Float[np.ndarray, "3"]
    dense: float
    trunk: float
    lean: float
    shift: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, x: float, z: float, kind: str | None = None, room: float = np.inf
    ) -> "Tree":
        """`kind` is round, slim, cone or bush, drawn too where it is None; `room` bounds the crown's radius, metres."""
        kind = kind or str(rng.choice(["round", "slim", "cone", "bush"], p=[0.62, 0.18, 0.1, 0.1]))
        count = int(rng.integers(12, 19))
        up = rng.uniform(-0.85, 0.85, count)
        reach = 0.75 * (1 - up) / 1.7 if kind == "cone" else 0.75 * np.sqrt(1 - up**2)
        balls = np.stack([rng.uniform(-1, 1, count) * reach, up, rng.uniform(0.26, 0.48, count)], 1)
        balls = np.vstack([balls, [(0, -0.35, 0.6), (0, 0.1, 0.6), (0, 0.5, 0.45 if kind == "cone" else 0.6)]])
        tall = {
            "round": rng.uniform(5, 10),
            "slim": rng.uniform(6, 12),
            "cone": rng.uniform(6, 11),
            "bush": rng.uniform(0.8, 1.6),
        }[kind]
        radius = {
            "round": tall * rng.uniform(0.26, 0.38),
            "slim": tall * 0.16,
            "cone": tall * 0.2,
            "bush": tall * rng.uniform(0.6, 1.1),
        }[kind]
        clear = {"round": rng.uniform(2.0, 3.0), "slim": 1.4, "cone": 0.6, "bush": 0.0}[kind]
        return cls(
            x=x,
            z=z,
            clear=clear,
            tall=tall,
            radius=min(radius, room),
            balls=balls,
            leaf=LEAVES[rng.choice(len(LEAVES), p=FREQUENT)] * rng.uniform(0.7, 1.3, 3),
            dense=rng.uniform(0.45, 1.0),
            trunk=0.035 * tall * rng.uniform(0.7, 1.3),
            lean=rng.normal(0, 0.3),
            shift=rng.uniform(0, 1),
        )

    def crown(self) -> tuple[Float[np.ndarray, "3"], float, float]:
        """Its middle in metres, half its width and half its height."""
        half = (self.tall - self.clear) / 2
        return np.array([self.x + self.lean * 0.5, self.clear + half, self.z]), self.radius, half

    def solids(self) -> list[Float[np.ndarray, "n 3"]]:
        """What casts its shadow: the trunk and the balls, which reach as far back as they reach across."""
        middle, wide, high = self.crown()
        trunk = strip((self.x, 0, self.z), middle, self.trunk, self.trunk * 0.5)
        centres = middle + self.balls[:, [0, 1, 0]] * (wide, high, 0.6 * wide)
        return [trunk, *(disc(c, size * wide * 1.1) for c, size in zip(centres, self.balls[:, 2], strict=True))]

    def wood(self, light: Light, lit: float) -> list[Face]:
        """Trunk and branches."""
        (x, y, z), wide, high = self.crown()
        fork = (self.x + self.lean * 0.3, self.clear, self.z)
        thick = self.trunk
        bars = [
            strip((self.x, 0, self.z), fork, thick, thick * 0.75),
            strip(fork, (x, y, z), thick * 0.75, thick * 0.3),
            strip(fork, (x + wide * 0.45, y, z), thick * 0.5, thick * 0.2),
            strip(fork, (x - wide * 0.45, y - high * 0.1, z), thick * 0.5, thick * 0.2),
        ]
        bark = light.on(np.array([0.09, 0.07, 0.055]), np.array([0.0, 0.2, -0.98]), lit * 0.7)
        return [(bar, bark) for bar in bars]

    def relief(
        self, light: Light
    ) -> tuple[Float[np.ndarray, "g g"], Float[np.ndarray, "g g"], Float[np.ndarray, "g g"]]:
        """The crown as balls, on a grid that spans REACH times its size, top row first.

        Returns:
            How deep a point is inside a ball (1 in its middle, 0 on its edge, below 0 outside of all), the cosine
            between the ball's surface there and the sun, and the height (-1 to 1 over the crown).
        """
        _, wide, high = self.crown()
        cells = ((np.arange(GRID, dtype=np.float32) + 0.5) / GRID * 2 - 1) * REACH
        x, y, size = self.balls.T.astype(np.float32)
        dx = (cells[None, :, None] - x) / size
        dy = (-cells[:, None, None] - y) * (high / wide) / size  # balls are round in metres
        inside = 1 - dx**2 - dy**2
        front = inside.argmax(-1)[..., None]
        body, nx, ny = (np.take_along_axis(a, front, -1)[..., 0] for a in np.broadcast_arrays(inside, dx, dy))
        nz = -np.sqrt(np.clip(body, 0, 1))  # towards the camera
        facing = nx * light.to_sun[0] + ny * light.to_sun[1] + nz * light.to_sun[2]
        return body, facing, np.tile(-cells[:, None], (1, GRID))

    def sprite(self, camera: Camera, light: Light, lit: float, noise: Noise) -> Sprite | None:
        """The whole tree; its paint has holes where the sky shows through the leaves, its outline has none."""
        wood = rasterise(camera, self.wood(light, lit))
        middle, wide, high = self.crown()
        spread = np.array([(-wide, high, 0), (wide, -high, 0)]) * REACH
        (left, top), (right, bottom) = camera.project(middle + spread)
        x0, y0 = int(np.ceil(max(left, 0))), int(np.ceil(max(top, 0)))
        x1, y1 = int(np.floor(min(right, camera.width))), int(np.floor(min(bottom, camera.height)))
        if x0 >= x1 or y0 >= y1:
            return wood
        u, v = (np.arange(x0, x1) - left) / (right - left), (np.arange(y0, y1) - top) / (bottom - top)  # 0 to 1
        box = [float((x0 - left) / (right - left)), float((y0 - top) / (bottom - top))]
        box += [float((x1 - left) / (right - left)), float((y1 - top) / (bottom - top))]

        def enlarge(field: Float[np.ndarray, "g g"]) -> Float[np.ndarray, "h w"]:
            image = Image.fromarray(field)
            return np.asarray(image.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=[b * GRID for b in box]))

        body, facing, above = map(enlarge, self.relief(light))
        u, v = np.meshgrid(
            (2 * REACH * wide * u).astype(np.float32), (2 * REACH * high * v).astype(np.float32)
        )  # metres
        clumps = noise.at(u / 9 + self.shift, v / 9 + self.shift)
        leaves = noise.at(u / 2.3 + self.shift, v / 2.3)
        outline = body + 0.20 * clumps > 0.08
        paint = outline & (body + 0.30 * leaves + 0.22 * clumps > 0.65 - 0.72 * self.dense) & (body + 0.25 * leaves > 0)
        # inner and lower leaves stand in the shade of outer and upper ones
        sunlit = np.clip(0.45 + 0.55 * facing + 0.22 * leaves + 0.12 * clumps, 0, 1.3)[..., None] * lit
        open_sky = np.clip(0.55 + 0.25 * above + 0.15 * leaves + 0.15 * clumps, 0.15, 1.2)[..., None]
        tone = self.leaf * (1 + 0.10 * clumps[..., None] * np.array([1.0, 0.6, 0.2]))
        radiance = (tone * (light.ambient * open_sky + 0.8 * light.sun * sunlit)).astype(np.float32)
        crown = Sprite(x0, y0, radiance, paint, outline)
        return crown if wood is None else crown.over(wood)

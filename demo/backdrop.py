"""What does not move: sky, ground and buildings of a straight street, found by one ray per pixel."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from demo.buildings import GAP, Buildings, Row, paint_fronts
from demo.classes import BUILDING, PAVEMENT, ROAD, SKY
from demo.textures import Noise
from demo.view import Camera, Light

RIGHTWARD, LEFTWARD, TOWARDS, UPWARD = range(4)  # which way a surface faces
WHITE, YELLOW, STONE = (0.62, 0.62, 0.60), (0.60, 0.42, 0.06), (0.30, 0.30, 0.29)
Window = tuple[slice, slice]  # rows, columns
SIDE = 10.0  # metres that a building reaches back from the street
BUILDINGS = 130  # more than the five rows of a street hold
NORMALS = np.array([(1, 0, 0), (-1, 0, 0), (0, 0, -1), (0, 1, 0)], np.float32)


@dataclass(frozen=True)
class Street:
    """The ground plan, metres. X = 0 is the camera; the street runs along Z to its end.

    Attributes:
        kerbs: X of the left and right edge of the road.
        rows: the fronts left and right of the street (in this order), then those behind them.
        end: the fronts that close the view.
        side_streets: (side, start, stop): side is 0 (left) or 1; start and stop are along Z.
        crossings: Z where zebra crossings begin.
        patches: (left, right, start, stop, factor): mended asphalt, lighter or darker.
        asphalt, paving: albedos of road and pavement.
        slab: edge of the paving slabs; 0 for a plain surface.
        lines: paint along the kerbs: 0 none, 1 white, 2 yellow.
    """

    kerbs: tuple[float, float]
    rows: tuple[Row, ...]
    end: Row
    buildings: Buildings
    side_streets: tuple[tuple[int, float, float], ...]
    crossings: tuple[float, ...]
    patches: tuple[tuple[float, float, float, float, float], ...]
    asphalt: Float[np.ndarray, "3"]
    paving: Float[np.ndarray, "3"]
    slab: float
    lines: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Street":
        right = rng.uniform(1.6, 5.0) if rng.random() < 0.85 else rng.uniform(-2.0, -0.5)  # else: from the pavement
        kerbs = (right - rng.uniform(7.2, 11.0), right)
        walls = (kerbs[0] - rng.uniform(2.2, 5.5), kerbs[1] + rng.uniform(2.2, 5.5))
        far = rng.uniform(70, 170)
        buildings = Buildings.draw(rng, BUILDINGS, storeys=rng.uniform(2.0, 4.2))
        rows: list[Row] = []
        first = 0
        for plane in (*walls, walls[0] - 24, walls[1] + 24):
            near = len(rows) < 2
            gap_share = 0.14 if near else 0.25
            rows.append(Row.draw(rng, buildings, plane, (1.0 if near else 6.0, far), first, gap_share))
            first += len(rows[-1].ids)
        end = Row.draw(rng, buildings, far, (-60.0, 60.0), first, gap_share=0.2)
        gaps = [(side, start, stop) for side in (0, 1) for start, stop in rows[side].gaps()]
        return cls(
            kerbs=kerbs,
            rows=tuple(rows),
            end=end,
            buildings=buildings,
            side_streets=tuple((side, start + 1.5, stop - 1.5) for side, start, stop in gaps if rng.random() < 0.6),
            crossings=tuple(rng.uniform(6, 40, rng.choice([0, 1], p=[0.65, 0.35]))),
            patches=tuple(
                (x, x + rng.uniform(0.6, 2.5), z, z + rng.uniform(1.5, 12), rng.uniform(0.6, 1.35))
                for x, z in zip(rng.uniform(*kerbs, 4), rng.uniform(2, 30, 4), strict=True)
            ),
            asphalt=rng.uniform(0.07, 0.19) * np.array([1.0, 1.0, 1.03]) * rng.uniform(0.95, 1.05, 3),
            paving=rng.uniform(0.16, 0.40) * np.array([1.0, 0.94, 0.86]) * rng.uniform(0.94, 1.06, 3),
            slab=float(rng.choice([0.0, 0.6, 0.9])),
            lines=int(rng.integers(0, 3)),
        )

    def on_road(self, x: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Whether points of the ground are road; the rest is pavement."""
        road = (x > self.kerbs[0]) & (x < self.kerbs[1])
        for side, start, stop in self.side_streets:
            outside = x < self.kerbs[0] + 0.1 if side == 0 else x > self.kerbs[1] - 0.1
            road |= outside & (z > start) & (z < stop)
        return road

    def from_kerb(self, x: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Metres to the nearer kerb; infinite where a side street opens there."""
        left, right = np.abs(x - self.kerbs[0]), np.abs(x - self.kerbs[1])
        for side, start, stop in self.side_streets:
            mouth = (z > start) & (z < stop)
            (left if side == 0 else right)[mouth] = np.inf
        return np.minimum(left, right)

    def lit(self, light: Light, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """1 where the sun reaches a point past the buildings, 0 in their shadow."""
        side = 0 if light.to_sun[0] < 0 else 1
        row = self.rows[side]
        way = (row.plane - points[:, 0]) / light.to_sun[0]  # metres towards the sun until the plane of the fronts
        shadow = row.skyline(points[:, 2] + way * light.to_sun[2])[1]
        blocked = (way > 0.01) & (points[:, 1] + way * light.to_sun[1] < shadow)
        return (~blocked).astype(np.float32)


@dataclass(frozen=True)
class Backdrop:
    """The empty street as the camera sees it.

    Attributes:
        radiance: linear RGB.
        label_map: sky, building, road or pavement.
        depth: metres along Z; infinite for the sky.
        ground: which pixels are road or pavement.
    """

    radiance: Float[np.ndarray, "h w 3"]
    label_map: UInt8[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    ground: Bool[np.ndarray, "h w"]


def trace(
    camera: Camera, street: Street
) -> tuple[Float[np.ndarray, "h w"], Int[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """What each pixel's ray meets first: depth (infinite: nothing), building (GAP: none), and which way it faces."""
    x, y = camera.rays
    depth = np.where(y > 1e-6, camera.eye / np.maximum(y, 1e-6), np.inf).astype(np.float32)
    building = np.full(depth.shape, GAP, np.int16)
    facing = np.full(depth.shape, UPWARD, np.uint8)

    def meet(window: Window, z: np.ndarray | float, ids: np.ndarray | int, top: np.ndarray | float, way: int) -> None:
        """Put a front at depth `z` where it stands before what was met so far."""
        up = camera.eye - y[window] * z
        hit = (ids != GAP) & (up > 0) & (up < top) & (z > 0) & (z < depth[window])
        for kept, new in ((depth, z), (building, ids), (facing, way)):
            np.copyto(kept[window], new, where=hit, casting="unsafe")

    end = street.end.plane
    meet((slice(None), slice(None)), end, *street.end.skyline(x * end), TOWARDS)
    margin = camera.width // 20  # roll lets a side reach over the vanishing point
    middle = int(camera.column)
    for row in street.rows:
        left = row.plane < 0
        window = slice(None), slice(0, middle + margin) if left else slice(middle - margin, None)
        z = np.float32(row.plane) / np.where(np.abs(x[window]) < 1e-6, np.float32(1e-6), x[window])
        meet(window, z, *row.skyline(z), RIGHTWARD if left else LEFTWARD)
        previous = 0.0
        outer = row.plane + (-SIDE if left else SIDE)
        for start, name in zip(row.edges[:-1], row.ids, strict=True):
            height = float(street.buildings.eaves[name] + street.buildings.roof[name])
            if height > previous:  # its side that looks down the street shows above, or beside, its neighbour
                corners = np.array([(edge, up, start) for edge in (row.plane, outer) for up in (0.0, height)])
                window = camera.window(corners)
                across = x[window] * np.float32(start)
                beside = (across > min(row.plane, outer)) & (across < max(row.plane, outer))
                meet(window, float(start), np.where(beside, name, GAP), height, TOWARDS)
            previous = height
    return depth, building, facing


def paint_ground(
    street: Street, x: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"], noise: Noise
) -> tuple[Float[np.ndarray, "n 3"], Bool[np.ndarray, " n"]]:
    """Albedo of points on the ground, and which of them are road."""
    road = street.on_road(x, z)
    near = np.clip(9 / z, 0, 1)  # grain that the picture cannot resolve fades out
    kerb = street.from_kerb(x, z)
    tone = 1 + 0.14 * noise.at(x / 17, z / 41) + near * (0.07 * noise.at(x / 2.9, z / 2.9))
    tone += 0.20 * near * noise.speckle(x / 2.3, z / 2.3)
    colour = np.where(road[:, None], street.asphalt, street.paving).astype(np.float32) * tone[:, None]

    def blend(where: Bool[np.ndarray, " n"], paint: tuple[float, float, float], wear: float) -> None:
        """Lay paint, thinner where it is worn."""
        kept = np.clip(wear - 0.25 * noise.at(x[where] / 5.3, z[where] / 5.3), 0.1, 1)[:, None]
        colour[where] += (np.array(paint, np.float32) - colour[where]) * kept

    for left, right, start, stop, factor in street.patches:
        colour[road & (x > left) & (x < right) & (z > start) & (z < stop)] *= factor
    blend(road & (np.abs(x - sum(street.kerbs) / 2) < 0.08) & (z % 9 < 4), WHITE, 0.75)
    for start in street.crossings:
        blend(road & (kerb > 0.3) & (z > start) & (z < start + 3.2) & ((x / 1.1) % 1 < 0.5), WHITE, 0.75)
    if street.lines:
        blend(road & (np.abs(kerb - 0.45) < 0.06), YELLOW if street.lines == 2 else WHITE, 0.75)
    colour[road & (kerb < 0.25)] *= 0.7  # the gutter
    blend(~road & (kerb < 0.2), STONE, 1.0)
    if street.slab:
        across, along = x[~road] / street.slab, z[~road] / street.slab
        column, row = np.floor(across), np.floor(along)
        joint = (across - column < 0.06) | (along - row < 0.06)
        laid = 0.3 * (noise.choice(column, row, salt=3) - 0.5) - 0.4 * joint
        colour[~road] *= (1 + near[~road] * laid)[:, None]
    return np.clip(colour, 0.02, 0.8), road


def paint_sky(
    light: Light, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], noise: Noise
) -> Float[np.ndarray, "n 3"]:
    """Radiance of the sky along rays of slopes `x` and `y` (negative: upwards)."""
    up = np.maximum(-y, 0)
    height = (1 - np.exp(-2.2 * up))[:, None]
    sky = light.horizon + (light.zenith - light.horizon) * height
    towards = (np.stack([x, up, np.ones_like(x)], 1) @ light.to_sun) / np.sqrt(x**2 + up**2 + 1)
    sky = sky + light.sun * (0.9 * np.clip(towards, 0, 1) ** 24)[:, None]
    far = 0.35 / (up + 0.22)  # clouds lie in a plane overhead and shrink towards the horizon
    density = noise.smooth(x * far, far) + 0.35 * noise.smooth(x * far * 3.7, far * 3.7)
    threshold = 1.6 - 3.0 * light.cover
    thick = np.clip((density - threshold) / 0.9, 0, 1)
    shade = 1.0 - 0.22 * np.clip(density - threshold - 0.5, 0, 1.5)  # the bellies of clouds are grey
    cloud = light.cloud * shade[:, None] + light.sun * (0.15 * thick * (1 - thick))[:, None]
    return sky + (cloud - sky) * (thick * np.clip(0.35 + up * 3, 0, 1))[:, None]


def draw_backdrop(
    camera: Camera, street: Street, light: Light, noise: Noise, cast: Float[np.ndarray, "h w"]
) -> Backdrop:
    """Paint and light the empty street; `cast` is the share of sun that things on the street take from the ground."""
    depth, building, facing = (layer.ravel() for layer in trace(camera, street))
    x, y = (slope.ravel() for slope in camera.rays)
    has_sky = np.isinf(depth) | (depth > 4 * street.end.plane)
    has_front = building != GAP
    on_ground = ~has_sky & ~has_front
    sky, front, ground = map(np.flatnonzero, (has_sky, has_front, on_ground))
    radiance = np.empty((len(depth), 3), np.float32)
    label_map = np.full(len(depth), BUILDING, np.uint8)
    label_map[sky] = SKY
    radiance[sky] = paint_sky(light, x[sky], y[sky], noise)

    z = depth[ground]
    points = np.stack([x[ground] * z, np.zeros_like(z), z], 1)
    albedo, road = paint_ground(street, points[:, 0], z, noise)
    label_map[ground] = np.where(road, ROAD, PAVEMENT)
    lit = street.lit(light, points) * (1 - cast.ravel()[ground])
    radiance[ground] = light.through_air(light.on(albedo, NORMALS[[UPWARD]], lit[:, None]), z)

    z, way = depth[front], facing[front]
    points = np.stack([x[front] * z, camera.eye - y[front] * z, z], 1)
    along = np.where(way == TOWARDS, points[:, 0], z)
    aslant = np.where(way == TOWARDS, 1.0, np.minimum(np.abs(x[front]), 1.0))  # sides of the street are foreshortened
    albedo = paint_fronts(street.buildings, building[front], along, points[:, 1], camera.focal / z * aslant, noise)
    normal = NORMALS[way]
    lit = street.lit(light, points + 0.02 * normal)
    radiance[front] = light.through_air(light.on(albedo, normal, lit[:, None]), z)
    size = camera.height, camera.width
    return Backdrop(radiance.reshape(*size, 3), label_map.reshape(size), depth.reshape(size), on_ground.reshape(size))

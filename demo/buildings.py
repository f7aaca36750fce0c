"""Rows of buildings: how high they stand over the street and what their fronts are painted with."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int

from demo.textures import Noise

STEP = 0.05  # metres between the points of an outline
GAP = -1  # stands for a building where there is none

WALLS = np.array(  # linear RGB albedos: red and yellow brick, plasters, concrete, stone, paint
    [
        (0.27, 0.10, 0.07),
        (0.36, 0.17, 0.10),
        (0.42, 0.31, 0.17),
        (0.19, 0.11, 0.09),
        (0.62, 0.57, 0.47),
        (0.68, 0.66, 0.62),
        (0.55, 0.42, 0.24),
        (0.30, 0.30, 0.30),
        (0.44, 0.43, 0.40),
        (0.50, 0.33, 0.27),
        (0.33, 0.38, 0.42),
        (0.36, 0.42, 0.33),
    ]
)
BRICKS = 4  # the first so many of WALLS are laid in courses
ROOFS = np.array([(0.20, 0.08, 0.05), (0.09, 0.09, 0.10), (0.16, 0.13, 0.11), (0.28, 0.12, 0.07)])
GLASS = np.array([0.035, 0.045, 0.055], np.float32)
MIRRORED_SKY = np.array([0.10, 0.16, 0.24], np.float32)
LAMPLIGHT = np.array([1.0, 0.9, 0.75], np.float32)


@dataclass(frozen=True)
class Buildings:
    """A table of n buildings and, as entry -1, the gap: a building of height 0. Lengths are metres.

    Attributes:
        eaves, roof, gable: height of the wall, of the roof above it, and of a pointed front above both.
        chimney: its place along the front, 0 to 1.
        floor, pitch: distance between windows, upwards and along the front.
        glass: share of a window cell that is glass, (along, up).
        ground: height where the regular windows begin; below it are shop windows if `shop`.
        bricks: the wall is laid in courses.
    """

    eaves: Float[np.ndarray, " n"]
    roof: Float[np.ndarray, " n"]
    gable: Float[np.ndarray, " n"]
    chimney: Float[np.ndarray, " n"]
    floor: Float[np.ndarray, " n"]
    pitch: Float[np.ndarray, " n"]
    glass: Float[np.ndarray, "n 2"]
    ground: Float[np.ndarray, " n"]
    shop: Bool[np.ndarray, " n"]
    bricks: Bool[np.ndarray, " n"]
    wall: Float[np.ndarray, "n 3"]
    trim: Float[np.ndarray, "n 3"]
    tiles: Float[np.ndarray, "n 3"]
    fascia: Float[np.ndarray, "n 3"]

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int, storeys: float) -> "Buildings":
        """`count` buildings of about `storeys` floors."""
        n = count + 1
        shop = rng.random(n) < 0.45
        floor = rng.uniform(2.7, 3.6, n)
        ground = np.where(shop, 3.6, 0.6)
        levels = np.clip(np.round(rng.normal(storeys, 1.1, n)), 1, 9) - shop
        eaves = ground + np.maximum(levels, 1) * floor + 0.5
        eaves[GAP] = 0.0
        kind = rng.integers(0, 3, n)  # flat, pitched, gabled
        paint = rng.integers(0, len(WALLS), n)
        tint = rng.uniform(0.75, 1.2, (n, 1)) * rng.uniform(0.92, 1.08, (n, 3))
        dark_trim = rng.random((n, 1)) < 0.3
        table = dict(
            eaves=eaves,
            roof=np.where((kind == 1) & (eaves > 0), rng.uniform(1.5, 3.2, n), 0.0),
            gable=np.where((kind == 2) & (eaves > 0), rng.uniform(1.5, 4.0, n), 0.0),
            chimney=rng.uniform(0.1, 0.9, n),
            floor=floor,
            pitch=rng.uniform(1.7, 4.2, n),
            glass=rng.uniform([0.32, 0.45], [0.75, 0.66], (n, 2)),
            ground=ground,
            shop=shop,
            bricks=paint < BRICKS,
            wall=WALLS[paint] * tint,
            trim=np.where(dark_trim, 0.06, rng.uniform(0.45, 0.75, (n, 1))) * np.ones(3),
            tiles=ROOFS[rng.integers(0, len(ROOFS), n)] * rng.uniform(0.7, 1.3, (n, 1)),
            fascia=rng.uniform(0.02, 0.55, (n, 3)),
        )
        return cls(**{name: v.astype(np.float32) if v.dtype == np.float64 else v for name, v in table.items()})


@dataclass(frozen=True)
class Row:
    """Fronts side by side in one plane: X = `plane` for the sides of the street, Z = `plane` for its end.

    Attributes:
        edges: where each front begins and the last one ends, metres along the plane, rising.
        ids: the building between two edges, or GAP.
        id_at, top_at: building and height of the outline at every STEP along the row; a gap before and after it.
    """

    plane: float
    edges: Float[np.ndarray, " k+1"]
    ids: Int[np.ndarray, " k"]
    id_at: Int[np.ndarray, " m"]
    top_at: Float[np.ndarray, " m"]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        buildings: Buildings,
        plane: float,
        span: tuple[float, float],
        first: int,
        gap_share: float,
    ) -> "Row":
        """Fronts of 5 to 24 m over `span`, with the buildings from number `first` on; some are gaps instead."""
        start, stop = span
        widths = rng.uniform(7, 19, int((stop - start) / 7) + 1)
        edges = start + np.concatenate([[0.0], np.cumsum(widths)])
        edges = np.append(edges[edges < stop - 5], stop)
        ids = np.arange(first, first + len(edges) - 1)
        ids = np.where(rng.random(len(ids)) < gap_share, GAP, ids)

        along = np.arange(start, stop, STEP) + STEP / 2
        slot = np.searchsorted(edges[1:-1], along)
        here, length = ids[slot], np.diff(edges)[slot]
        place = (along - edges[slot]) / length
        peak = buildings.gable[here] * (1 - np.abs(2 * place - 1))
        stack = (np.abs(place - buildings.chimney[here]) * length < 0.55) & (buildings.roof[here] > 0)
        top = buildings.eaves[here] + buildings.roof[here] + peak + 1.3 * stack
        return cls(plane, edges, ids, np.pad(here, 1, constant_values=GAP), np.pad(top, 1).astype(np.float32))

    def gaps(self) -> list[tuple[float, float]]:
        """Where no building stands: from and to, metres along the plane."""
        return [edges for edges, name in zip(pairwise(self.edges.tolist()), self.ids, strict=True) if name == GAP]

    def skyline(
        self, along: Float[np.ndarray, "*shape"]
    ) -> tuple[Int[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
        """The building there and the height of its outline: eaves, roof, pointed front, chimney."""
        step = np.clip((along - self.edges[0]) / STEP + 1, 0, len(self.id_at) - 1).astype(np.int32)
        return self.id_at[step], self.top_at[step]


def paint_shops(
    buildings: Buildings,
    ids: Int[np.ndarray, " n"],
    along: Float[np.ndarray, " n"],
    up: Float[np.ndarray, " n"],
    noise: Noise,
) -> Float[np.ndarray, "n 3"]:
    """Albedo of the lowest 3.6 m of shops: display windows between pillars and a lettered board above them."""
    fascia = buildings.fascia[ids]
    colour = 0.6 * buildings.trim[ids]
    bay = np.abs((along / 4.3) % 1 - 0.5)
    display = (bay < 0.44) & (up > 0.45) & (up < 2.7)
    goods = noise.choice(np.floor(along[display] / 0.43), np.floor(up[display] / 0.75), salt=ids[display])
    colour[display] = (0.035 + 0.14 * goods**4)[:, None] * LAMPLIGHT
    board = (up > 2.75) & (up < 3.45)
    colour[board] = fascia[board]
    letters = board & (bay < 0.25) & (np.abs(up - 3.1) < 0.15)
    letters[letters] &= noise.choice(np.floor(along[letters] / 0.22), np.floor(along[letters] / 4.3), salt=5) > 0.35
    colour[letters] = 0.75 - fascia[letters]
    return colour


def paint_fronts(
    buildings: Buildings,
    ids: Int[np.ndarray, " n"],
    along: Float[np.ndarray, " n"],
    up: Float[np.ndarray, " n"],
    pixels_per_metre: Float[np.ndarray, " n"],
    noise: Noise,
) -> Float[np.ndarray, "n 3"]:
    """Albedo of points on fronts: wall, courses of bricks, windows with frames, doors, shops and roof tiles.

    Args:
        ids: the building of each point.
        along, up: metres in the plane of the front.
        pixels_per_metre: how fine the picture resolves the front here; what it cannot resolve fades to its mean.
    """
    eaves, ground, shop = buildings.eaves[ids], buildings.ground[ids], buildings.shop[ids]
    grain = noise.at(along / 3.1, up / 3.1)
    stain = noise.at(along / 37 + ids * np.float32(0.37), up / 19)
    fine = np.clip(pixels_per_metre / 40 - 0.3, 0, 1)
    course = buildings.bricks[ids] & (fine > 0) & (up * 6.5 - np.floor(up * 6.5) < 0.27)
    colour = buildings.wall[ids] * ((1 + 0.10 * grain + 0.13 * stain) * (1 + 0.35 * fine * course))[:, None]

    pitch = buildings.pitch[ids]
    column, row = along / pitch, (up - ground) / buildings.floor[ids]
    cell = np.floor(column), np.floor(row)
    across, above = np.abs(column - cell[0] - 0.5) * 2, np.abs(row - cell[1] - 0.5) * 2  # 0 amid a cell, 1 at its edge
    wide, tall = buildings.glass[ids].T
    regular = (up > ground) & (up < eaves - 0.4)
    pane = regular & (across < wide) & (above < tall) & ((across > 0.05) | (fine < 0.2))
    frame = regular & (across < wide + 0.10) & (above < tall + 0.10) & ~pane
    resolved = np.clip(pixels_per_metre * pitch / 8 - 0.2, 0, 1)[:, None]  # else a window is finer than the pixels
    luck = noise.choice(cell[0][pane], cell[1][pane], salt=ids[pane])
    glass = GLASS + (luck > 0.62)[:, None] * MIRRORED_SKY + ((luck < 0.22) * (0.15 + luck))[:, None]  # or curtains
    colour[frame] += (buildings.trim[ids[frame]] - colour[frame]) * resolved[frame]
    colour[pane] += (glass - colour[pane]) * (0.25 + 0.75 * resolved[pane])

    roof = (buildings.roof[ids] > 0) & (up > eaves)
    courses = 1 + 0.16 * grain[roof] - 0.25 * fine[roof] * (up[roof] % 0.35 < 0.1)
    colour[roof] = buildings.tiles[ids[roof]] * courses[:, None]
    cornice = np.abs(up - eaves) < 0.22
    colour[cornice] = 0.8 * buildings.trim[ids[cornice]]
    low = shop & (up < 3.6)
    colour[low] = paint_shops(buildings, ids[low], along[low], up[low], noise)
    entry = np.flatnonzero(~shop & (up < 2.2))
    door = entry[np.abs((along[entry] / 6.7) % 1 - 0.5) < 0.075]
    colour[door] = 0.35 * buildings.fascia[ids[door]]
    splashed = 1 - 0.3 * np.exp(-up / 0.8)  # the foot of a wall is dirty
    return np.clip(colour * splashed[:, None], 0.01, 0.85)

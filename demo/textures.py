"""Tileable noise that every surface of a street scene takes its texture from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

TILE = 256  # texels along one side; a power of two, so that wrapping is a bit mask


def value_noise(rng: np.random.Generator, octaves: int = 6, gain: float = 0.6) -> Float[np.ndarray, "tile tile"]:
    """Multi-octave value noise with mean 0 and deviation 1 that continues over its own edges.

    Octave k interpolates a grid of 4·2^k random values; each octave is `gain` times as strong as the one before it.
    """
    total = np.zeros((TILE, TILE), np.float32)
    for octave in range(octaves):
        cells = 4 << octave
        margin = 3  # the bicubic kernel reads two cells beyond the box
        grid = np.pad(rng.random((cells, cells), np.float32), margin, mode="wrap")
        box = (margin, margin, margin + cells, margin + cells)
        layer = Image.fromarray(grid).resize((TILE, TILE), Image.Resampling.BICUBIC, box=box)
        total += gain**octave * np.asarray(layer)
    return (total - total.mean()) / total.std()


@dataclass(frozen=True)
class Noise:
    """The noise of one scene; a lookup's unit is a tile, which holds features from a quarter to a 128th of it.

    Attributes:
        rough: value noise over all scales, mean 0 and deviation 1.
        dice: independent values in [0, 1), for choices per cell (a window, a paving slab).
    """

    rough: Float[np.ndarray, "tile tile"]
    dice: Float[np.ndarray, "tile tile"]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Noise":
        return cls(value_noise(rng), rng.random((TILE, TILE), np.float32))

    def at(self, u: Float[np.ndarray, "*shape"], v: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """The nearest texel: sharp, for grain."""
        columns, rows = (u * TILE).astype(np.int32), (v * TILE).astype(np.int32)
        return self.rough[rows & (TILE - 1), columns & (TILE - 1)]

    def speckle(self, u: Float[np.ndarray, "*shape"], v: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Independent from texel to texel, mean 0 and deviation 1: sand and pebbles."""
        columns, rows = (u * TILE).astype(np.int32), (v * TILE).astype(np.int32)
        return (self.dice[rows & (TILE - 1), columns & (TILE - 1)] - np.float32(0.5)) * np.float32(12**0.5)

    def smooth(self, u: Float[np.ndarray, "*shape"], v: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Between four texels: for clouds, which the picture shows larger than the texels."""
        u, v = u * TILE, v * TILE
        left, top = np.floor(u), np.floor(v)
        du, dv = u - left, v - top
        x0, y0 = left.astype(np.int32) & (TILE - 1), top.astype(np.int32) & (TILE - 1)
        x1, y1 = (x0 + 1) & (TILE - 1), (y0 + 1) & (TILE - 1)
        upper = self.rough[y0, x0] * (1 - du) + self.rough[y0, x1] * du
        lower = self.rough[y1, x0] * (1 - du) + self.rough[y1, x1] * du
        return upper * (1 - dv) + lower * dv

    def choice(
        self, i: Shaped[np.ndarray, "*shape"], j: Shaped[np.ndarray, "*shape"], salt: Shaped[np.ndarray, "*shape"] | int
    ) -> Float[np.ndarray, "*shape"]:
        """A value in [0, 1) for the cell (i, j), whole numbers; `salt` keeps two uses of a cell apart."""
        rows = i.astype(np.int32) * 17 + np.asarray(salt, np.int32) * 71
        columns = j.astype(np.int32) * 29 + np.asarray(salt, np.int32) * 13
        return self.dice[rows & (TILE - 1), columns & (TILE - 1)]

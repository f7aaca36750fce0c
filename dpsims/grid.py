"""Sample grids: one row per label map, with what a person compares side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dpsims.sample import replace

GAP = 2  # white pixels between cells


def save_grid(file: Path, rows: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]]) -> UInt8[np.ndarray, "H W 3"]:
    """Write rows of equally large cells as one PNG; returns the picture."""
    height, width, _ = rows[0][0].shape
    canvas = np.full((len(rows) * (height + GAP) - GAP, len(rows[0]) * (width + GAP) - GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            top, left = i * (height + GAP), j * (width + GAP)
            canvas[top : top + height, left : left + width] = cell
    temporary = file.with_suffix(".tmp")
    Image.fromarray(canvas).save(temporary, "PNG")
    replace(temporary, file)
    return canvas

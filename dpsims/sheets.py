"""Pictures of a data set for a person to look at: what its files hold, and what the nets will see of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from dpsims.labels import IGNORE_INDEX, LabelSpace

WIDTH = 1600  # of a sheet, in pixels
MARGIN, LINE = 12, 18
TEXT, PAPER = (40, 40, 40), (255, 255, 255)
LABEL_OPACITY = 0.6


@dataclass(frozen=True)
class Tile:
    """Pictures of equal height side by side, under a caption."""

    caption: str
    pictures: Sequence[UInt8[np.ndarray, "h w 3"]]


def choose_examples(
    rarest: Sequence[int], best: Sequence[int], num_images: int, count: int
) -> list[tuple[int, int | None]]:
    """Images to look at, in their order: those that show most of the rarest classes, and others at equal distances.

    Args:
        rarest: classes, the rarest first.
        best: per class the image that shows most of it, -1 for none.
        count: of the images wanted, half of which are for rare classes.

    Returns:
        (image, class that it was chosen for or None).
    """
    chosen: dict[int, int | None] = {}
    for label in rarest:
        if best[label] >= 0 and len(chosen) < count // 2:
            chosen.setdefault(best[label], label)
    for index in np.linspace(0, num_images - 1, count).round().astype(int).tolist():
        if len(chosen) < count:
            chosen.setdefault(index, None)
    return sorted(chosen.items())


def overlay(
    image: UInt8[np.ndarray, "h w 3"], label_map: UInt8[np.ndarray, "h w"], space: LabelSpace
) -> UInt8[np.ndarray, "h w 3"]:
    """The image under its classes' colours, with light outlines; ignored pixels are dark."""
    grey = image.mean(axis=2, keepdims=True)
    mixed = (1 - LABEL_OPACITY) * grey + LABEL_OPACITY * space.colorize(label_map)
    mixed[label_map == IGNORE_INDEX] *= 0.5
    edge = np.zeros(label_map.shape, bool)
    edge[:, 1:] |= label_map[:, 1:] != label_map[:, :-1]
    edge[1:] |= label_map[1:] != label_map[:-1]
    mixed[edge] = 0.4 * mixed[edge] + 0.6 * 255
    return mixed.astype(np.uint8)


def color_offsets(offsets: Float[np.ndarray, "2 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Direction to the instance's centre as hue, distance as brightness, the longest in the picture at full."""
    vertical, horizontal = offsets
    distance = np.hypot(vertical, horizontal)
    hue = np.arctan2(vertical, horizontal) / (2 * np.pi) % 1
    hsv = np.stack([hue, np.ones_like(hue), distance / max(distance.max(), 1e-6)], axis=-1)
    return np.array(Image.fromarray((hsv * 255).round().astype(np.uint8), "HSV").convert("RGB"))


def draw_sheet(title: str, tiles: Iterable[Tile], legend: Sequence[tuple[tuple[int, int, int], str]]) -> Image.Image:
    """Tiles in rows of two or three, by their width; below them the colours and what they stand for."""
    font, bold = ImageFont.load_default(13), ImageFont.load_default(18)
    tiles = list(tiles)
    natural = max(sum(picture.shape[1] for picture in tile.pictures) for tile in tiles)
    columns = min(len(tiles), 3 if 3 * natural <= WIDTH else 2)
    tile_width = (WIDTH - MARGIN * (columns + 1)) // columns

    blocks = [_draw_tile(tile, tile_width, font) for tile in tiles]
    rows = [blocks[start : start + columns] for start in range(0, len(blocks), columns)]
    widest = max([font.getlength(text) for _, text in legend], default=0)
    per_line = max(1, int((WIDTH - MARGIN) // (widest + 3 * MARGIN + LINE)))
    legend_lines = -(-len(legend) // per_line)

    heights = [max(block.height for block in row) + MARGIN for row in rows]
    sheet = Image.new("RGB", (WIDTH, 3 * MARGIN + 2 * LINE + sum(heights) + legend_lines * (LINE + 4)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, TEXT, bold)
    top = 2 * MARGIN + LINE
    for row, height in zip(rows, heights, strict=True):
        for column, block in enumerate(row):
            sheet.paste(block, (MARGIN + column * (tile_width + MARGIN), top))
        top += height
    for index, (colour, text) in enumerate(legend):
        line, column = index % legend_lines, index // legend_lines  # read downwards
        left, height = MARGIN + column * (WIDTH - MARGIN) // per_line, top + line * (LINE + 4)
        draw.rectangle((left, height, left + LINE, height + LINE - 4), colour, outline=(120, 120, 120))
        draw.text((left + LINE + 8, height), text, TEXT, font)
    return sheet


def _draw_tile(tile: Tile, width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Scaled so that its pictures and the gaps between them fill `width`."""
    gaps = 2 * (len(tile.pictures) - 1)
    scale = (width - gaps) / sum(picture.shape[1] for picture in tile.pictures)
    height = round(tile.pictures[0].shape[0] * scale)
    block = Image.new("RGB", (width, height + LINE), PAPER)
    caption = tile.caption
    while font.getlength(caption) > width and len(caption) > 1:
        caption = caption[:-2] + "…"
    ImageDraw.Draw(block).text((0, 0), caption, TEXT, font)
    resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS  # large pixels stay what they are
    left = 0.0
    for picture in tile.pictures:
        right = left + picture.shape[1] * scale
        size = (round(right) - round(left), height)
        block.paste(Image.fromarray(picture).resize(size, resample), (round(left), LINE))
        left = right + 2
    return block

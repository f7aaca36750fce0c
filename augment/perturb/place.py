"""Where an object may stand in another place: on what its class stands on, at a height that its class is seen at."""

import numpy as np
from jaxtyping import Bool, Float

from augment.perturb.context import Context
from augment.perturb.scene import Box, Refused, Scene
from augment.perturb.sprite import Sprite

COVERED = 0.6  # share of an object's lowest pixels that must be on ground of a class that was seen under it
TRIES = 4  # rows that are tried in one draw


def choose_place(
    scene: Scene,
    sprite: Sprite,
    rng: np.random.Generator,
    context: Context,
    *,
    scale_range: tuple[float, float],
    near: tuple[float, float] | None = None,
) -> Box:
    """A box for the sprite's base: bottom row as in training, on a support drawn by its share, scaled to the row.

    Args:
        scale_range: the scale is the usual height there over the usual height where it comes from; places that ask for
            a scale out of this range are none.
        near: how far it may go from where it is, (vertical, horizontal), as shares of the frame.

    Raises:
        Refused: if the scene has no such place, or the draw found none.
    """
    height, width = scene.size
    class_id, base = sprite.classes[0], sprite.base
    thing, supports = context.thing(class_id), context.supports.get(class_id)
    if thing is None or supports is None:
        raise Refused("support")
    shares = supports * scene.present()
    if not shares.any():
        raise Refused("support")
    low, high = context.rules.position_range
    first, last = np.ceil(thing.bottom_at(low) * height), np.floor(thing.bottom_at(high) * height)
    columns = slice(0, width)
    if near is not None:
        first, last = max(first, base[2] - near[0] * height), min(last, base[2] + near[0] * height)
        middle = (base[1] + base[3]) / 2
        columns = slice(max(0, round(middle - near[1] * width)), max(0, round(middle + near[1] * width)))
    first, last = max(1, int(first)), min(height - 1, int(last))
    rows, (left_end, right_end) = scene.label_map[first : last + 1, columns], _base_columns(sprite)
    usual = thing.usual_height(base[2] / height)
    scales = np.array([thing.usual_height(row / height) / usual for row in range(first, last + 1)])
    allowed = (scales >= scale_range[0] - 1e-6) & (scales <= scale_range[1] + 1e-6)
    for _ in range(TRIES):
        ground = int(rng.choice(256, p=shares / shares.sum()))
        wanted = thing.bottom_at(rng.uniform(low, high)) * height
        fitting = first + np.flatnonzero((rows == ground).any(axis=1) & allowed)
        if not len(fitting):
            continue
        bottom = int(fitting[np.abs(fitting - wanted).argmin()])
        scale = float(scales[bottom - first])
        size = max(1, round((base[2] - base[0]) * scale)), max(1, round((base[3] - base[1]) * scale))
        start, stop = round(left_end * scale), max(round(left_end * scale) + 1, round(right_end * scale))
        line = scene.label_map[bottom]
        good = (line == ground) & (coverage(supports[line] > 0, stop - start) >= COVERED)
        good[: columns.start] = good[columns.stop :] = False
        if good.any():
            centre = int(rng.choice(np.flatnonzero(good)))
            left = centre - (stop - start) // 2 - start
            return bottom - size[0], left, bottom, left + size[1]
    raise Refused("support")


def coverage(good: Bool[np.ndarray, " w"], size: int) -> Float[np.ndarray, " w"]:
    """Share of good pixels in the `size` pixels around each one, of those inside the line."""
    total = np.concatenate([[0], np.cumsum(good)])
    start = np.arange(len(good)) - size // 2
    stop = np.clip(start + size, 0, len(good))
    start = np.clip(start, 0, len(good))
    return (total[stop] - total[start]) / np.maximum(1, stop - start)


def _base_columns(sprite: Sprite) -> tuple[int, int]:
    """First and last + 1 of the columns in which the base touches the ground, from its left edge on."""
    top, left, bottom, right = sprite.base
    mask = sprite.numbers[top - sprite.box[0] : bottom - sprite.box[0], left - sprite.box[1] : right - sprite.box[1]]
    lowest = mask[-max(1, round(len(mask) * 0.1)) :] == 1
    columns = np.flatnonzero(lowest.any(axis=0))
    return int(columns[0]), int(columns[-1]) + 1

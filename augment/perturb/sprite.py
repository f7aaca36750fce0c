"""Taking objects out of a scene and putting them into one: holes are filled, what is nearer stays in front."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32
from scipy import ndimage

from augment.perturb.context import Context
from augment.perturb.fill import fill, nearest_numbers
from augment.perturb.scene import Box, Object, Scene, padded, window
from dpsims.labels import IGNORE_INDEX

VERTICAL = 1.5  # of `fill`: ground lies in layers, and the horizon is to go on behind a car that is taken out
FRINGE = 0.01  # of the frame's height, at least 2 pixels: ignored pixels this near to an object go with it
AROUND = 4  # times the fringe: where more than half of this is ignored, the object is in the middle of ignored pixels


@dataclass(frozen=True, eq=False)
class Sprite:
    """An object with what it carries.

    Attributes:
        base: box of the object.
        box: box of all.
        numbers: (h, w), 0 = none, k = the k-th of `classes`.
        classes: of the objects, ids.
    """

    base: Box
    box: Box
    numbers: Int32[np.ndarray, "h w"]
    classes: tuple[int, ...]

    @classmethod
    def of(cls, group: list[Object]) -> "Sprite":
        """The first of the group is the base."""
        boxes = np.array([found.box for found in group])
        box = (*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
        numbers = np.zeros((box[2] - box[0], box[3] - box[1]), np.int32)
        for number, found in enumerate(group, start=1):
            top, left, bottom, right = found.box
            inner = numbers[top - box[0] : bottom - box[0], left - box[1] : right - box[1]]
            inner[found.mask] = number
        return cls(group[0].box, box, numbers, tuple(found.class_id for found in group))

    def mirrored(self) -> "Sprite":
        """Left and right changed over, in the same box."""
        left, right = self.box[1], self.box[3]
        base = self.base[0], left + right - self.base[3], self.base[2], left + right - self.base[1]
        return Sprite(base, self.box, np.ascontiguousarray(self.numbers[:, ::-1]), self.classes)

    def fitted(self, to: Box) -> tuple[Box, Int32[np.ndarray, "h w"]]:
        """Where all of it is, and its numbers at that size, if the base goes to the box `to`."""
        vertical = (to[2] - to[0]) / (self.base[2] - self.base[0])
        horizontal = (to[3] - to[1]) / (self.base[3] - self.base[1])
        top = to[2] - round((self.base[2] - self.box[0]) * vertical)
        left = to[1] - round((self.base[1] - self.box[1]) * horizontal)
        height = max(1, round(self.numbers.shape[0] * vertical))
        width = max(1, round(self.numbers.shape[1] * horizontal))
        return (top, left, top + height, left + width), resized(self.numbers, height, width)


def resized(numbers: Int32[np.ndarray, "h w"], height: int, width: int) -> Int32[np.ndarray, "H W"]:
    """Nearest neighbour inside; the outline is where half of a pixel is covered, which is smooth when it grows."""
    old_height, old_width = numbers.shape
    if (height, width) == numbers.shape:
        return numbers
    outline = (numbers > 0).astype(np.float64)
    for axis, (old, new) in enumerate(((old_height, height), (old_width, width))):
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = position.astype(int)
        high = np.minimum(low + 1, old - 1)
        weight = (position - low)[:, None] if axis == 0 else position - low
        outline = outline.take(low, axis) * (1 - weight) + outline.take(high, axis) * weight
    rows = ((np.arange(height) + 0.5) * old_height / height).astype(int)
    columns = ((np.arange(width) + 0.5) * old_width / width).astype(int)
    inside = nearest_numbers(numbers)[np.ix_(rows, columns)]
    return np.where(outline >= 0.5, inside, 0).astype(np.int32)


def with_carried(scene: Scene, found: Object, context: Context) -> tuple[list[Object], list[Object]]:
    """An object and what it carries, as a bicycle carries its rider, and so on upwards; and what these hide a part of.

    Both rest on the object in the label map. Classes tell them apart (`Statistics.carriers`): few poles stand on cars.
    """
    group: list[Object] = [found]
    hidden: list[Object] = []
    for lower in group:  # grows while it is gone through
        top, left, bottom, right = lower.box
        start = max(0, top - 1)
        body = np.pad(lower.mask, ((top - start, 0), (0, 0)))
        above = ~body[:-1] & body[1:]
        ids = scene.label_map[start : bottom - 1, left:right][above]
        for class_id in np.flatnonzero(np.bincount(ids[context.is_thing[ids]], minlength=256)):
            for other in scene.objects(int(class_id)):
                if not any(other is known for known in group + hidden) and _stands_on(other, lower):
                    (group if (lower.class_id, class_id) in context.carries else hidden).append(other)
    return group, hidden


def _stands_on(upper: Object, lower: Object) -> bool:
    rows, columns = upper.base()
    top, left, bottom, right = lower.box
    inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    held = np.count_nonzero(lower.mask[rows[inside] - top, columns[inside] - left])
    return bool(2 * held > len(rows))


def take_out(scene: Scene, group: list[Object], context: Context) -> Scene:
    """The scene without these objects; their pixels take the nearest ground (`Context.is_ground`).

    An object in the middle of ignored pixels leaves ignored pixels: ground there would keep its outline.

    Raises:
        Refused: if there is no ground.
    """
    hole = np.zeros(scene.size, bool)
    spreads = context.is_ground.copy()
    fringe = max(2, round(FRINGE * scene.size[0]))
    for found in group:
        outer = window(padded(found.box, AROUND * fringe, scene.size))
        mask = np.zeros(scene.size, bool)
        mask[found.window] = found.mask
        distance = ndimage.distance_transform_edt(~mask[outer])
        ignored = scene.label_map[outer] == IGNORE_INDEX
        around = (distance > 0) & (distance <= AROUND * fringe)
        if 2 * np.count_nonzero(ignored & around) > np.count_nonzero(around):
            spreads[IGNORE_INDEX] = True
            ignored[:] = False
        hole[outer] |= mask[outer] | (ignored & (distance <= fringe))
    return fill(scene, hole, spreads[scene.label_map] & ~hole, vertical=VERTICAL)


def put(scene: Scene, sprite: Sprite, to: Box, context: Context) -> tuple[Scene, int, int]:
    """The scene with the sprite's base in the box `to`; how many pixels of the sprite can be seen, and how many it has.

    Objects that end below `to` are nearer, and stay in front. Each object gets a new instance id.
    """
    box, numbers = sprite.fitted(to)
    inside = padded(box, 0, scene.size)
    size = int(np.count_nonzero(numbers))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        return scene, 0, size
    numbers = numbers[inside[0] - box[0] : inside[2] - box[0], inside[1] - box[1] : inside[3] - box[1]]
    seen = (numbers > 0) & ~nearer(scene, inside, to[2], context)
    label_map = scene.label_map.copy()
    label_map[window(inside)][seen] = np.array(sprite.classes, np.uint8)[numbers[seen] - 1]
    instances = None
    if scene.instances is not None:
        instances = scene.instances.copy()
        instances[window(inside)][seen] = numbers[seen] + scene.instances.max()
    return Scene(label_map, instances), int(np.count_nonzero(seen)), size


def nearer(scene: Scene, box: Box, bottom: int, context: Context) -> Bool[np.ndarray, "h w"]:
    """Which pixels of a box belong to objects that end below the row `bottom`."""
    ids = scene.label_map[window(box)]
    mask = np.zeros(ids.shape, bool)
    for class_id in np.flatnonzero(np.bincount(ids[context.is_thing[ids]], minlength=256)):
        for found in scene.objects(int(class_id)):
            top, left = max(box[0], found.box[0]), max(box[1], found.box[1])
            end, right = min(box[2], found.box[2]), min(box[3], found.box[3])
            if found.box[2] > bottom and top < end and left < right:
                part = found.mask[top - found.box[0] : end - found.box[0], left - found.box[1] : right - found.box[1]]
                mask[top - box[0] : end - box[0], left - box[1] : right - box[1]] |= part
    return mask

"""Operations on objects of the scene: move, scale, drop, swap the class."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from augment.perturb.context import Context
from augment.perturb.crumbs import swept
from augment.perturb.options import check_bounds, check_range
from augment.perturb.place import choose_place
from augment.perturb.scene import Object, Refused, Scene
from augment.perturb.sprite import Sprite, put, take_out, with_carried


@dataclass(frozen=True)
class Move:
    """An object, with what it carries, goes to another place of its scene; its hole is filled.

    Attributes:
        classes: which things; None is all.
        distance: how far, at most, as a share of the frame.
        scale_range: of the scale that the new place asks for; other places are none.
    """

    p: float = 0.5
    classes: tuple[str, ...] | None = None
    distance: float = 0.4
    scale_range: tuple[float, float] = (0.5, 2.0)

    needs_things: ClassVar[bool] = True
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_bounds("distance", self.distance, 0.01, 1)
        check_range("scale_range", self.scale_range, 0.1, 10)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        found = draw_object(scene, rng, context, self.classes)
        if found is None:
            return None
        group = movable_group(scene, found, context)
        sprite, rest = Sprite.of(group), take_out(scene, group, context)
        near = (self.distance, self.distance)
        to = choose_place(rest, sprite, rng, context, scale_range=self.scale_range, near=near)
        check_visible(rest, sprite, to, context)
        return {"class": context.space.classes[found.class_id], "pixel": list(found.pixel), "to": list(to)}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        return replaced(scene, parameters, context)


@dataclass(frozen=True)
class Scale:
    """An object, with what it carries, grows or shrinks where it stands; its hole is filled.

    Attributes:
        classes: which things; None is all.
        scale_range: of its height and width.
    """

    p: float = 0.5
    classes: tuple[str, ...] | None = None
    scale_range: tuple[float, float] = (0.8, 1.25)

    needs_things: ClassVar[bool] = True
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("scale_range", self.scale_range, 0.1, 10)

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        found = draw_object(scene, rng, context, self.classes)
        if found is None:
            return None
        scale = float(np.exp(rng.uniform(*np.log(self.scale_range))))
        top, left, bottom, right = found.box
        width = max(1, round((right - left) * scale))
        left = round((left + right - width) / 2)
        to = bottom - max(1, round((bottom - top) * scale)), left, bottom, left + width
        if to == found.box:
            raise Refused("same")
        group = movable_group(scene, found, context)
        check_visible(take_out(scene, group, context), Sprite.of(group), to, context)
        return {"class": context.space.classes[found.class_id], "pixel": list(found.pixel), "to": list(to)}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        return replaced(scene, parameters, context)


@dataclass(frozen=True)
class Drop:
    """An object goes, with what it carries or hides a part of; the hole takes the nearest classes that are no things.

    Attributes:
        classes: which things; None is all.
    """

    p: float = 0.5
    classes: tuple[str, ...] | None = None

    needs_things: ClassVar[bool] = True
    keeps_rules: ClassVar[bool] = False

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        least = context.rules.min_pixels(scene.size)
        kinds = [[o for o in scene.objects(label) if o.area >= least] for label in context.ids_of(self.classes)]
        kinds = [objects for objects in kinds if objects]
        if not kinds:
            return None
        objects = kinds[rng.integers(len(kinds))]
        found = objects[rng.integers(len(objects))]
        return {"class": context.space.classes[found.class_id], "pixel": list(found.pixel)}

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        group, hidden = with_carried(scene, object_of(scene, parameters), context)
        rest = take_out(scene, group + hidden, context)
        return swept(scene, rest, context)


@dataclass(frozen=True)
class Swap:
    """An object becomes one of another class of its group, in the same pixels.

    Attributes:
        groups: names of classes that look alike in outline, such as [car, truck, bus].
    """

    groups: tuple[tuple[str, ...], ...]
    p: float = 0.5

    needs_things: ClassVar[bool] = True
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        names = [name for group in self.groups for name in group]
        if not self.groups or min(map(len, self.groups)) < 2 or len(names) != len(set(names)):
            raise ValueError(f"groups is lists of two or more classes, no class twice, not {list(self.groups)}")

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        groups = {context.id_of(name): context.ids_of(group) for group in self.groups for name in group}
        found = draw_object(scene, rng, context, tuple(context.space.classes[label] for label in groups))
        if found is None:
            return None
        others = [label for label in groups[found.class_id] if label != found.class_id]
        to_class = others[rng.integers(len(others))]
        names = context.space.classes
        return {
            "class": names[found.class_id],
            "to_class": names[to_class],
            "pixel": list(found.pixel),
            "to": list(found.box),
        }

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        found = object_of(scene, parameters)
        label_map = scene.label_map.copy()
        label_map[found.window][found.mask] = context.id_of(parameters["to_class"])
        return swept(scene, Scene(label_map, scene.instances), context)


def draw_object(
    scene: Scene, rng: np.random.Generator, context: Context, classes: tuple[str, ...] | None
) -> Object | None:
    """A class that the scene holds, then one of its objects in full view; None where there are none."""
    movable = list(context.movable(scene, context.ids_of(classes)).values())
    if not movable:
        return None
    objects = movable[rng.integers(len(movable))]
    return objects[rng.integers(len(objects))]


def object_of(scene: Scene, parameters: dict) -> Object:
    """The object that recorded parameters name."""
    found = scene.object_at(*parameters["pixel"])
    assert found is not None, f"there is no object at {parameters['pixel']}"
    return found


def movable_group(scene: Scene, found: Object, context: Context) -> list[Object]:
    """An object and what it carries; refused if without it half an object would be left."""
    group, hidden = with_carried(scene, found, context)
    if hidden:
        raise Refused("hides")
    return group


def replaced(scene: Scene, parameters: dict, context: Context) -> Scene:
    """An object of the scene, put where the parameters say."""
    group, _ = with_carried(scene, object_of(scene, parameters), context)
    rest = take_out(scene, group, context)
    return swept(scene, put(rest, Sprite.of(group), tuple(parameters["to"]), context)[0], context)


def check_visible(scene: Scene, sprite: Sprite, to: tuple[int, int, int, int], context: Context) -> None:
    """Refuse a place where too little of a sprite would be seen, in share or in pixels."""
    _, seen, size = put(scene, sprite, to, context)
    if seen < context.rules.min_visible * size:
        raise Refused("hidden")
    if seen < context.rules.min_pixels(scene.size):
        raise Refused("area")

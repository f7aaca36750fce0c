"""Objects of other label maps, put where their class stands in training."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from augment.perturb.context import Context
from augment.perturb.crumbs import swept
from augment.perturb.moving import check_visible, object_of
from augment.perturb.options import check_range
from augment.perturb.place import choose_place
from augment.perturb.scene import Scene
from augment.perturb.sprite import Sprite, put, with_carried

BOOSTS = (None, "rare")


@dataclass(frozen=True)
class Paste:
    """An object of another label map, with what it carries, comes into the scene.

    Attributes:
        classes: which things; None is all.
        boost: None takes the training set's objects as they come. "rare" draws a class with P(c) ∝ f_c^(-1/2), f_c
            being the share of training maps that hold it, then one of its objects.
        scale_range: of the scale that the new place asks for; other places are none.
    """

    p: float = 0.5
    classes: tuple[str, ...] | None = None
    boost: str | None = None
    scale_range: tuple[float, float] = (0.33, 3.0)

    needs_things: ClassVar[bool] = True
    keeps_rules: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("scale_range", self.scale_range, 0.1, 10)
        if self.boost not in BOOSTS:
            raise ValueError(f"boost is rare or null, not {self.boost!r}")

    def draw(self, scene: Scene, rng: np.random.Generator, context: Context) -> dict | None:
        rows = context.donor_rows
        classes = [label for label in context.ids_of(self.classes) if label in rows]
        if not classes:
            return None
        if self.boost == "rare":
            weights = context.statistics.share[classes] ** -0.5
        else:
            weights = np.array([len(rows[label]) for label in classes], float)
        class_id = classes[rng.choice(len(classes), p=weights / weights.sum())]
        row = int(rng.choice(rows[class_id]))
        source = context.donors.key_of(row)
        donor = context.donor(source)
        _, first, column, *_ = context.donors.objects[row].tolist()
        found = donor.object_at(first, column)
        if found is None or found.class_id != class_id:
            raise ValueError(f"the label map {source!r} has changed since its objects were listed")
        sprite = Sprite.of(with_carried(donor, found, context)[0])
        mirrored = bool(rng.random() < 0.5)
        if mirrored:
            sprite = sprite.mirrored()
        to = choose_place(scene, sprite, rng, context, scale_range=self.scale_range)
        check_visible(scene, sprite, to, context)
        return {
            "class": context.space.classes[class_id],
            "source_key": source,
            "pixel": [first, column],
            "mirrored": mirrored,
            "to": list(to),
        }

    @staticmethod
    def apply(scene: Scene, parameters: dict, context: Context) -> Scene:
        donor = context.donor(parameters["source_key"])
        sprite = Sprite.of(with_carried(donor, object_of(donor, parameters), context)[0])
        if parameters["mirrored"]:
            sprite = sprite.mirrored()
        return swept(scene, put(scene, sprite, tuple(parameters["to"]), context)[0], context)

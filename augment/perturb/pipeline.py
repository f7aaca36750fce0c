"""The perturbation of a label map: operations drawn, applied, checked, drawn again, counted and recorded."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from augment.perturb.context import Context
from augment.perturb.donors import Donors
from augment.perturb.recipe import OPERATIONS, Operation, Recipe
from augment.perturb.scene import Refused, Scene
from augment.perturb.statistics import Statistics
from augment.perturb.validity import check
from dpsims.labels import LabelSpace


class Perturbed(NamedTuple):
    """What became of a scene.

    Attributes:
        records: the operations that were done, in order: {"op": name, …parameters}; plain JSON.
        counts: "NAME.done", "NAME.nothing" (nothing there to do it to), "NAME.redrawn.REASON", "NAME.left_out" (drawn
            again too often).
    """

    scene: Scene
    records: list[dict]
    counts: Counter[str]


class Perturbation:
    """Perturbs scenes by a recipe; a function of (recipe, statistics, donors, scene, seed). Threads may share it.

    Args:
        statistics: of the training label maps, taken with the recipe's things and at the size of the scenes.
        donors: the label maps that objects and halves come from.
    """

    def __init__(self, recipe: Recipe, space: LabelSpace, statistics: Statistics, donors: Donors) -> None:
        assert statistics.classes == list(space.classes)
        self.recipe = recipe
        self.context = Context(space, recipe.thing_ids(space), recipe.rules, statistics, donors)

    def perturb(self, scene: Scene, seed: int) -> Perturbed:
        """Try each operation with its probability. Its random numbers are its own: more operations after it, or other
        options before it, do not change them."""
        assert scene.size == (self.context.statistics.height, self.context.statistics.width), scene.size
        records: list[dict] = []
        counts: Counter[str] = Counter()
        for position, (name, operation) in enumerate(self.recipe.operations, start=1):
            rng = np.random.default_rng((seed, position))
            if rng.random() >= operation.p:
                continue
            done = self._do(name, operation, scene, rng, counts)
            if done is not None:
                scene, parameters = done
                records.append({"op": name, **parameters})
        return Perturbed(scene, records, counts)

    def replay(self, scene: Scene, records: Sequence[dict]) -> Scene:
        """Do again what the records of a perturbation say."""
        for record in records:
            scene = OPERATIONS[record["op"]].apply(scene, record, self.context)
        return scene

    def _do(
        self, name: str, operation: Operation, scene: Scene, rng: np.random.Generator, counts: Counter[str]
    ) -> tuple[Scene, dict] | None:
        for _ in range(self.recipe.rules.redraws + 1):
            try:
                parameters = operation.draw(scene, rng, self.context)
                if parameters is None:
                    counts[f"{name}.nothing"] += 1
                    return None
                perturbed = operation.apply(scene, parameters, self.context)
                if not operation.keeps_rules:
                    check(scene, perturbed, parameters, self.context)
            except Refused as refused:
                counts[f"{name}.redrawn.{refused.reason}"] += 1
                continue
            counts[f"{name}.done"] += 1
            return perturbed, parameters
        counts[f"{name}.left_out"] += 1
        return None

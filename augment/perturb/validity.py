"""Whether a perturbed map is one that could be in the training set, by rules that compare it with the map before."""

import numpy as np

from augment.perturb.context import Context
from augment.perturb.scene import Refused, Scene
from augment.perturb.statistics import centre
from dpsims.labels import IGNORE_INDEX

SLACK = 0.05  # of the height: how far the mean row of a class may leave its usual range


def check(before: Scene, after: Scene, parameters: dict, context: Context) -> None:
    """See that an operation kept the rules. What the map before broke already is no fault of the operation.

    Args:
        parameters: of the operation; `to` is where it put an object of `to_class`, or else `class`.

    Raises:
        Refused: with the rule as its reason: ids, together, position, height, centre.
    """
    changed = before.label_map != after.label_map
    if not changed.any():
        return
    _check_classes(before, after, context)
    if "to" in parameters:
        name = parameters.get("to_class", parameters["class"])
        reason = context.placeable(context.id_of(name), tuple(parameters["to"]), after.size[0])
        if reason is not None:
            raise Refused(reason)
    for class_id in np.flatnonzero(np.bincount(after.label_map[changed], minlength=256)[:IGNORE_INDEX]).tolist():
        if _strays(before, after, class_id, context):
            raise Refused("centre")


def _check_classes(before: Scene, after: Scene, context: Context) -> None:
    """Known ids, and no two classes that never met in training."""
    present, num_classes = after.present(), context.space.num_classes
    if present[num_classes:IGNORE_INDEX].any():
        raise Refused("ids")
    new = np.flatnonzero(present[:num_classes] & ~before.present()[:num_classes])
    if len(new):
        together = context.together[new][:, present[:num_classes]]
        if together.min() < context.rules.min_images:
            raise Refused("together")


def _strays(before: Scene, after: Scene, class_id: int, context: Context) -> bool:
    """Whether the mean row of a class has gone further out of its usual range than it was."""
    usual = context.statistics.centres.get(context.space.classes[class_id])
    if usual is None:
        return False  # a class that training never saw: `together` decides

    def beyond(scene: Scene) -> float:
        row = centre(scene, class_id)
        return max(0.0, usual[0] - SLACK - row, row - usual[1] - SLACK)

    now = beyond(after)
    return now > 0 and (not before.present()[class_id] or now > beyond(before))

"""Small street-like scenes, and what perturbations need to know of a training set made of them."""

from collections.abc import Mapping, Sequence

import numpy as np

from augment.perturb.context import Context, Rules
from augment.perturb.donors import Donors
from augment.perturb.scene import Scene
from augment.perturb.statistics import Statistics, summarize
from dpsims.labels import LabelSpace, default_palette

SKY, ROAD, CAR, VAN, TREE = range(5)
CLASSES = ("sky", "road", "car", "van", "tree")
SPACE = LabelSpace(CLASSES, default_palette(len(CLASSES)))
THINGS = (CAR, VAN)
RULES = Rules(min_area=0.004)


def street(
    *cars: tuple[int, int, int, int], size: tuple[int, int] = (32, 48), horizon: int = 12, kind: int = CAR
) -> Scene:
    """Sky over road, with things in boxes (top, left, bottom, right); those that come later are in front."""
    label_map = np.full(size, ROAD, np.uint8)
    label_map[:horizon] = SKY
    for top, left, bottom, right in cars:
        label_map[top:bottom, left:right] = kind
    return Scene(label_map)


def fresh(scene: Scene) -> Scene:
    """The same scene, of which nobody has asked anything yet, with arrays that cannot be written to."""
    arrays = [scene.label_map.copy(), None if scene.instances is None else scene.instances.copy()]
    for array in arrays:
        if array is not None:
            array.flags.writeable = False
    return Scene(*arrays)


def context_of(
    maps: Sequence[Scene] | Mapping[str, Scene], rules: Rules = RULES, things: Sequence[int] = THINGS
) -> Context:
    """Statistics and donors of these training maps, called "0", "1", … where they have no names."""
    named = maps if isinstance(maps, Mapping) else {str(i): scene for i, scene in enumerate(maps)}
    size = next(iter(named.values())).size
    summaries = {
        key: summarize(scene, things=things, num_classes=len(CLASSES), min_pixels=rules.min_pixels(size))
        for key, scene in named.items()
    }
    statistics = Statistics.of(summaries.values(), SPACE, things, size)
    donors = Donors(lambda key: fresh(named[key]), {key: summary.objects for key, summary in summaries.items()})
    return Context(SPACE, tuple(things), rules, statistics, donors)

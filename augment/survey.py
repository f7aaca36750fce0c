"""One look at all label maps before anything is made of them: which classes they hold, which objects, which are bad."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from PIL import Image
from tqdm import tqdm

from augment.ordered_map import thread_pool
from augment.perturb.donors import Donors
from augment.perturb.pipeline import Perturbation
from augment.perturb.recipe import Recipe
from augment.perturb.scene import Scene
from augment.perturb.statistics import MapSummary, Statistics, summarize
from augment.sources import LabelSource, check_lasting
from dpsims.frame import fit, fit_label_map
from dpsims.labels import LabelSpace


@dataclass(frozen=True)
class Reader:
    """Reads label maps as the generator takes them.

    Attributes:
        space: of the classes, with the numbering of the files.
        size: (height, width) in pixels; None leaves them as they are, without instances.
        instances: read their instance maps, too: all must have one.
        where_given: read those that there are, for the objects in them.
    """

    space: LabelSpace
    size: tuple[int, int] | None
    instances: bool
    where_given: bool = False

    def __call__(self, source: LabelSource) -> Scene:
        """A ValueError or OSError says what is wrong with the file."""
        label_map, instances = source.read(self.space), None
        if self.size is None:
            return Scene(label_map, None)
        if self.instances or (self.where_given and source.has_instances()):
            found = source.read_instances(label_map.shape[::-1])
            instances = np.array(fit(found, *self.size, resample=Image.Resampling.NEAREST)).astype(np.int32)
        return Scene(fit_label_map(label_map, *self.size), instances)


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        sources: the label maps.
        summaries: of each of them; None where it cannot be read.
    """

    sources: Sequence[LabelSource]
    summaries: list[MapSummary | None]

    @property
    def pixels(self) -> Int[np.ndarray, "n c"]:
        """How many of each class a label map holds; a bad one holds none."""
        classes = next(len(summary.pixels) for summary in self.summaries if summary is not None)
        nothing = [0] * classes
        return np.array([summary.pixels if summary else nothing for summary in self.summaries])

    @property
    def presence(self) -> Bool[np.ndarray, "n c"]:
        """Which label map holds which class."""
        return self.pixels > 0

    def perturbation(self, recipe: Recipe, reader: Reader) -> Perturbation:
        """A recipe with what these label maps are like, and with them as donors."""
        by_key = {source.source_key: source for source in self.sources}
        good = {key: summary for key, summary in zip(by_key, self.summaries, strict=True) if summary is not None}
        things = recipe.thing_ids(reader.space)
        statistics = Statistics.of(good.values(), reader.space, things, reader.size)
        donors = Donors(lambda key: reader(by_key[key]), {key: summary.objects for key, summary in good.items()})
        return Perturbation(recipe, reader.space, statistics, donors)


def survey(
    sources: Sequence[LabelSource],
    reader: Reader,
    recipe: Recipe | None = None,
    *,
    threads: int,
    progress: bool = False,
) -> Survey:
    """Read all label maps.

    Args:
        recipe: whose things are noted.

    Raises:
        ValueError: none can be read; the message is that of the first.
    """
    classes, errors = reader.space.num_classes, []
    things = recipe.thing_ids(reader.space) if recipe is not None else ()
    min_pixels = recipe.rules.min_pixels(reader.size) if recipe is not None else 1

    def look(source: LabelSource) -> MapSummary | None:
        try:
            return summarize(reader(source), things=things, num_classes=classes, min_pixels=min_pixels)
        except (ValueError, OSError) as error:
            check_lasting(error)
            errors.append(str(error))
            return None

    with thread_pool(threads) as pool:
        looks = pool.map(look, sources)
        bar = tqdm(looks, "label maps", len(sources), unit="map", leave=False, disable=None if progress else True)
        summaries = list(bar)
    if not any(summaries):
        raise ValueError(f"none of the {len(sources)} label maps can be read; {errors[0]}")
    return Survey(sources, summaries)

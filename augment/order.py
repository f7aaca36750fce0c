"""From what a person asks for to a plan: which label maps, how their ids are read, how many images of each."""

from collections.abc import Collection, Sequence
from pathlib import Path

import yaml

from augment.budget import allot, meet, parse_targets, read_counts, weigh
from augment.perturb.recipe import Recipe, load_perturbation
from augment.reading import OWN, Reading, check_classes, check_train_ids, find_own_reading, find_reading
from augment.shards import MANIFEST, read_manifest
from augment.sources import LabelFile, LabelSource, find_sources
from augment.survey import Survey
from dpsims.labels import LabelSpace
from dpsims.run_folder import run_of


def choose_label_maps(
    labels: Path | None,
    split: str | None,
    layout: str | None,
    generator: Path | None,
    allow_splits: Collection[str],
    *,
    objects: bool,
) -> tuple[Path, list[LabelSource]]:
    """The folder and the label maps that `--labels`, `--split` and `--layout` mean; what they leave open is as in the
    generator's training.

    Args:
        generator: run folder or snapshot; None where there is none to be had.
        objects: instance maps are needed, also where they have to be drawn first.

    Raises:
        ValueError: nothing tells where label maps are, or as of `find_sources`.
    """
    run = run_of(generator) if generator is not None else None
    config = yaml.safe_load((run / "config.yaml").read_text()) if run is not None else {}
    trained = config.get("data") if isinstance(config, dict) else None
    trained = trained if isinstance(trained, dict) else {}  # else of something else
    if labels is None:
        if generator is None:
            raise ValueError("--labels is needed, or a --generator whose run names them")
        if "root" not in trained:
            raise ValueError(f"--labels is needed: {generator} is in no run folder, whose config.yaml would name them")
        labels, split = Path(trained["root"]), split or trained["train_split"]
    labels, layout = labels.absolute(), layout or trained.get("layout") or "generic"  # other processes, other folders
    return labels, find_sources(labels, split, layout, allow_splits, objects=objects)


def choose_reading(
    named: str | None,
    labels: Path,
    sources: Sequence[LabelSource],
    generator: Path | None = None,
    space: LabelSpace | None = None,
) -> Reading:
    """How the label maps' ids are read; those in shards are the classes' own.

    Args:
        generator, space: whose classes they must be, if there is one.
    """
    if (labels / MANIFEST).is_file():
        if named not in (None, OWN):
            raise ValueError(f"--label-space {named}: the ids in shards are the classes' own")
        found = LabelSpace.from_meta(read_manifest(labels)["label_space"], source=str(labels / MANIFEST))
        reading = Reading(found, OWN, f"as {labels / MANIFEST} says")
        if generator is not None:
            check_classes(reading, space, generator)
        return reading
    if generator is None:
        reading = find_own_reading(named, labels)
    else:
        reading = find_reading(named, labels, generator, space)
    check_train_ids(reading, [source.file for source in sources if isinstance(source, LabelFile)])
    return reading


def read_recipe(name: str, space: LabelSpace) -> Recipe:
    """A perturbation by a preset's name or its file; a ValueError names that and the key that is wrong."""
    values = load_perturbation(name)
    try:
        return Recipe.from_dict(values, space)
    except ValueError as error:
        raise ValueError(f"--perturb {name}: {error}") from None


def share_out(
    budget: str, targets: Sequence[str], sources: Sequence[LabelSource], found: Survey | None, space: LabelSpace
) -> list[int]:
    """Images of each label map by `--budget` and `--target`. A bad label map gets one, whose row says what is wrong.

    Args:
        found: needed if the budget is a number.
    """
    if not budget.isdecimal():
        counts = read_counts(Path(budget), [source.source_key for source in sources])
        if not any(counts):
            raise ValueError(f"--budget {budget} asks for no image of any of the {len(sources)} label maps")
        return counts
    images = int(budget)
    bad = sum(summary is None for summary in found.summaries)
    if images <= bad:
        raise ValueError(f"--budget {images} is to be more than the {bad} label maps that cannot be read")
    good = [index for index, summary in enumerate(found.summaries) if summary is not None]
    presence, shares = found.presence[good], parse_targets(targets, space, images)
    counts = [1] * len(sources)
    allotted = meet(allot(weigh(presence, shares, space), images - bad), presence, shares, images)
    for index, count in zip(good, allotted, strict=True):
        counts[index] = count
    return counts

"""How the ids in label files are read: as named, or as the files tell, or the run of the generator they are for."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import yaml

from dpsims.labels import LABEL_SPACES, TRAIN_IDS, LabelSpace, label_space_names, load_label_space
from dpsims.run_folder import run_of

OWN = "own"  # in place of a label space's name: the ids of the generator itself, as in the shards
HINT = "; --label-space says how the ids are read"


@dataclass(frozen=True)
class Reading:
    """A label space of the generator's classes, whose `raw_to_id` is that of the files.

    Attributes:
        name: of an official data set, or a file, or "own".
        reason: where that comes from, in words.
    """

    space: LabelSpace
    name: str
    reason: str


def find_reading(named: str | None, labels: Path, generator: Path, own: LabelSpace) -> Reading:
    """How label files are to be read.

    Args:
        named: an official data set, a file such as meta.json, or "own"; None takes the first that there is: the
            meta.json in or above `labels`, the label space that the generator's run was trained with, its own.
        labels: folder of the files.
        generator: run folder or snapshot.
        own: label space of the generator.

    Raises:
        ValueError: no such label space, classes that are not the generator's, or no telling how the ids are meant.
    """
    reading = _find_named(named, own) if named is not None else _find_default(labels, generator)
    if reading is None:
        for name in label_space_names():
            if load_label_space(LABEL_SPACES / f"{name}.json").classes == own.classes:
                raise ValueError(
                    f"{generator} has the classes of {name}, and nothing tells how the ids in {labels} are meant: "
                    f"--label-space {name} is for its official files, --label-space {OWN} for 0 to "
                    f"{own.num_classes - 1} and 255"
                )
        reading = Reading(own, OWN, "no meta.json and no run tell otherwise")
    check_classes(reading, own, generator)
    return reading


def find_own_reading(named: str | None, labels: Path) -> Reading:
    """How label files are to be read where there is no generator whose classes they must have.

    Args:
        named: an official data set, or a file such as meta.json; None takes the meta.json in or above `labels`.

    Raises:
        ValueError: no such label space, or none that is named and no meta.json.
    """
    if named == OWN:
        raise ValueError(f"--label-space {OWN} takes the ids as those of a --generator, and none is named")
    reading = _find_named(named, None) if named is not None else _find_beside(labels)
    if reading is None:
        raise ValueError(f"{labels}: no meta.json in it or above names the classes{HINT}, and so does --generator")
    return reading


def check_train_ids(reading: Reading, files: Iterable[Path]) -> None:
    """Refuse files that by their name hold ids of the classes already, where an official data set's are expected."""
    if reading.name in label_space_names():
        for file in files:
            if file.name.endswith(TRAIN_IDS):
                raise ValueError(
                    f"{file} holds train ids by its name, but would be read by the official ids of {reading.name}; "
                    f"--label-space {OWN} takes them as they are"
                )


def _find_named(named: str, own: LabelSpace | None) -> Reading:
    reason = "by --label-space"
    if named == OWN and own is not None:
        return Reading(own, OWN, reason)
    if named in label_space_names():
        return Reading(load_label_space(LABEL_SPACES / f"{named}.json"), named, reason)
    if not Path(named).is_file():
        listed = ", ".join([*label_space_names(), OWN])
        raise ValueError(f"--label-space is one of {listed}, or a file such as meta.json, not {named!r}")
    return Reading(load_label_space(Path(named)), named, reason)


def _find_default(labels: Path, generator: Path) -> Reading | None:
    beside, trained = _find_beside(labels), _find_trained(generator, labels)
    if beside is None or trained is None:
        return beside or (trained and trained[0])
    reading, same_data = trained
    if same_data and reading.space.raw_to_id != beside.space.raw_to_id:
        raise ValueError(f"{beside.name} and {reading.name}, {reading.reason}, number the classes differently{HINT}")
    return beside


def _find_beside(labels: Path) -> Reading | None:
    folder = labels.absolute()
    file = next((above / "meta.json" for above in (folder, *folder.parents) if (above / "meta.json").is_file()), None)
    try:
        return file and Reading(load_label_space(file), str(file), "the nearest to the label maps")
    except ValueError as error:
        raise ValueError(f"{error}{HINT}") from None


def _find_trained(generator: Path, labels: Path) -> tuple[Reading, bool] | None:
    """The label space of the generator's run, and whether `labels` are of the data that it was trained on."""
    run = run_of(generator)
    if run is None:
        return None
    file = run / "config.yaml"
    try:
        config = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}{HINT}") from None
    data = config.get("data") if isinstance(config, dict) else None
    if not isinstance(data, dict) or "root" not in data:  # of something else
        return None
    root, name, reason = Path(data["root"]), data.get("label_space"), f"which {file} names"
    if name and name not in label_space_names():
        raise ValueError(f"{file} names the label space {name!r}, which is none that is known here{HINT}")
    file = LABEL_SPACES / f"{name}.json" if name else root / "meta.json"
    if not file.is_file():
        return None
    same_data = labels.resolve().is_relative_to(root.resolve())
    return Reading(load_label_space(file), name or str(file), reason), same_data


def check_classes(reading: Reading, own: LabelSpace, generator: Path) -> None:
    """Ids mean the same classes in the same order, or all that follows would be silently wrong."""
    for label, (theirs, ours) in enumerate(zip_longest(reading.space.classes, own.classes)):
        if theirs != ours:
            raise ValueError(
                f"{reading.name} ({reading.reason}) has {reading.space.num_classes} classes, {generator} has "
                f"{own.num_classes}; the first difference is class {label}: {theirs!r} there, {ours!r} here{HINT}"
            )

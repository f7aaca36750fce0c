"""Label maps to synthesize from: files of a folder or of a data set's split, or those in shards that are there."""

import errno
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augment.shards import MANIFEST, OK, committed_shards, read_manifest, read_member, read_rows
from dpsims.instances import GreyMaps, InstanceMaps
from dpsims.labels import TRAIN_IDS, LabelSpace, read_label_map
from dpsims.layouts import find_instances, find_labels

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test"}
HELD_OUT = ("val", "test")

# What says nothing of a file: of too many open ones, of memory, of a file server.
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH)

LABEL_IDS = "_labelIds.png"  # ends the names of Cityscapes' label maps, and these those of what lies beside them
BESIDE_LABEL_IDS = ("_color.png", "_instanceIds.png", "_instanceTrainIds.png", TRAIN_IDS)


@runtime_checkable
class LabelSource(Protocol):
    """One label map, wherever it lies.

    Attributes:
        source_key: its name, unique among those of a run.
        split: train, val or test where that is known, else None.
        place: where it is, for messages.
    """

    @property
    def source_key(self) -> str: ...

    @property
    def split(self) -> str | None: ...

    @property
    def place(self) -> str: ...

    def read(self, space: LabelSpace) -> UInt8[np.ndarray, "h w"]:
        """Its ids; a ValueError says by its `place` what is wrong. `space` maps the ids of files."""
        ...

    def has_instances(self) -> bool: ...

    def read_instances(self, size: tuple[int, int]) -> Image.Image:
        """Its instance map of (width, height) pixels, likewise."""
        ...

    def without_places(self, message: str) -> str:
        """A message of these errors that tells nothing of the machine: names in place of paths."""
        ...


S = TypeVar("S", bound=LabelSource)


@dataclass(frozen=True)
class LabelFile:
    """A label map on disk.

    Attributes:
        source_key: path under the label folder, without extension (and Cityscapes' ending), with "/".
        instances: the instance maps of the data set, if it has any.
        instance_key: what its own is called there.
    """

    source_key: str
    split: str | None
    file: Path
    instances: InstanceMaps | None = None
    instance_key: str = ""

    @property
    def place(self) -> str:
        return str(self.file)

    def read(self, space: LabelSpace) -> UInt8[np.ndarray, "h w"]:
        return read_label_map(self.file, space)

    def has_instances(self) -> bool:
        return self.instances is not None and self.instance_key in self.instances

    def read_instances(self, size: tuple[int, int]) -> Image.Image:
        assert self.instances is not None
        return self.instances.read(self.instance_key, size)

    def files(self, *, instances: bool) -> list[Path]:
        """The label map and, where it has a file of its own, its instance map."""
        files = getattr(self.instances, "files", {}) if instances else {}
        return [self.file, *(files[key] for key in (self.instance_key,) if key in files)]

    def without_places(self, message: str) -> str:
        for file, name in zip(self.files(instances=True), ("", "instances of "), strict=False):
            message = message.replace(str(file), f"{name}{self.source_key}")
        return message


@dataclass(frozen=True)
class ShardedLabel:
    """A label map in shards, whose ids are the classes' own.

    Attributes:
        folder: of the shards.
        row: of the first sample that was made from it.
    """

    source_key: str
    split: str | None
    folder: Path
    row: dict

    @property
    def place(self) -> str:
        return f"{self.row['key']} in {self.folder}"

    def read(self, space: LabelSpace) -> UInt8[np.ndarray, "h w"]:
        return read_label_map(read_member(self.folder, self.row, "seg.png"), space, source=self.place)

    def has_instances(self) -> bool:
        return False

    def read_instances(self, size: tuple[int, int]) -> Image.Image:
        raise AssertionError("shards hold no instance maps")

    def without_places(self, message: str) -> str:
        return message.replace(self.place, self.row["key"])


def find_sources(
    folder: Path, split: str | None, layout: str, allow_splits: Collection[str] = (), *, objects: bool = True
) -> list[LabelSource]:
    """The label maps that `--labels`, `--layout` and `--split` mean, by their source keys.

    Args:
        folder: of shards, of label PNGs or a split folder; or, with a split, the root of a data set.
        layout: of `dpsims.layouts.LAYOUTS`, of the data set.
        allow_splits: held-out splits (val, test) that may be used all the same.
        objects: as of `find_instances`.

    Raises:
        FileNotFoundError: no such folder, or nothing in it.
        ValueError: label maps are of a held-out split, or two have one source key.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--labels {folder}: no such folder")
    sources: Sequence[LabelSource]
    if split is not None:
        sources = split_label_maps(folder, split, layout, objects=objects)
    elif (folder / MANIFEST).is_file():
        sources = sharded_label_maps(folder)
    else:
        return find_label_maps(folder, allow_splits)
    return check_splits(folder, sources, allow_splits)


def split_label_maps(root: Path, split: str, layout: str, *, objects: bool) -> list[LabelFile]:
    """Those of a data set's split, with its instance maps."""
    labels = find_labels(root, split, layout)
    if not labels:
        raise FileNotFoundError(f"--labels {root}, split {split}: no label maps there")
    instances = find_instances(root, split, layout, objects=objects)
    kind = split_of(labels[next(iter(labels))]) or SPLITS.get(split)
    return [LabelFile(key, kind, file, instances, key) for key, file in labels.items()]


def check_lasting(error: Exception) -> None:
    """See that a label map is bad for good, and not just now; else the cause is raised, which ends the run."""
    for cause in (error, error.__cause__):
        if isinstance(cause, OSError) and cause.errno in PASSING:
            raise cause


def sharded_label_maps(folder: Path) -> list[ShardedLabel]:
    """Every label map that images in the shards were made from, once."""
    if read_manifest(folder)["totals"] is None:
        raise ValueError(f"--labels {folder}: these shards are not finished; the command that made them goes on")
    found: dict[str, ShardedLabel] = {}
    for shard in committed_shards(folder):
        for row in read_rows(folder, shard):
            key = source_name(row)
            if row["status"] == OK and key not in found:
                found[key] = ShardedLabel(key, row["split"], folder, row)
    if not found:
        raise FileNotFoundError(f"--labels {folder}: no sample in these shards could be made")
    return [found[key] for key in sorted(found)]


def source_name(row: dict) -> str:
    """The name of a row's label map: that of its file, with the number of its variant where it was perturbed."""
    return f"{row['source_key']}~{row['variant']}" if row.get("perturbations") else row["source_key"]


def find_label_maps(folder: Path, allow_splits: Collection[str] = ()) -> list[LabelFile]:
    """The label maps (PNG) under a folder, or in `labels/` of a split folder, in the order of their source keys.

    Outside of a split folder, what official data sets have beside a label map is left out (`annotations`).

    Args:
        folder: searched recursively, unless it has both `labels/` and `images/` (generic layout).
        allow_splits: held-out splits (val, test) that may be used all the same.

    Raises:
        FileNotFoundError: if there is no such folder or no PNG in it.
        ValueError: if label maps are of a held-out split, if two have one source key, or if the folder is the root of a
            data set rather than one split of it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--labels {folder}: no such folder")
    inner_splits = sorted(child.name for child in folder.iterdir() if is_split_folder(child))
    if inner_splits:
        raise ValueError(
            f"--labels {folder} holds the splits {', '.join(inner_splits)}; name one with --split, or its folder"
        )
    root = folder / "labels" if is_split_folder(folder) else folder
    instances = beside(root)
    files = [file for file in root.rglob("*") if file.suffix.lower() == ".png" and file.is_file()]
    generic = root.name == "labels" and is_split_folder(root.parent)
    label_files = []
    for file in files if generic else annotations(files):
        name = file.relative_to(root).with_suffix("").as_posix()
        source_key = name if generic else re.sub(r"(_gt(Fine|Coarse))?_labelIds$", "", name)
        label_files.append(LabelFile(source_key, split_of(file), file, instances, name))
    label_files.sort(key=lambda label_file: label_file.source_key)
    if not label_files:
        raise FileNotFoundError(f"--labels {folder}: no label maps (*.png) there")

    source_key, count = Counter(label_file.source_key for label_file in label_files).most_common(1)[0]
    if count > 1:
        raise ValueError(f"--labels {folder}: {count} files are called {source_key!r} but for their ending")
    return check_splits(folder, label_files, allow_splits)


def beside(root: Path) -> GreyMaps | None:
    """The instance maps in a folder `instances` beside `labels`."""
    folder = root.parent / "instances"
    if root.name != "labels" or not folder.is_dir():
        return None
    files = (file for file in folder.rglob("*") if file.suffix.lower() == ".png")
    return GreyMaps({file.relative_to(folder).with_suffix("").as_posix(): file for file in files})


def check_splits(folder: Path, sources: Sequence[S], allow_splits: Collection[str]) -> list[S]:
    """See that no label map is of a held-out split that is not allowed."""
    splits = Counter(source.split for source in sources)
    for split in HELD_OUT:
        if splits[split] and split not in allow_splits:
            raise ValueError(
                f"--labels {folder}: {splits[split]} of {len(sources)} label maps are of the {split} split. "
                f"Images made from them would leak it into training; --allow-split {split} makes them"
            )
    return list(sources)


def annotations(files: Iterable[Path]) -> list[Path]:
    """What is left of PNGs without those that say the same as another one, in colours, for instances or in other ids.

    Beside X_labelIds.png (Cityscapes) these are X_color.png, X_instanceIds.png and the like; beside X.png (COCO-Stuff)
    X_labelTrainIds.png.
    """
    places = {(file.parent, file.name) for file in files}

    def says_the_same(folder: Path, name: str) -> bool:
        base, _, _ = name.rpartition("_")
        if name.endswith(BESIDE_LABEL_IDS) and (folder, base + LABEL_IDS) in places:
            return True
        return name.endswith(TRAIN_IDS) and (folder, f"{base}.png") in places

    return [folder / name for folder, name in places if not says_the_same(folder, name)]


def is_split_folder(folder: Path) -> bool:
    """Generic layout: label maps and images side by side."""
    return (folder / "labels").is_dir() and (folder / "images").is_dir()


def split_of(file: Path) -> str | None:
    """From the folder nearest to the file that is named like a split (`val`, `validation`, `val2017`)."""
    for folder in file.absolute().parents:
        split = SPLITS.get(folder.name.lower().rstrip("0123456789"))
        if split:
            return split
    return None

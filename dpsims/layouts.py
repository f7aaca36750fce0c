"""Where data sets keep their files: the official layouts of the field, and a generic one for everybody's own.

Finding files is one scan of each folder; no file is opened, or asked for more than its name.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dpsims.coco import read_objects, read_panoptic
from dpsims.instances import GreenMaps, GreyMaps, InstanceMaps
from dpsims.labels import TRAIN_IDS

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Pair:
    """One labelled image on disk; `key` is its name in the split."""

    key: str
    image: Path
    label: Path


class SameKey(ValueError):
    """Files of one kind that have one key. `clashes` names both of each pair, `files` is what remains without them."""

    def __init__(self, clashes: list[str], files: dict[str, Path]) -> None:
        more = f" (and {len(clashes) - 1} more)" if len(clashes) > 1 else ""
        super().__init__(f"two files with one key, {clashes[0]}{more}")
        self.clashes, self.files = clashes, files


@dataclass(frozen=True)
class Files:
    """The files of one kind, such as all images.

    Attributes:
        folders: below the root, with {split} in them; the first that exists counts.
        endings: a file's name is its key and one of these, in small or capital letters.
        not_endings: files with names that end so are something else.
        nested: the files lie one folder further down (Cityscapes' cities).
    """

    folders: tuple[str, ...]
    endings: tuple[str, ...] = (".png",)
    not_endings: tuple[str, ...] = ()
    nested: bool = False

    def folder(self, root: Path, split: str) -> Path | None:
        candidates = (root / folder.format(split=split) for folder in self.folders)
        return next((folder for folder in candidates if folder.is_dir()), None)


@dataclass(frozen=True)
class Layout:
    """What lies where.

    Attributes:
        instances: of a root and a split, the instance maps; None where there are none.
        instance_source: where they would be, in words.
        objects: what to draw instance maps from where there are none; slow to read.
        test: name of the split for testing, if it comes with labels (those of Cityscapes are blank).
    """

    images: Files
    labels: Files
    instances: Callable[[Path, str], InstanceMaps | None]
    instance_source: str
    objects: Callable[[Path, str], InstanceMaps | None] | None = None
    test: str | None = None


def find_layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise ValueError(f"data.layout is one of {', '.join(LAYOUTS)}, not {name!r}")
    return LAYOUTS[name]


def find_images(root: Path, split: str, layout: str = "generic") -> dict[str, Path]:
    """Key → image file of a split, in the order of the keys. A missing folder is a ValueError that names it."""
    return _find(root, split, find_layout(layout).images, f"images of the layout {layout}")


def find_labels(root: Path, split: str, layout: str = "generic") -> dict[str, Path]:
    """Key → label file of a split, likewise."""
    return _find(root, split, find_layout(layout).labels, f"label maps of the layout {layout}")


def find_instances(root: Path, split: str, layout: str = "generic", *, objects: bool = True) -> InstanceMaps | None:
    """The instance maps of a split; None where the data set has none.

    Args:
        objects: also take what instance maps can be drawn from, which takes a minute to read for all of COCO.
    """
    found = find_layout(layout)
    maps = found.instances(root, split)
    if maps is None and objects and found.objects is not None:
        maps = found.objects(root, split)
    return maps


def has_split(root: Path, split: str, layout: str = "generic") -> bool:
    """Whether there are folders of images and of label maps for it."""
    found = find_layout(layout)
    return all(files.folder(root, split) is not None for files in (found.images, found.labels))


def find_pairs(root: Path, split: str, layout: str = "generic") -> list[Pair]:
    """The labelled images of a split, by key. A missing folder or half of a pair is a ValueError that names it."""
    images, labels = find_images(root, split, layout), find_labels(root, split, layout)
    for kind, lonely in (("label", images.keys() - labels), ("image", labels.keys() - images)):
        if lonely:
            message = f"{len(lonely)} files without their {kind}, such as {min(lonely)!r}"
            raise ValueError(f"{root}, split {split}: {message}")
    if not images:
        raise ValueError(f"{root}, split {split}: no images ({', '.join(find_layout(layout).images.endings)})")
    return [Pair(key, image, labels[key]) for key, image in images.items()]


def _find(root: Path, split: str, files: Files, what: str) -> dict[str, Path]:
    folder = files.folder(root, split)
    if folder is None:
        candidates = " or ".join(str(root / folder.format(split=split)) for folder in files.folders)
        raise ValueError(f"no such folder: {candidates} ({what})")
    return _scan(folder, files)


def _scan(folder: Path, files: Files) -> dict[str, Path]:
    found: dict[str, Path] = {}
    clashes: list[str] = []
    folders = [folder]
    if files.nested:
        with os.scandir(folder) as entries:
            folders = sorted(folder / entry.name for entry in entries if entry.is_dir())
    for inner in folders:
        for name in sorted(os.listdir(inner)):
            key = _key(name, files)
            if key is None:
                continue
            if key in found:
                clashes.append(f"{key!r}: {found[key]} and {inner / name}")
            else:
                found[key] = inner / name
    found = dict(sorted(found.items()))
    if clashes:
        raise SameKey(clashes, found)
    return found


def _key(name: str, files: Files) -> str | None:
    """A file's name without its ending; None for a file of another kind. Names with a dot in front are hidden files."""
    if name.startswith(".") or name.endswith(files.not_endings):
        return None
    small = name.lower()
    return next((name[: -len(ending)] for ending in files.endings if small.endswith(ending.lower())), None)


# Instances ----------------------------------------------------------------------------------------------------------


def _generic_instances(root: Path, split: str) -> InstanceMaps | None:
    files = Files(("{split}/instances",))
    folder = files.folder(root, split)
    return folder and GreyMaps(_scan(folder, files))


def _ade20k_instances(root: Path, split: str) -> InstanceMaps | None:
    files = Files(("annotations_instance/{split}",))
    folder = files.folder(root, split)
    return folder and GreenMaps(_scan(folder, files))


def _cityscapes_instances(root: Path, split: str) -> InstanceMaps | None:
    """Instance n of class k is 1000 k + n; what has no instances, and groups of things, is k alone."""
    files = Files(("gtFine/{split}",), ("_gtFine_instanceIds.png",), nested=True)
    folder = files.folder(root, split)
    found = _scan(folder, files) if folder else {}
    return GreyMaps(found, first=1000) if found else None


def _coco_instances(root: Path, split: str) -> InstanceMaps | None:
    """Panoptic annotations, which do not overlap."""
    files = Files((f"annotations/panoptic_{split}",))
    folder, panoptic = files.folder(root, split), root / "annotations" / f"panoptic_{split}.json"
    if folder and panoptic.is_file():
        return read_panoptic(panoptic, _scan(folder, files))
    return None


def _coco_objects(root: Path, split: str) -> InstanceMaps | None:
    objects = root / "annotations" / f"instances_{split}.json"
    return read_objects(objects) if objects.is_file() else None


LAYOUTS = {
    "generic": Layout(
        images=Files(("{split}/images",), IMAGE_SUFFIXES),
        labels=Files(("{split}/labels",)),
        instances=_generic_instances,
        instance_source="SPLIT/instances/NAME.png",
        test="test",
    ),
    "ade20k": Layout(
        images=Files(("images/{split}",), IMAGE_SUFFIXES),
        labels=Files(("annotations/{split}",)),
        instances=_ade20k_instances,
        instance_source="annotations_instance/SPLIT/NAME.png",
    ),
    "cityscapes": Layout(
        images=Files(("leftImg8bit/{split}",), ("_leftImg8bit.png",), nested=True),
        labels=Files(("gtFine/{split}",), ("_gtFine_labelIds.png",), nested=True),
        instances=_cityscapes_instances,
        instance_source="gtFine/SPLIT/CITY/NAME_gtFine_instanceIds.png",
    ),
    "coco_stuff": Layout(
        # Both zips hold bare folders called as the split, so images and label maps may have come to lie in one.
        images=Files(("images/{split}", "{split}"), (".jpg",)),
        # mmsegmentation's converter leaves its own label maps beside the official ones.
        labels=Files(("stuffthingmaps/{split}", "annotations/{split}", "{split}"), not_endings=(TRAIN_IDS,)),
        instances=_coco_instances,
        instance_source="annotations/panoptic_SPLIT.json with panoptic_SPLIT/, or annotations/instances_SPLIT.json",
        objects=_coco_objects,
    ),
}

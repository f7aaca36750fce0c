"""Trained generators, each with the labelled images that it is measured on, at its size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from dpsims.data import FolderDataset
from dpsims.labels import read_label_map
from dpsims.layouts import find_images
from dpsims.metrics.evaluate import check_counts, check_fit
from dpsims.metrics.generate import Photos
from dpsims.run_folder import run_of
from dpsims.sample import Snapshot, load_generator
from dpsims.spread import spread_indices


@dataclass(frozen=True)
class Place:
    """Where labelled images are, how their files are to be read, and which of them serve for what.

    Attributes:
        layout: of `dpsims.layouts.LAYOUTS`.
        label_space: of `dpsims/label_spaces`; None is ROOT/meta.json.
        train_split: what the generators were trained on.
        split: whose label maps are painted.
        reference_split: whose photos the painted ones are compared with; it needs no label maps.
    """

    name: str
    root: Path
    layout: str
    label_space: str | None
    train_split: str
    split: str
    reference_split: str


@dataclass(frozen=True)
class Run:
    """A generator to measure, with its data at its size."""

    name: str
    path: Path
    snapshot: Snapshot
    maps: FolderDataset
    reals: Photos


def find_place(
    generators: Sequence[Path],
    *,
    root: str | None = None,
    layout: str | None = None,
    label_space: str | None = None,
    train_split: str | None = None,
    split: str | None = None,
    reference_split: str | None = None,
) -> Place:
    """The data that the arguments name; what they leave open is what the runs' config.yaml say.

    Label space and splits go with a layout: a run of another one than `layout` does not tell them. Nor does a run tell
    the label space of another `root` in the generic layout, if that has a meta.json.

    Raises:
        ValueError: the runs say different things, there is none that says where the data is, or they were trained
            without a validation split.
    """
    folders = [run_of(path) for path in generators]
    trained = [yaml.safe_load((run / "config.yaml").read_text())["data"] for run in folders if run is not None]

    def of_runs(key: str, option: str) -> str | None:
        values = list(dict.fromkeys(data.get(key) for data in trained))
        if len(values) > 1:
            listed = ", ".join(map(str, values))
            raise ValueError(f"{option} is needed, as the runs were trained with different ones: {listed}")
        return values[0] if values else None

    place = root or of_runs("root", "--data")
    if place is None:
        raise ValueError(f"--data is needed: {generators[0]} is not in a run folder, whose config.yaml would name it")
    name = Path(root).absolute().name if root else of_runs("name", "--data")
    layout = layout or of_runs("layout", "--layout") or "generic"
    tells = root is not None and layout == "generic" and (Path(root) / "meta.json").is_file()  # how its ids are meant
    trained = [data for data in trained if (data.get("layout") or "generic") == layout]
    split = split or of_runs("val_split", "--split")
    if split is None and root is None and any("val_split" in data for data in trained):  # as data.val_split=null
        raise ValueError("the run has no validation split; name one with --split (for example train)")
    split = split or "val"
    return Place(
        name=name,
        root=Path(place),
        layout=layout,
        label_space=label_space or (None if tells else of_runs("label_space", "--label-space")),
        train_split=train_split or of_runs("train_split", "--train-split") or "train",
        split=split,
        reference_split=reference_split or split,
    )


def open_split(place: Place, split: str, size: tuple[int, int], *, instances: bool) -> FolderDataset:
    """A split at a size (height, width), without augmentation."""
    return FolderDataset(
        root=place.root,
        split=split,
        layout=place.layout,
        label_space=place.label_space,
        height=size[0],
        width=size[1],
        flip=False,
        zoom_range=1.0,
        augment=False,
        instances=instances,
        seed=0,
    )


def open_photos(place: Place, split: str, snapshot: Snapshot) -> Photos:
    """A split's photos at a generator's size, with or without label maps beside them."""
    files = find_images(place.root, split, place.layout)
    if not files:
        raise ValueError(f"{place.root}, split {split}: no images")
    return Photos(list(files.values()), (snapshot.height, snapshot.width))


def check_label_maps(dataset: FolderDataset, indices: Sequence[int], threads: int) -> None:
    """Read these label maps, so that a bad one is found before anything is made; the ValueError names its file."""

    def check(index: int) -> None:
        read_label_map(dataset.pairs[index].label, dataset.space)

    with ThreadPoolExecutor(threads) as pool:
        for _ in tqdm(pool.map(check, indices), "label maps", len(indices), unit="map", leave=False, disable=None):
            pass


def open_runs(
    generators: Sequence[Path],
    place: Place,
    device: torch.device,
    *,
    max_maps: int | None,
    samples: int,
    diversity_samples: int,
    neighbours: int,
) -> list[Run]:
    """Load every generator with its data, and refuse what cannot be compared; the numbers are those of `evaluate`."""
    if not place.root.is_dir():
        raise ValueError(f"--data: no such folder: {place.root}")
    names = [_name(path) for path in generators]
    if len(set(names)) < len(names):
        names = [str(path) for path in generators]
    runs = []
    for name, path in zip(names, generators, strict=True):
        snapshot = load_generator(path, device)
        reals = open_photos(place, place.reference_split, snapshot)
        try:
            maps = open_split(place, place.split, (snapshot.height, snapshot.width), instances=snapshot.instances)
            check_fit(snapshot, maps)
        except ValueError as error:
            reason = str(error).replace("generator.instances=true, but", "it was trained with instances, but")
            raise ValueError(f"{name}: {reason}") from error
        count = len(spread_indices(len(maps), max_maps))
        check_counts(count, samples, diversity_samples, len(reals), neighbours)
        runs.append(Run(name, path, snapshot, maps, reals))
    return runs


def _name(path: Path) -> str:
    """RUN, or RUN/best and the like."""
    folder = (path if path.is_dir() else path.parent).absolute()
    return folder.relative_to((run_of(path) or folder).parent).as_posix()

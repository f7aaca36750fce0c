"""What a run will make, decided before anything is made: the label maps, their samples, the shards, the seeds."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpsims.labels import TRAIN_IDS
from dpsims.sample import sample_seed

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test"}
HELD_OUT = ("val", "test")

LABEL_IDS = "_labelIds.png"  # ends the names of Cityscapes' label maps, and these those of what lies beside them
BESIDE_LABEL_IDS = ("_color.png", "_instanceIds.png", "_instanceTrainIds.png", TRAIN_IDS)

MAX_SHARDS, MAX_SHARD_SIZE = 10**5, 10**4  # what five and four digits of a key can count


@dataclass(frozen=True)
class LabelFile:
    """A label map on disk.

    Attributes:
        source_key: path under the label folder, without extension (and Cityscapes' ending), with "/".
        split: train, val or test where the path tells, else None.
        instances: where its instance map is, if there is a folder `instances` beside `labels`.
    """

    source_key: str
    split: str | None
    file: Path
    instances: Path | None = None


@dataclass(frozen=True)
class Record:
    """One planned sample; `key` is its name in the shards, unique over all of them and without a dot."""

    key: str
    shard: int
    source_key: str
    split: str | None
    sample_index: int
    seed: int


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
        raise ValueError(f"--labels {folder} holds the splits {', '.join(inner_splits)}; name one of these folders")
    root = folder / "labels" if is_split_folder(folder) else folder
    instances = root.parent / "instances" if root.name == "labels" and (root.parent / "instances").is_dir() else None
    files = [file for file in root.rglob("*") if file.suffix.lower() == ".png" and file.is_file()]
    generic = root.name == "labels" and is_split_folder(root.parent)
    label_files = []
    for file in files if generic else annotations(files):
        name = file.relative_to(root)
        source_key = name.with_suffix("").as_posix()
        if not generic:
            source_key = re.sub(r"(_gt(Fine|Coarse))?_labelIds$", "", source_key)
        label_files.append(LabelFile(source_key, split_of(file), file, instances and instances / name))
    label_files.sort(key=lambda label_file: label_file.source_key)
    if not label_files:
        raise FileNotFoundError(f"--labels {folder}: no label maps (*.png) there")

    source_key, count = Counter(label_file.source_key for label_file in label_files).most_common(1)[0]
    if count > 1:
        raise ValueError(f"--labels {folder}: {count} files are called {source_key!r} but for their ending")
    splits = Counter(label_file.split for label_file in label_files)
    for split in HELD_OUT:
        if splits[split] and split not in allow_splits:
            raise ValueError(
                f"--labels {folder}: {splits[split]} of {len(label_files)} label maps are of the {split} split by "
                f"their path. Images made from them would leak it into training; --allow-split {split} makes them"
            )
    return label_files


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


def plan_shards(
    label_files: Sequence[LabelFile], samples_per_map: int, maps_per_shard: int, run_seed: int
) -> list[list[Record]]:
    """The records of every shard, in order. All samples of a label map share a shard, so it is encoded once."""
    if samples_per_map < 1 or maps_per_shard < 1:
        raise ValueError(f"a shard needs samples: {samples_per_map} per label map, {maps_per_shard} maps per shard")
    if samples_per_map * maps_per_shard > MAX_SHARD_SIZE:
        raise ValueError(
            f"{maps_per_shard} label maps with {samples_per_map} samples each are more than the {MAX_SHARD_SIZE} "
            f"that a shard can hold"
        )
    shards: list[list[Record]] = []
    for start in range(0, len(label_files), maps_per_shard):
        shard = len(shards)
        records: list[Record] = []
        for label_file in label_files[start : start + maps_per_shard]:
            for sample_index in range(samples_per_map):
                key = f"{shard:05d}{len(records):04d}"
                seed = sample_seed(run_seed, label_file.source_key, sample_index)
                records.append(Record(key, shard, label_file.source_key, label_file.split, sample_index, seed))
        shards.append(records)
    if len(shards) > MAX_SHARDS:
        raise ValueError(f"{len(shards)} shards are more than the {MAX_SHARDS} that a key can name; use a larger shard")
    return shards

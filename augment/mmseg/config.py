"""Reading a segmenter's config for a run: other roots and shards put in, and checked before any training starts."""

import argparse
import importlib.util
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from mmengine.config import Config, ConfigDict, DictAction

from augment.filter.run import read_limits
from augment.mmseg.classes import fill_in_classes, metainfo_of
from augment.mmseg.official import check_official
from augment.mmseg.packages import missing_import
from augment.mmseg.shard_dataset import (
    check_classes,
    check_unshifted,
    decisions_folder,
    index_shards,
    read_label_space,
)
from augment.order import read_recipe
from augment.shards import read_manifest
from dpsims.labels import load_label_space
from dpsims.sample import load_generator

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_ENVIRONMENT = {"SEG_HEIGHT": 1, "SEG_WIDTH": 1, "SEG_BATCH": 1, "SEG_ITERS": 2}  # what configs read, and its least
_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def check_environment() -> None:
    """See that what configs read from the environment is spelled as they do, and a number that something can be trained
    with: a ValueError says what is not.
    """
    for name in os.environ.keys() - _ENVIRONMENT.keys():
        if name.startswith("SEG_") and (meant := get_close_matches(name, _ENVIRONMENT, n=1, cutoff=0.85)):
            raise ValueError(f"{name} in the environment: did you mean {meant[0]}?")
    for name, least in _ENVIRONMENT.items():
        value = os.environ.get(name)
        if value is not None and not (value.isdecimal() and int(value) >= least):
            raise ValueError(f"{name} in the environment is a whole number of at least {least}, not {value!r}")


def load_config(
    file: Path | str,
    *,
    data_root: Path | None = None,
    shards: Path | None = None,
    generator: Path | None = None,
    decisions: Path | None = None,
    options: dict | None = None,
) -> Config:
    """A config with every data set's root, shards and generator replaced where given, then mmengine's `--cfg-options`.

    What a config for any data set in the generic layout leaves open is filled in from ROOT/meta.json.

    Args:
        file: a path, or `mmseg::PATH` for one of the configs that come with mmseg.
        decisions: of a filter, for all synthetic samples.

    Raises:
        ValueError: no such config, or one without a model; a package that it imports is missing; `shards`, `decisions`
            or a `generator` for one that has no use for it; or no classes for one that leaves them open.
    """
    file = find_config(str(file))
    if not file.is_file():
        raise ValueError(f"no such config: {file}")
    check_environment()
    try:
        cfg = Config.fromfile(file)
    except ImportError as error:
        raise missing_import(error, file.name) from error
    if "model" not in cfg:
        raise ValueError(f"{file} is no segmenter's config, or a part of one: it has no `model`")
    parts = [part for loader in _LOADERS for part in datasets_of(cfg, loader)]
    if data_root is not None:
        cfg.data_root = str(data_root)
        for part in parts:
            if "data_root" in part:
                part.data_root = str(data_root)
    fill_in_classes(cfg, parts, data_root, file.name)
    given = {
        "shards": (shards, {"shards"}, "`_mixed` or `_synthetic`"),
        "generator": (generator, {"generator"}, "`_on_the_fly`"),
        "decisions": (decisions, {"shards", "generator"}, "`_mixed`, `_synthetic` or `_on_the_fly`"),
    }
    for name, (place, sources, siblings) in given.items():
        users = [part for part in (*parts, *synthetic_hooks(cfg)) if not sources.isdisjoint(part)]
        if place is not None and not users:
            raise ValueError(f"--{name} {place}: {file.name} has no use for it; use its {siblings} sibling")
        for part in users if place is not None else []:
            part[name] = str(place)
    if options:
        cfg.merge_from_dict(options)
    return cfg


def find_config(name: str) -> Path:
    """The file of a config that is named by its path, or by the package it comes with: `mmseg::PATH`."""
    package, colons, path = name.partition("::")
    if not colons:
        return Path(name)
    found = importlib.util.find_spec(package)
    if found is None:
        raise ValueError(f"{name}: the package {package} is not installed")
    return Path(found.submodule_search_locations[0], ".mim", "configs", path)


def parse_options(pairs: Sequence[str], option: str = "--cfg-options") -> dict:
    """`["KEY=VALUE", …]` of the command line's `option`, as mmengine reads `--cfg-options`."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("options", nargs="*", action=DictAction)
    malformed = [pair for pair in pairs if "=" not in pair]
    if malformed:
        raise ValueError(f"{option} takes KEY=VALUE, not {malformed[0]!r}")
    return parser.parse_args(pairs).options or {}


def datasets_of(cfg: Config, loader: str) -> Iterator[ConfigDict]:
    """The data sets that a loader reads, inside of wrappers such as `ConcatDataset`."""
    waiting = [cfg[loader].dataset] if cfg.get(loader) else []
    while waiting:
        dataset = waiting.pop(0)
        inner = list(dataset.get("datasets", [])) + ([dataset.dataset] if "dataset" in dataset else [])
        if inner:
            waiting.extend(inner)
        else:
            yield dataset


def synthetic_hooks(cfg: Config) -> list[ConfigDict]:
    """Those that put synthetic samples into the training (`MixSynthetic`, `PaintSynthetic`)."""
    return [hook for hook in cfg.get("custom_hooks") or [] if "shards" in hook or "generator" in hook]


def check_data(cfg: Config, loaders: tuple[str, ...] = _LOADERS) -> None:
    """See that the data is there and means what the config says; sets `img_suffix` where the images are PNGs.

    Raises:
        ValueError: a missing folder, images without label maps, no finished shards, no generator, or other classes.
    """
    for loader in loaders:
        for dataset in datasets_of(cfg, loader):
            if "shards" in dataset:
                _check_shards(dataset)
            elif dataset.type == "BaseSegDataset":
                _check_folders(dataset)
            else:
                check_official(dataset)
    for hook in synthetic_hooks(cfg) if "train_dataloader" in loaders else []:
        metainfo = metainfo_of(next(datasets_of(cfg, "train_dataloader")))
        if "shards" in hook:
            options = {"shards": hook.shards, "decisions": hook.get("decisions")}
            _check_shards(ConfigDict(**options, **({"metainfo": metainfo} if metainfo else {})))
        else:
            _check_generator(hook, metainfo)


def _check_shards(dataset: ConfigDict) -> None:
    root = Path(dataset.shards)
    space = read_label_space(root)
    if "metainfo" in dataset:
        check_classes(space.classes, dataset.metainfo["classes"], f"the shards in {root}")
    check_unshifted(dataset.shards, dataset)
    index_shards(root, decisions_folder(dataset.get("decisions")))
    if read_manifest(root).get("totals", {}) is None:  # as long as shards are still to come
        raise ValueError(f"--shards {root} are not finished; the command that made them goes on")


def _check_generator(hook: ConfigDict, metainfo: ConfigDict | dict | None) -> None:
    snapshot = load_generator(Path(hook.generator))
    if metainfo is not None:
        check_classes(snapshot.space.classes, metainfo["classes"], f"the images of {hook.generator}")
    decisions = decisions_folder(hook.get("decisions"))
    if decisions is not None:
        read_limits(decisions, snapshot.space)
    if hook.get("perturb"):
        read_recipe(hook.perturb, snapshot.space)


def _check_folders(dataset: ConfigDict) -> None:
    root = Path(dataset.data_root or "")
    images, labels = (root / dataset.data_prefix[key] for key in ("img_path", "seg_map_path"))
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"no such folder: {folder} (--data-root names the data set's root)")
    if (root / "meta.json").is_file():
        space = load_label_space(root / "meta.json")
        check_classes(space.classes, dataset.metainfo["classes"], f"the label maps in {root}")
        if space.raw_to_id is not None:
            raise ValueError(f"{root / 'meta.json'}: mmseg configs read label maps whose ignore_index is 255")

    files = [file for file in images.iterdir() if not file.name.startswith(".")]  # mmseg passes over hidden ones, too
    suffixes = sorted({file.suffix for file in files} & set(_IMAGE_SUFFIXES))
    if len(suffixes) != 1:
        raise ValueError(f"{images} must hold images of one kind out of {', '.join(_IMAGE_SUFFIXES)}, not {suffixes}")
    dataset.img_suffix = suffixes[0]
    label_names = {file.stem for file in labels.glob("*.png")}
    unlabelled = sorted({file.stem for file in files if file.suffix == suffixes[0]} - label_names)
    if unlabelled:
        raise ValueError(f"{len(unlabelled)} images in {images} have no label map in {labels}, such as {unlabelled[0]}")

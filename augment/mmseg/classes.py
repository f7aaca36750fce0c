"""The classes of a config: which they are, and what follows from them where a config leaves them open."""

from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmseg.registry import DATASETS

from augment.mmseg.packages import EXTEND_MMDET, bare_name, dicts_in
from dpsims.labels import LabelSpace, find_label_space


def fill_in_classes(cfg: Config, datasets: list[ConfigDict], root: Path | None, source: str) -> None:
    """Complete a config for any data set in the generic layout with what ROOT/meta.json says; leave others alone.

    Args:
        datasets: of the config.
        root: from the command line.
        source: the config's name.

    Raises:
        ValueError: there is no root, or nothing that names its classes.
    """
    if not any(dataset.get("type") == "BaseSegDataset" and "metainfo" not in dataset for dataset in datasets):
        return
    if root is None:
        raise ValueError(f"{source} is for any data set in the generic layout: --data-root names its root")
    for dataset in datasets:
        dataset.setdefault("data_root", str(root))
    set_classes(cfg, datasets, find_label_space(None, root))


def set_classes(cfg: Config, datasets: list[ConfigDict], space: LabelSpace) -> None:
    """Give the data sets names and palette, and every head its number of classes."""
    cfg.metainfo = {"classes": space.classes, "palette": [list(colour) for colour in space.palette]}
    for dataset in datasets:
        dataset.metainfo = cfg.metainfo
    for part in dicts_in(cfg.model):
        if "num_classes" in part:
            part.num_classes = space.num_classes
        if bare_name(part.get("type")) in EXTEND_MMDET:  # a weight for each class, and one for "none of them"
            part.loss_cls.class_weight = [1.0] * space.num_classes + [part.loss_cls.class_weight[-1]]


def metainfo_of(dataset: ConfigDict) -> ConfigDict | dict | None:
    """The names of a data set's classes: the config's, or else those that mmseg has for its kind."""
    kind = DATASETS.get(dataset.type) if isinstance(dataset.type, str) else dataset.type
    return dataset.get("metainfo") or getattr(kind, "METAINFO", None) or None

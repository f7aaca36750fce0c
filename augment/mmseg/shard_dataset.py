"""Synthetic shards as a map-style mmseg data set: random access by byte offset, and nothing is unpacked."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Int32, Int64
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from augment.filter.run import kept_keys
from augment.mmseg.tar_backend import forget_open_tars, span_uri
from augment.shards import MANIFEST, OK, committed_shards, read_manifest, read_rows, shard_file
from dpsims.labels import LabelSpace

IMAGE_MEMBERS = ("jpg", "webp", "png")
LABEL_MEMBER = "seg.png"


class ShardIndex(Sequence):
    """Where each sample's image and label map lie: 36 bytes a sample, in arrays that forked workers share.

    Indexing gives the dict that mmseg's pipelines start from.
    """

    def __init__(
        self,
        tars: list[tuple[Path, Path]],
        tar_of_sample: Int32[np.ndarray, " n"],
        spans: Int64[np.ndarray, "n 2 2"],
    ) -> None:
        """`tars` and `spans`, (offset, size) in bytes, are of the image and of the label map."""
        self.tars = tars
        self.tar_of_sample = tar_of_sample
        self.spans = spans

    def __len__(self) -> int:
        return len(self.tar_of_sample)

    @overload
    def __getitem__(self, index: int) -> dict: ...
    @overload
    def __getitem__(self, index: slice) -> "ShardIndex": ...
    def __getitem__(self, index: int | slice) -> "dict | ShardIndex":
        if isinstance(index, slice):
            return ShardIndex(self.tars, self.tar_of_sample[index], self.spans[index])
        image_tar, label_tar = self.tars[self.tar_of_sample[index]]
        image, label_map = self.spans[index].tolist()
        return {"img_path": span_uri(image_tar, *image), "seg_map_path": span_uri(label_tar, *label_map)}


def index_shards(root: Path, decisions: Path | None = None) -> ShardIndex:
    """Index the samples of status "ok" in all committed shards of `root`, in the order of their keys.

    Args:
        decisions: folder of a filter: only the samples that it keeps, with its label maps.

    Raises:
        ValueError: there are none, a tar is shorter than its manifest says, or the filter is of other shards.
    """
    forget_open_tars()  # the folder may have been written anew since it was last read
    shards = committed_shards(root)
    if not shards:
        raise ValueError(f"no committed shards in {root}: a shard counts once its 00000.stats.json is written")
    kept = None if decisions is None else kept_keys(decisions, root)
    spans = [_read_spans(root, shard, decisions, kept) for shard in shards]
    counts = [len(part) for part in spans]
    if not any(counts):
        raise ValueError(f"the {len(shards)} committed shards in {root} hold no sample of status {OK!r}")
    tars = [tuple(shard_file(it, shard, "tar").absolute() for it in (root, decisions or root)) for shard in shards]
    return ShardIndex(tars, np.repeat(np.arange(len(tars), dtype=np.int32), counts), np.concatenate(spans))


def _read_spans(
    root: Path, shard: int, decisions: Path | None, kept: Collection[str] | None
) -> Int64[np.ndarray, "n 2 2"]:
    places = {row["key"]: row["members"] for row in read_rows(root, shard) if row["status"] == OK}
    labels = places
    if kept is not None:
        labels = {row["key"]: row["members"] for row in read_rows(decisions, shard) if row["key"] in kept}
    images = [next(places[key][name] for name in IMAGE_MEMBERS if name in places[key]) for key in labels]
    pairs = list(zip(images, (label[LABEL_MEMBER] for label in labels.values()), strict=True))
    spans = np.array(pairs, np.int64).reshape(-1, 2, 2)
    for place, folder in enumerate((root, decisions or root)):
        tar = shard_file(folder, shard, "tar")
        size, end = tar.stat().st_size, int(spans[:, place].sum(axis=-1).max(initial=0))
        if size < end:
            raise ValueError(f"{tar} has {size} bytes, but its manifest names a member that ends at {end}")
    return spans


def decisions_folder(name: str | None) -> Path | None:
    """Of a config's `decisions`, where a text has to stand for none if it comes from the environment."""
    return None if name in (None, "none") else Path(name)


def read_label_space(root: Path) -> LabelSpace:
    """The label space of a folder of shards."""
    return LabelSpace.from_meta(read_manifest(root)["label_space"], source=str(root / MANIFEST))


def check_classes(found: Sequence[str], wanted: Sequence[str], source: str) -> None:
    """Ids mean the same classes in the same order, or all that follows would be silently wrong."""
    if list(found) != list(wanted):
        raise ValueError(f"{source} have the classes {list(found)}, but the config's are {list(wanted)}")


def check_unshifted(shards: str, options: Mapping[str, object]) -> None:
    """Shards hold ids 0 to C-1 and 255, whatever the files had that they were made from."""
    if options.get("reduce_zero_label"):
        raise ValueError(
            f"reduce_zero_label=True would shift the ids of the shards in {shards}, which are 0 to C-1 already; leave "
            "it out there, and give them a pipeline whose LoadAnnotations has none"
        )


@DATASETS.register_module()
class ShardSegDataset(BaseSegDataset):
    """The samples of a folder of shards, for any mmseg pipeline.

    Args:
        shards: the folder that holds `shards.json` and the shards.
        metainfo: `classes` and `palette` as the rest of the config has them; the classes must be the shards'.
            None takes both from `shards.json`.
        decisions: folder of a filter (`tools/filter.py`), whose verdicts are laid over the shards; None or
            "none" takes the shards as they are.
        **kwargs: `pipeline`, `indices`, `test_mode`, … as of `BaseSegDataset`.

    Raises:
        ValueError: other classes, a filter of other shards, or `reduce_zero_label`, which the shards' label maps have
            behind them.
    """

    def __init__(
        self, shards: str, metainfo: dict | None = None, decisions: str | None = None, **kwargs: object
    ) -> None:
        check_unshifted(shards, kwargs)
        self.shards = Path(shards)
        self.decisions = decisions_folder(decisions)
        space = read_label_space(self.shards)
        if metainfo is None:
            metainfo = {"classes": space.classes, "palette": [list(colour) for colour in space.palette]}
        check_classes(space.classes, metainfo["classes"], f"the shards in {shards}")
        # The index is compact and shared by forked workers already; mmengine's own serialisation is for lists of dicts.
        super().__init__(metainfo=metainfo, serialize_data=False, **kwargs)

    def load_data_list(self) -> ShardIndex:
        return index_shards(self.shards, self.decisions)

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        return {**info, "label_map": self.label_map, "reduce_zero_label": self.reduce_zero_label, "seg_fields": []}

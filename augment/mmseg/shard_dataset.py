"""Synthetic shards as a map-style mmseg data set: random access by byte offset, and nothing is unpacked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from jaxtyping import Int32, Int64
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

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
        self, tars: list[Path], tar_of_sample: Int32[np.ndarray, " n"], spans: Int64[np.ndarray, "n 2 2"]
    ) -> None:
        """`spans` holds (offset, size) in bytes, of the image and of the label map."""
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
        tar = self.tars[self.tar_of_sample[index]]
        image, label_map = self.spans[index].tolist()
        return {"img_path": span_uri(tar, *image), "seg_map_path": span_uri(tar, *label_map)}


def index_shards(root: Path) -> ShardIndex:
    """Index the samples of status "ok" in all committed shards of `root`, in the order of their keys.

    Raises:
        ValueError: there are none, or a tar is shorter than its manifest says.
    """
    forget_open_tars()  # the folder may have been written anew since it was last read
    shards = committed_shards(root)
    if not shards:
        raise ValueError(f"no committed shards in {root}: a shard counts once its 00000.stats.json is written")
    spans = [_read_spans(root, shard) for shard in shards]
    counts = [len(part) for part in spans]
    if not any(counts):
        raise ValueError(f"the {len(shards)} committed shards in {root} hold no sample of status {OK!r}")
    tars = [shard_file(root, shard, "tar").absolute() for shard in shards]
    return ShardIndex(tars, np.repeat(np.arange(len(tars), dtype=np.int32), counts), np.concatenate(spans))


def _read_spans(root: Path, shard: int) -> Int64[np.ndarray, "n 2 2"]:
    places = [row["members"] for row in read_rows(root, shard) if row["status"] == OK]
    pairs = [(next(place[name] for name in IMAGE_MEMBERS if name in place), place[LABEL_MEMBER]) for place in places]
    spans = np.array(pairs, np.int64).reshape(-1, 2, 2)
    tar = shard_file(root, shard, "tar")
    size, end = tar.stat().st_size, int(spans.sum(axis=-1).max(initial=0))
    if size < end:
        raise ValueError(f"{tar} has {size} bytes, but its manifest names a member that ends at {end}")
    return spans


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
        **kwargs: `pipeline`, `indices`, `test_mode`, … as of `BaseSegDataset`.

    Raises:
        ValueError: other classes, or `reduce_zero_label`, which the shards' label maps have behind them.
    """

    def __init__(self, shards: str, metainfo: dict | None = None, **kwargs: object) -> None:
        check_unshifted(shards, kwargs)
        self.shards = Path(shards)
        space = read_label_space(self.shards)
        if metainfo is None:
            metainfo = {"classes": space.classes, "palette": [list(colour) for colour in space.palette]}
        check_classes(space.classes, metainfo["classes"], f"the shards in {shards}")
        # The index is compact and shared by forked workers already; mmengine's own serialisation is for lists of dicts.
        super().__init__(metainfo=metainfo, serialize_data=False, **kwargs)

    def load_data_list(self) -> ShardIndex:
        return index_shards(self.shards)

    def get_data_info(self, idx: int) -> dict:
        info = super().get_data_info(idx)
        return {**info, "label_map": self.label_map, "reduce_zero_label": self.reduce_zero_label, "seg_fields": []}

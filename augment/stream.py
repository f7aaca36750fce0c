"""Shards as a stream of decoded samples for any training loop, by plain webdataset."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import webdataset
from PIL import Image
from upath import UPath
from webdataset.shardlists import expand_urls
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.utils import pytorch_worker_info

from dpsims.sample import sample_seed

LABEL, META = "seg.png", "json"
IMAGES = ("jpg", "webp", "png")


def stream(
    urls: str | Sequence[str],
    *,
    shuffle: int = 1000,
    seed: int = 0,
    epoch: int = 0,
    repeat: bool = False,
    split: str = "shards",
    meta: bool = True,
) -> webdataset.FluidWrapper:
    """The samples in shards as {"key", "image", "label_map", "meta"}, shared out over nodes and a DataLoader's workers.

    "image" is (H, W, 3) uint8 RGB, "label_map" (H, W) uint8 with 255 = ignore, "meta" what KEY.json holds; "key" is
    there as "__key__", too, for webdataset's own stages. Give it to a `DataLoader`, or go on with webdataset's
    `.map(…)`, `.batched(…)`, `.with_epoch(…)`.

        loader = DataLoader(stream(shard_urls("runs/shards"), repeat=True, meta=False), batch_size=8, num_workers=4)

    One pass sees every sample once, over all nodes and workers together. Its order is a function of seed and epoch (and
    of the numbers of nodes and workers); the next pass of the same process is the next epoch. A DataLoader starts its
    workers anew for every pass, at `epoch` again: give it `persistent_workers=True`, or this `repeat=True`.

    Args:
        urls: of the tars: a list, or one string with braces, as webdataset takes it; anywhere that fsspec reaches.
            `augment.shards.shard_urls` gives those of a folder.
        shuffle: samples held back to mix; shards are shuffled, too. 0 keeps the order of the shards.
        epoch: of the first pass.
        repeat: go on for ever, epoch after epoch.
        split: what is shared out, "shards" or "samples". By shards each process reads only its own; there are to be at
            least as many as nodes and workers, and some processes get more samples than others. By samples each process
            reads all shards, decodes every n-th sample, and gets as many as the others, or one less.
        meta: False leaves it out: a DataLoader's own collating takes no None, which a source without a split has.

    Raises:
        ValueError: no shards, or when a pass begins, fewer shards than nodes.
    """
    shards = expand_urls(urls) if isinstance(urls, str) else list(urls)
    if not shards:
        raise ValueError("a stream has at least one shard; there is none")
    if split not in ("shards", "samples"):
        raise ValueError(f'split is "shards" or "samples", not {split!r}')
    if shuffle < 0:
        raise ValueError(f"shuffle is a number of samples, not {shuffle}")
    # The same in all processes. Hashed, as webdataset adds the epoch: seed 0 in epoch 1 would be seed 1 in epoch 0.
    mixing = {"seed": sample_seed(seed, "stream", 0), "epoch": epoch - 1}  # counted up before each pass
    stages = []
    if shuffle:
        stages.append(webdataset.detshuffle(len(shards), len(shards), **mixing))
    if split == "shards":
        stages += [enough_for_all_nodes, webdataset.split_by_node, webdataset.split_by_worker]
    stages += [open_tars, tar_file_expander, group_by_keys]
    if split == "samples":
        stages.append(every_nth)
    if shuffle:
        stages.append(webdataset.detshuffle(shuffle, **mixing))
    stages.append(webdataset.map(decode if meta else decode_pair))
    pipeline = webdataset.FluidWrapper(webdataset.SimpleShardList(shards)).compose(*stages)
    return pipeline.repeat() if repeat else pipeline


def enough_for_all_nodes(shards: Iterable[dict]) -> list[dict]:
    """A node without a shard would end its epoch at once, and the others wait for it for ever."""
    shards, (_, nodes, _, _) = list(shards), pytorch_worker_info()
    if len(shards) < nodes:
        raise ValueError(f'{len(shards)} shards are too few for {nodes} nodes; split="samples" serves them all')
    return shards


def open_tars(shards: Iterable[dict]) -> Iterator[dict]:
    """By fsspec, each closed when it is read; webdataset's own opener would run what a `pipe:` URL says."""
    for shard in shards:
        with UPath(shard["url"]).open("rb") as tar:
            yield {**shard, "stream": tar}


def every_nth(samples: Iterable[dict]) -> Iterator[dict]:
    rank, nodes, worker, workers = pytorch_worker_info()
    return islice(samples, rank * workers + worker, None, nodes * workers)


def decode_pair(sample: dict) -> dict:
    """A sample's image and label map from its files."""
    key, extension = sample["__key__"], next((extension for extension in IMAGES if extension in sample), None)
    if extension is None or LABEL not in sample:
        raise ValueError(f"{key} in {sample['__url__']} is no pair of an image and a label map: {', '.join(sample)}")
    with Image.open(io.BytesIO(sample[extension])) as image, Image.open(io.BytesIO(sample[LABEL])) as label_map:
        return {"key": key, "image": np.array(image.convert("RGB")), "label_map": np.array(label_map)}


def decode(sample: dict) -> dict:
    return {**decode_pair(sample), "meta": json.loads(sample[META])}

"""The stream of samples: each once over all nodes and workers, in an order of seed and epoch, as it was written."""

import io
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import webdataset
from mmseg_data import write_shards
from PIL import Image
from torch.utils.data import DataLoader
from upath import UPath

import augment.stream
from augment.shards import read_member, read_rows, shard_urls, stream
from dpsims.labels import LabelSpace, default_palette

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Five shards of three samples, and a failed one each."""
    folder = tmp_path_factory.mktemp("stream")
    write_shards(folder, SPACE, shards=5, per_shard=4)
    return folder


@pytest.fixture
def on_node(monkeypatch) -> Callable[[int, int], None]:
    """Be one of several nodes, as torchrun tells it."""

    def be(rank: int, nodes: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(nodes))

    return be


def keys_of(samples) -> list[str]:
    return [sample["key"] for sample in samples]


def all_keys(folder: Path) -> list[str]:
    return [row["key"] for shard in range(5) for row in read_rows(folder, shard) if row["status"] == "ok"]


def test_it_is_where_the_shards_are():
    assert stream is augment.stream.stream


@pytest.mark.parametrize("split", ["shards", "samples"])
@pytest.mark.parametrize("shuffle", [0, 100])
def test_two_nodes_with_two_workers_see_every_sample_once(shards, on_node, split, shuffle):
    seen = []
    for rank in range(2):
        on_node(rank, 2)
        source = stream(shard_urls(shards), shuffle=shuffle, split=split)
        seen.append(keys_of(DataLoader(source, batch_size=None, num_workers=2)))
    assert sorted(seen[0] + seen[1]) == all_keys(shards) and len(all_keys(shards)) == 15
    if split == "samples":
        assert [len(keys) for keys in seen] == [8, 7]


def test_other_epochs_share_the_shards_out_otherwise(shards, on_node):
    on_node(0, 2)
    source = stream(shard_urls(shards))
    shares = [{key[:5] for key in keys_of(source)} for _ in range(6)]
    assert len(set(map(frozenset, shares))) > 1


def test_the_order_is_a_function_of_seed_and_epoch(shards):
    urls = shard_urls(shards)
    source = stream(urls, seed=3)
    epochs = [keys_of(source) for _ in range(3)]  # the passes of one process are its epochs
    assert len(set(map(tuple, epochs))) == 3
    assert all(sorted(keys) == all_keys(shards) for keys in epochs)
    assert [keys_of(stream(urls, seed=3, epoch=epoch)) for epoch in range(3)] == epochs
    assert keys_of(stream(urls, seed=4)) not in epochs
    assert keys_of(stream(urls, seed=4)) != keys_of(stream(urls, seed=3, epoch=1))
    assert keys_of(stream(urls, shuffle=0)) == keys_of(stream(urls, shuffle=0, epoch=1)) == all_keys(shards)


def test_repeat_goes_on_with_the_next_epochs(shards):
    urls = shard_urls(shards)
    endless = keys_of(islice(stream(urls, repeat=True), 45))
    assert endless == [key for epoch in range(3) for key in keys_of(stream(urls, epoch=epoch))]


def test_workers_that_stay_go_on_with_the_next_epoch(shards):
    loader = DataLoader(stream(shard_urls(shards)), batch_size=None, num_workers=1, persistent_workers=True)
    assert [keys_of(loader), keys_of(loader)] == [
        keys_of(stream(shard_urls(shards), epoch=epoch)) for epoch in range(2)
    ]


def test_samples_are_decoded_as_they_were_written(shards):
    rows = {row["key"]: row for shard in range(5) for row in read_rows(shards, shard)}
    for sample in stream(shard_urls(shards)):
        row = rows[sample["key"]]
        assert sample.keys() == {"key", "__key__", "image", "label_map", "meta"}
        for name, extension, shape in (("image", "jpg", (64, 64, 3)), ("label_map", "seg.png", (64, 64))):
            expected = np.array(Image.open(io.BytesIO(read_member(shards, row, extension))))
            np.testing.assert_array_equal(sample[name], expected)
            assert sample[name].dtype == np.uint8 and sample[name].shape == shape
        assert sample["meta"] == json.loads(read_member(shards, row, "json"))


def test_without_metadata_a_data_loader_collates_them(shards):
    batches = list(DataLoader(stream(shard_urls(shards), meta=False), batch_size=4))
    assert [len(batch["key"]) for batch in batches] == [4, 4, 4, 3]
    assert batches[0]["image"].shape == (4, 64, 64, 3) and batches[0]["label_map"].shape == (4, 64, 64)


def test_webdataset_goes_on_from_it(shards):
    source = stream(shard_urls(shards), meta=False).map(lambda sample: {**sample, "mean": sample["image"].mean()})
    (batch,) = source.batched(15)
    assert isinstance(source, webdataset.DataPipeline) and len(batch["mean"]) == 15


def test_shards_at_urls_and_in_braces(shards, tmp_path):
    there = UPath("memory://stream")
    for tar in shards.glob("*.tar"):
        (there / tar.name).write_bytes(tar.read_bytes())
    assert keys_of(stream("memory://stream/{00000..00004}.tar", shuffle=0)) == all_keys(shards)
    marker = tmp_path / "marker"
    with pytest.raises(FileNotFoundError):
        next(iter(stream([f"pipe:touch {marker}"])))
    assert not marker.exists()


def test_what_cannot_work_is_told(shards, on_node, tmp_path):
    assert shard_urls(str(tmp_path)) == []
    for options, message in (
        ({"urls": []}, "at least one shard"),
        ({"urls": "a.tar", "split": "nodes"}, "split is"),
        ({"urls": "a.tar", "shuffle": -1}, "not -1"),
    ):
        with pytest.raises(ValueError, match=message):
            stream(**options)
    on_node(0, 6)
    with pytest.raises(ValueError, match="5 shards are too few for 6 nodes"):
        next(iter(stream(shard_urls(shards))))
    assert len(keys_of(stream(shard_urls(shards), split="samples"))) == 3
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "lone", "seg.png": b"x"})
    on_node(0, 1)
    with pytest.raises(ValueError, match=r"lone in .*a.tar is no pair"):
        next(iter(stream(str(tmp_path / "a.tar"))))

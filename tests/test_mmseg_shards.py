"""The data set over shards gives the bytes that were written, through stock mmseg pipelines, in any worker."""

import io
from pathlib import Path

import mmengine.fileio
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.utils import register_all_modules
from mmseg_data import write_shards
from PIL import Image
from torch.utils.data import DataLoader

from augment.mmseg.shard_dataset import ShardSegDataset, index_shards
from augment.mmseg.tar_backend import span_uri
from augment.shards import shard_file
from dpsims.labels import LabelSpace, default_palette

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))
LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
STOCK_PIPELINE = [*LOAD, {"type": "RandomFlip", "prob": 0.0}, {"type": "PackSegInputs"}]


@pytest.fixture(scope="module", autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


@pytest.fixture
def shards(tmp_path: Path) -> tuple[Path, dict[str, dict[str, bytes]]]:
    return tmp_path / "shards", write_shards(tmp_path / "shards", SPACE)


def test_samples_are_the_written_bytes_in_order_of_keys(shards):
    root, written = shards
    index = index_shards(root)
    assert len(index) == len(written) == 4  # 2 shards of 3, of which one failed
    for info, key in zip(index, sorted(written), strict=True):
        assert mmengine.fileio.get(info["img_path"]) == written[key]["jpg"]
        assert mmengine.fileio.get(info["seg_map_path"]) == written[key]["seg.png"]


def test_a_slice_of_the_index_is_the_index_of_a_slice(shards):
    index = index_shards(shards[0])
    assert list(index[1:3]) == [index[1], index[2]]
    assert index[-1] == index[3]


def test_stock_pipeline_gives_pixels_and_ids(shards):
    root, written = shards
    dataset = ShardSegDataset(str(root), pipeline=STOCK_PIPELINE)
    assert dataset.metainfo["classes"] == SPACE.classes
    assert [tuple(colour) for colour in dataset.metainfo["palette"]] == list(SPACE.palette)
    for number, key in enumerate(sorted(written)):
        sample = dataset[number]
        ids = np.array(Image.open(io.BytesIO(written[key]["seg.png"])))
        pixels = np.array(Image.open(io.BytesIO(written[key]["jpg"])))
        assert np.array_equal(sample["data_samples"].gt_sem_seg.data[0].numpy(), ids)
        bgr = sample["inputs"].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(bgr[..., ::-1] - pixels).max() <= 3  # two JPEG decoders
        assert sample["data_samples"].ori_shape == ids.shape


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_samples_of_the_main_process(shards, start, workers):
    dataset = ShardSegDataset(str(shards[0]), pipeline=STOCK_PIPELINE)
    here = [dataset[number]["inputs"] for number in range(len(dataset))]  # also opens the tars before the fork
    loader = DataLoader(dataset, num_workers=workers, multiprocessing_context=start, collate_fn=pseudo_collate)
    there = [batch["inputs"][0] for batch in loader]
    assert len(there) == len(here)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_indices_choose_samples(shards):
    whole = ShardSegDataset(str(shards[0]), pipeline=LOAD)
    chosen = ShardSegDataset(str(shards[0]), pipeline=LOAD, indices=[2, 0])
    assert [chosen[i]["img_path"] for i in range(2)] == [whole[2]["img_path"], whole[0]["img_path"]]
    assert len(ShardSegDataset(str(shards[0]), pipeline=LOAD, indices=3)) == 3


def test_shards_written_anew_are_read_anew(shards, tmp_path):
    root, _ = shards
    mmengine.fileio.get(index_shards(root)[0]["img_path"])
    root.rename(tmp_path / "old")
    written = write_shards(root, SPACE, shards=1, per_shard=5)
    contents = [mmengine.fileio.get(info["img_path"]) for info in index_shards(root)]
    assert contents == [written[key]["jpg"] for key in sorted(written)]


def test_uncommitted_shards_do_not_count(shards):
    root, written = shards
    shard_file(root, 1, "stats.json").unlink()
    assert len(index_shards(root)) == len([key for key in written if key.startswith("00000")])
    shard_file(root, 0, "stats.json").unlink()
    with pytest.raises(ValueError, match="no committed shards in"):
        index_shards(root)


def test_truncated_tar_is_noticed(shards):
    tar = shard_file(shards[0], 0, "tar")
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"00000\.tar has 2000 bytes"):
        index_shards(shards[0])
    with pytest.raises(EOFError, match=r"00000\.tar ends 500 bytes before"):
        mmengine.fileio.get(span_uri(tar, 1500, 1000))


def test_other_classes_are_refused(shards):
    metainfo = {"classes": ("sky", "car", "road"), "palette": [[0, 0, 0]] * 3}
    with pytest.raises(ValueError, match=r"classes \['sky', 'road', 'car'\], but the config's are \['sky', 'car'"):
        ShardSegDataset(str(shards[0]), metainfo=metainfo)


def test_a_shift_of_the_ids_is_refused(shards):
    with pytest.raises(ValueError, match="reduce_zero_label=True would shift the ids of the shards in .*shards"):
        ShardSegDataset(str(shards[0]), reduce_zero_label=True, pipeline=LOAD)
    dataset = ShardSegDataset(str(shards[0]), pipeline=[{"type": "LoadAnnotations", "reduce_zero_label": True}])
    with pytest.raises(AssertionError, match="reduce_zero_label"):  # mmseg's own
        dataset[0]


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        ShardSegDataset(str(tmp_path))

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dpsims.data import FolderDataset, find_pairs
from dpsims.frame import fit, fit_label_map
from dpsims.instances import centre_offsets


def dataset(root, **changes):
    options = dict(
        root=root, split="train", height=64, width=96, flip=True, zoom_range=1.3, augment=True, instances=False, seed=0
    )
    return FolderDataset(**(options | changes))


def test_item_is_a_function_of_index_and_position(tiny_root):
    first, second = dataset(tiny_root)[1, 7], dataset(tiny_root)[1, 7]
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["real"], dataset(tiny_root)[1, 8]["real"])
    assert not torch.equal(first["real"], dataset(tiny_root, seed=1)[1, 7]["real"])


def test_item_ranges_and_ids(tiny_root):
    item = dataset(tiny_root)[3, 0]
    assert item["real"].shape == (3, 64, 96) and item["real"].min() >= -1 and item["real"].max() <= 1
    assert item["label_map"].dtype == torch.int64
    assert set(item["label_map"].unique().tolist()) <= {0, 1, 2, 255}


def test_image_and_label_move_together(tmp_path):
    """Where the label says 1 the image is white: still so after any crop, zoom and flip."""
    (tmp_path / "train" / "images").mkdir(parents=True)
    (tmp_path / "train" / "labels").mkdir()
    label_map = np.zeros((120, 90), np.uint8)
    label_map[20:70, 50:85] = 1
    Image.fromarray(np.repeat(label_map[..., None] * 255, 3, axis=2)).save(tmp_path / "train" / "images" / "a.png")
    Image.fromarray(label_map).save(tmp_path / "train" / "labels" / "a.png")
    (tmp_path / "meta.json").write_text('{"classes": ["black", "white"]}')
    flips = set()
    for position in range(12):
        item = dataset(tmp_path, height=64, width=64, zoom_range=2.0)[0, position]
        white = item["real"].mean(0) > 0
        assert (white == (item["label_map"] == 1)).float().mean() > 0.97
        flips.add(bool(white[:, 32:].sum() > white[:, :32].sum()))
    assert flips == {True, False}


def test_validation_items_are_the_centre(tiny_root):
    data = dataset(tiny_root, augment=False, height=32, width=32)
    assert torch.equal(data[0, 0]["real"], data[0, 99]["real"])


def test_fit_covers_and_crops_the_centre():
    ramp = Image.fromarray(np.tile(np.arange(8, dtype=np.uint8), (4, 1)))
    np.testing.assert_array_equal(np.array(fit(ramp, 4, 4, resample=Image.Resampling.NEAREST))[0], [2, 3, 4, 5])
    right = fit(ramp, 4, 4, resample=Image.Resampling.NEAREST, position=(0.5, 1.0))
    np.testing.assert_array_equal(np.array(right)[0], [4, 5, 6, 7])


@pytest.mark.parametrize("size", [(480, 360), (683, 512), (640, 427), (33, 77)])
def test_fit_stays_in_the_image_whatever_the_rounding(size):
    """480 / (480 / 352) · 352 / 480 is more than 1 by a bit or two."""
    picture, rng = Image.new("L", size), np.random.default_rng(0)
    for height, width in ((256, 352), (256, 512), (64, 96), (96, 128), (256, 256)):
        for _ in range(50):
            position = tuple(rng.uniform(size=2))
            assert fit(picture, height, width, resample=Image.Resampling.NEAREST, position=position).size == (
                width,
                height,
            )


def test_fit_label_map_by_hand():
    label_map = np.arange(8, dtype=np.uint8).reshape(2, 4)
    assert fit_label_map(label_map, 2, 2).tolist() == [[1, 2], [5, 6]]
    assert fit_label_map(label_map, 4, 4).tolist() == [[1, 1, 2, 2]] * 2 + [[5, 5, 6, 6]] * 2


def test_fit_label_map_invents_no_id():
    label_map = np.random.default_rng(0).choice(np.array([3, 200, 255], np.uint8), (37, 53))
    assert set(np.unique(fit_label_map(label_map, 64, 32))) <= {3, 200, 255}


def test_faults_are_named(tiny_root, tmp_path):
    with pytest.raises(ValueError, match="no such folder: .*nowhere"):
        dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="zoom_range is at least 1, not 0.5"):
        dataset(tiny_root, zoom_range=0.5)
    root = tmp_path / "copy"
    shutil.copytree(tiny_root, root)
    (root / "train" / "labels" / "03.png").unlink()
    with pytest.raises(ValueError, match="1 files without their label, such as '03'"):
        find_pairs(root, "train")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(root / "train" / "labels" / "03.png")
    with pytest.raises(ValueError, match=r"03.jpg is \(96, 80\), .*03.png is \(10, 10\)"):
        dataset(root)[3, 0]
    (root / "meta.json").unlink()
    with pytest.raises(ValueError, match="meta.json is missing"):
        dataset(root)


def test_class_presence_finds_a_bad_label(tiny_root, tmp_path):
    presence = dataset(tiny_root).class_presence()
    assert presence[:, :2].all() and presence[:, 2].tolist() == [False, True] * 5
    root = tmp_path / "copy"
    shutil.copytree(tiny_root, root)
    Image.fromarray(np.full((80, 96), 9, np.uint8)).save(root / "train" / "labels" / "04.png")
    with pytest.raises(ValueError, match=r"ids \[9\] outside the 3 classes .*04.png"):
        dataset(root).class_presence()


def test_centre_offsets_by_hand():
    instances = np.array([[0, 5, 5, 5], [0, 0, 9, 0]])
    vertical, horizontal = centre_offsets(instances)
    np.testing.assert_allclose(vertical, 0)
    np.testing.assert_allclose(horizontal, [[0, 1 / 4, 0, -1 / 4], [0, 0, 0, 0]])


def test_offsets_follow_the_flip(tiny_root):
    plain = dataset(tiny_root, instances=True, augment=False, height=80)[1, 0]
    flips = 0
    for position in range(8):
        item = dataset(tiny_root, instances=True, zoom_range=1.0, height=80)[1, position]
        if not torch.equal(item["label_map"], plain["label_map"]):
            flips += 1
            torch.testing.assert_close(item["offsets"][1], -plain["offsets"][1].flip(-1))
            torch.testing.assert_close(item["offsets"][0], plain["offsets"][0].flip(-1))
    assert flips

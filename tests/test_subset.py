"""A part of the labels as a data set: nested choices, whole pairs, other splits untouched, and nothing mixed up."""

from pathlib import Path

import pytest
from mmseg_data import write_data_set
from official_layouts import make_ade20k, make_cityscapes, make_coco_stuff

from augment.subset import choose, link_subset
from dpsims.labels import LabelSpace, default_palette
from dpsims.layouts import find_pairs

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data", SPACE, images=8)


def test_smaller_choices_are_in_larger_ones_and_depend_on_the_seed():
    keys = [f"{n:03d}" for n in range(40)]
    chosen = {fraction: choose(keys, fraction, 0) for fraction in (0.05, 0.25, 1.0, 0.001)}
    assert [len(names) for names in chosen.values()] == [2, 10, 40, 1]
    assert set(chosen[0.05]) < set(chosen[0.25]) < set(chosen[1.0]) == set(keys)
    assert choose(keys, 0.25, 0) == chosen[0.25] != choose(keys, 0.25, 1)
    for fraction in (0, 1.1, -1):
        with pytest.raises(ValueError, match=f"more than 0 and at most 1, not {fraction}"):
            choose(keys, fraction, 0)
    with pytest.raises(ValueError, match="--seed is at least 0, not -1"):
        choose(keys, 0.5, -1)


def test_a_part_of_the_training_images_and_all_of_the_others(root, tmp_path):
    (root / "train" / "instances").mkdir()
    for pair in find_pairs(root, "train"):
        (root / "train" / "instances" / f"{pair.key}.png").write_bytes(b"")
    out = tmp_path / "quarter"
    chosen = link_subset(root, out, 0.25)
    assert len(chosen) == 2
    assert [pair.key for pair in find_pairs(out, "train")] == chosen
    assert sorted(file.stem for file in (out / "train" / "instances").iterdir()) == chosen
    for split in ("val", "test"):
        assert [pair.key for pair in find_pairs(out, split)] == [pair.key for pair in find_pairs(root, split)]
    assert (out / "meta.json").read_bytes() == (root / "meta.json").read_bytes()
    assert (out / "train" / "images" / f"{chosen[0]}.jpg").resolve() == root / "train" / "images" / f"{chosen[0]}.jpg"


def test_the_same_again_stays_and_something_else_is_refused(root, tmp_path):
    out = tmp_path / "half"
    (tmp_path / "half.part" / "train").mkdir(parents=True)  # of a call that was killed
    chosen = link_subset(root, out, 0.5)
    before = {file: file.lstat().st_mtime_ns for file in out.rglob("*")}
    assert link_subset(root, out, 0.5) == chosen
    assert {file: file.lstat().st_mtime_ns for file in out.rglob("*")} == before
    for changed in ({"fraction": 0.25}, {"fraction": 0.5, "seed": 1}):
        with pytest.raises(ValueError, match="half is there already, and is not"):
            link_subset(root, out, **changed)


@pytest.mark.parametrize(
    ("make", "layout", "split"),
    [
        (make_ade20k, "ade20k", "training"),
        (make_cityscapes, "cityscapes", "train"),
        (make_coco_stuff, "coco_stuff", "train2017"),
    ],
)
def test_official_layouts(make, layout, split, tmp_path):
    root = make(tmp_path / "data")
    chosen = link_subset(root, tmp_path / "half", 0.5, split=split, layout=layout)
    assert len(chosen) == 2
    assert [pair.key for pair in find_pairs(tmp_path / "half", split, layout)] == chosen

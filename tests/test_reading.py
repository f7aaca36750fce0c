"""How ids in label files are read: as asked for, or by what lies beside the files, or by the generator's run."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from augment.reading import Reading, check_train_ids, find_reading
from dpsims.labels import LABEL_SPACES, LabelSpace, default_palette, find_label_space, load_label_space

CLASSES = ("sky", "road", "car")
SPACE = LabelSpace(CLASSES, default_palette(3))
ADE20K = load_label_space(LABEL_SPACES / "ade20k.json")


def described(folder: Path, **meta: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps({"classes": CLASSES, **meta}))
    return folder / "meta.json"


def trained(folder: Path, root: Path, label_space: str | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"root": str(root), "label_space": label_space}}))
    return folder


@pytest.fixture
def labels(tmp_path) -> Path:
    (tmp_path / "data" / "train" / "labels").mkdir(parents=True)
    return tmp_path / "data" / "train" / "labels"


def name_of(named: str | None, labels: Path, generator: Path, own: LabelSpace = SPACE) -> str:
    return find_reading(named, labels, generator, own).name


def test_what_is_named_comes_first(labels, tmp_path):
    meta = described(tmp_path / "data", ignore_index=9)
    other = described(tmp_path / "other", raw_to_id={"7": 2})
    run = trained(tmp_path / "run", tmp_path / "data", None)
    found = find_reading(str(other), labels, run, SPACE)
    assert (found.space.raw_to_id, found.name, found.reason) == ({7: 2}, str(other), "by --label-space")
    assert find_reading("own", labels, run, SPACE).space is SPACE
    assert find_reading("ade20k", labels, run, ADE20K).space.raw_to_id[1] == 0
    assert name_of(None, labels, run) == str(meta)
    with pytest.raises(ValueError, match="--label-space is one of ade20k, cityscapes, .*, own, or a file .* not 'ade'"):
        find_reading("ade", labels, run, SPACE)


def test_a_meta_json_is_looked_for_from_the_folder_upwards(labels, tmp_path):
    run = tmp_path / "run"  # is none
    assert name_of(None, labels, run) == "own"
    for folder in (tmp_path, tmp_path / "data", labels.parent, labels):
        meta = described(folder, ignore_index=200)
        found = find_reading(None, labels, run, SPACE)
        assert found.name == str(meta) and found.space.raw_to_id == {0: 0, 1: 1, 2: 2, 200: 255}
    meta.write_text("{}")
    with pytest.raises(ValueError, match="labels/meta.json names no `classes`; --label-space says"):
        find_reading(None, labels, run, SPACE)


def test_without_one_the_training_tells(labels, tmp_path):
    run = trained(tmp_path / "run", tmp_path / "elsewhere", "ade20k")
    for snapshot in (run, run / "best", run / "kept" / "000000100", run / "best" / "generator.safetensors"):
        (snapshot if snapshot.suffix == "" else snapshot.parent).mkdir(parents=True, exist_ok=True)
        found = find_reading(None, labels, snapshot, ADE20K)
        assert found.name == "ade20k" and found.reason == f"which {run / 'config.yaml'} names"
        assert found.space.raw_to_id == ADE20K.raw_to_id
    meta = described(tmp_path / "elsewhere", ignore_index=200)
    found = find_reading(None, labels, trained(tmp_path / "other", tmp_path / "elsewhere", None), SPACE)
    assert found.name == str(meta) and found.space.raw_to_id[200] == 255
    meta.unlink()
    assert name_of(None, labels, tmp_path / "other") == "own"
    with pytest.raises(ValueError, match="config.yaml names the label space 'ade', which is none that is known"):
        find_reading(None, labels, trained(tmp_path / "odd", tmp_path, "ade"), ADE20K)


@pytest.mark.parametrize("text", ["- a", "data: 5", "model: x", ""])
def test_a_configuration_of_something_else_tells_nothing(labels, tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(text)
    assert name_of(None, labels, tmp_path / "run") == "own"


def test_official_classes_alone_do_not_tell_how_files_number_them(labels, tmp_path):
    """The same names stand for the official files and for ids 0 to C-1: to guess would shift classes silently."""
    own = LabelSpace(ADE20K.classes, ADE20K.palette)
    with pytest.raises(ValueError, match="--label-space ade20k is for .*, --label-space own for 0 to 149 and 255"):
        find_reading(None, labels, tmp_path, own)
    assert name_of("own", labels, tmp_path, own) == "own" and name_of("ade20k", labels, tmp_path, own) == "ade20k"


def test_a_training_on_these_files_that_read_them_otherwise_is_not_passed_over(labels, tmp_path):
    """Generic layout with data.label_space=ade20k, beside a meta.json that training did not read."""
    (tmp_path / "data" / "meta.json").write_text(json.dumps({"classes": ADE20K.classes}))
    run = trained(tmp_path / "run", tmp_path / "data", "ade20k")
    with pytest.raises(ValueError, match="meta.json and ade20k, which .*config.yaml names, number the classes diff"):
        find_reading(None, labels, run, ADE20K)
    assert name_of("ade20k", labels, run, ADE20K) == "ade20k"
    elsewhere = trained(tmp_path / "elsewhere", tmp_path / "ade", "ade20k")
    assert name_of(None, labels, elsewhere, ADE20K).endswith("meta.json")  # data of another origin


@pytest.mark.parametrize(
    ("classes", "difference"),
    [
        (["sky", "car", "road"], "class 1: 'car' there, 'road' here"),
        (["sky", "road"], "class 2: None there, 'car' here"),
        (["sky", "road", "car", "tree"], "class 3: 'tree' there, None here"),
    ],
)
def test_other_classes_are_refused_with_the_first_difference(labels, tmp_path, classes, difference):
    meta = described(tmp_path / "data", classes=classes)
    with pytest.raises(ValueError) as caught:
        find_reading(None, labels, tmp_path / "run", SPACE)
    for words in (str(meta), str(tmp_path / "run"), f"has {len(classes)} classes", "has 3;", difference):
        assert words in str(caught.value)


def test_train_ids_are_not_read_by_an_official_table():
    files = [Path("a_gtFine_labelIds.png"), Path("b_gtFine_labelTrainIds.png")]
    official = find_label_space("cityscapes", Path("unused"))
    reading = Reading(official, "cityscapes", "x")
    check_train_ids(reading, files[:1])
    with pytest.raises(
        ValueError, match="b_gtFine_labelTrainIds.png holds train ids .* of cityscapes; --label-space own"
    ):
        check_train_ids(reading, files)
    check_train_ids(Reading(SPACE, "own", "x"), files)
    assert official.from_raw(np.array([[0]], np.uint8), "x") == 255  # as it would be: road

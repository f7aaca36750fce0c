import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from faulty_data import ERRORS, HEIGHT, WIDTH, make_sound, same_key
from official_layouts import make_ade20k, make_cityscapes, make_coco_stuff
from PIL import Image

from dpsims import audit as audit_module
from dpsims.audit import Auditor
from dpsims.audit_result import EXAMPLES, FAULTS, Audit
from dpsims.labels import find_label_space


def audit(root: Path, splits: tuple[str, ...] = ("train", "val"), **changes) -> Audit:
    options = dict(layout="generic", height=32, width=48, instances=True, threads=2) | changes
    space = find_label_space(None if options["layout"] == "generic" else options["layout"], root)
    return Auditor(root=root, space=space, **options).run(splits)


def counts(found: Audit) -> dict[tuple[str, str], int]:
    return {(problem.kind, problem.split): problem.count for problem in found.problems}


@pytest.fixture
def root(tmp_path) -> Path:
    return make_sound(tmp_path)


def test_a_sound_data_set_by_hand(root):
    found = audit(root)
    assert found.passed and not found.problems
    train, val = found.splits
    assert (len(train.images), len(train.labels), len(train.keys), len(val.keys)) == (8, 8, 8, 4)
    # Of 2400 pixels 60 are ignored; sky has 19 rows, the ground 20 but for 4x10 pixels of thing.
    assert train.ignored == 60 / 2400
    np.testing.assert_allclose(train.class_share, [1140 / 2340, 1160 / 2340, 40 / 2340])
    np.testing.assert_allclose(train.instance_share, [0, 0, 1])
    assert (train.with_instances, train.num_instances) == (8, 16)
    assert train.presence.all() and train.smallest == train.largest == (WIDTH, HEIGHT)
    assert train.cut == 0


@pytest.mark.parametrize("spoil", ERRORS, ids=lambda spoil: spoil.__name__)
def test_an_error_is_counted_and_named(root, spoil):
    kind, split, words = spoil(root)
    found = audit(root)
    assert not found.passed
    (problem,) = (problem for problem in found.problems if problem.severity == "error")
    assert (problem.kind, problem.split, problem.count) == (kind, split, 1)
    assert all(word in problem.examples[0] for word in words), problem.examples
    assert str(root) not in problem.examples[0]


def test_one_bad_file_leaves_the_others_counted(root):
    for spoil in ERRORS[:3]:
        spoil(root)
    train, val = audit(root).splits
    assert train.keys == [f"train{number}" for number in (0, 3, 4, 5, 6, 7)] and val.keys == ["val0", "val2", "val3"]
    assert train.pixels.sum() == 6 * HEIGHT * WIDTH


def test_a_split_with_two_files_of_one_key_is_audited_all_the_same(root):
    same_key(root)
    (root / "train/labels/train5.png").unlink()
    found = audit(root)
    assert counts(found) == {("key", "train"): 1, ("no label", "train"): 1, ("endings", "train"): 2}
    assert len(found.splits[0].keys) == 7


def test_a_file_is_opened_once(root, monkeypatch):
    opened = Counter()
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda file, *rest: opened.update([file]) or original(file, *rest))
    audit(root)
    assert len(opened) == 12 * 3 and set(opened.values()) == {1}


def test_object_annotations_are_read_only_for_instances(tmp_path):
    root = make_coco_stuff(tmp_path, instances_from="objects")
    for split in ("train2017", "val2017"):
        (root / f"annotations/instances_{split}.json").write_text("no JSON")
    frame = dict(layout="coco_stuff", height=64, width=96)
    found = audit(root, ("train2017", "val2017"), instances=False, **frame)
    assert found.passed and counts(found).keys() == {("unseen", "train2017")}
    found = audit(root, ("train2017", "val2017"), instances=True, **frame)
    assert {("instances", "train2017"), ("instances", "val2017")} < counts(found).keys()


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_an_orientation_is_read_from_either_format(root, ending):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(root / "val/images/val0.png")
    (root / "val/images/val0.png").unlink()
    image.save(root / f"val/images/val0.{ending}", exif=exif)
    found = audit(root)
    assert counts(found) == {("turned", "val"): 1, **({("endings", "val"): 2} if ending == "jpg" else {})}
    assert found.problems[0].examples == [f"val/images/val0.{ending} (orientation 6)"]


def test_without_instances_their_faults_are_warnings(root):
    (root / "train/instances/train0.png").unlink()
    shutil.rmtree(root / "val/instances")
    found = audit(root, instances=False)
    assert found.passed and counts(found) == {("unused", "train"): 1}
    assert [split.with_instances for split in found.splits] == [7, 0]
    assert counts(audit(root)) == {("instances", "train"): 1, ("instances", "val"): 1}


def test_warnings(root):
    """Each is found, and none makes the audit fail."""
    Image.fromarray(np.full((HEIGHT, WIDTH), 255, np.uint8)).save(root / "train/labels/train0.png")
    shutil.copy(root / "train/images/train1.png", root / "train/images/train2.png")
    for file in (root / "train/labels").iterdir():  # nobody holds class 2 any more
        label_map = np.array(Image.open(file))
        Image.fromarray(np.where(label_map == 2, 1, label_map)).save(file)
    for folder in ("images", "labels", "instances"):
        (root / "train" / folder / "train3.png").rename(root / "train" / folder / "val0.png")
    found = audit(root)
    assert found.passed
    assert counts(found) == {
        ("ignored", "train"): 1,
        ("twice", "train"): 1,
        ("name", "val"): 1,
        ("unseen", "train"): 1,
    }
    examples = {problem.kind: problem.examples for problem in found.problems}
    assert examples["unseen"] == ["thing"] and examples["twice"] == ["train2 is train1"]
    assert examples["name"] == ["val0 (also in train)"]


def spoiled(root: Path, **meta) -> dict[tuple[str, str], list[str]]:
    """Examples of each problem that an audit of the training split alone finds; all of them are warnings."""
    (root / "meta.json").write_text(json.dumps({"classes": ["sky", "ground", "thing"], **meta}))
    found = audit(root, ("train",))
    assert found.passed
    return {(problem.kind, problem.split): problem.examples for problem in found.problems}


def test_splits_that_segmenters_need_are_warned_of(root):
    shutil.rmtree(root / "val")
    shutil.rmtree(root / "test/labels")
    assert spoiled(root) == {
        ("absent", "val"): ["val/images", "val/labels"],
        ("absent", "test"): ["test/labels"],
    }
    for file in (root / "test/images").iterdir():
        file.unlink()
    (root / "test/images/notes.txt").touch()
    assert spoiled(root)["absent", "test"] == ["test/images", "test/labels"]


def test_a_split_that_is_an_error_is_not_warned_of_too(root):
    shutil.rmtree(root / "val")
    assert counts(audit(root)) == {("folder", "val"): 2}  # of images, of label maps


def test_endings_that_segmenters_refuse_are_warned_of(root):
    """Also those of the splits that the GAN does not read: their names are enough."""
    (root / "train/images/train1.png").rename(root / "train/images/train1.jpg")
    for file in (root / "val/images").iterdir():
        file.rename(file.with_suffix(".PNG"))
    (root / "test/labels/test1.png").rename(root / "test/labels/test1.PNG")
    (root / "test/images/.hidden.jpg").touch()
    assert spoiled(root) == {
        ("endings", "train"): ["train/images: 1 *.jpg", "train/images: 7 *.png"],
        ("endings", "val"): ["val/images: 4 *.PNG"],
        ("endings", "test"): ["test/labels: 1 *.PNG", "test/labels: 1 *.png"],
    }


@pytest.mark.parametrize(
    ("meta", "examples"),
    [
        ({"ignore_index": 255}, None),
        ({"ignore_index": 200}, ["200 is read as 255"]),
        ({"raw_to_id": {"0": 0, "1": 2, "2": 1, "9": 255}}, ["1 is read as 2", "2 is read as 1", "9 is read as 255"]),
        ({"raw_to_id": {"0": 0, "1": 1, "2": 2, "255": 255}}, [f"{id} is read as {id}" for id in (0, 1, 2, 255)]),
    ],
)
def test_ids_that_segmenters_refuse_are_warned_of(root, meta, examples):
    for file in root.glob("*/labels/*.png"):
        label_map = np.array(Image.open(file))
        label_map[label_map == 255] = meta.get("ignore_index", 9 if "9" in meta.get("raw_to_id", ()) else 255)
        Image.fromarray(label_map).save(file)
    assert spoiled(root, **meta) == ({("translated", "train"): examples} if examples else {})


def test_official_layouts_are_not_held_to_the_generic_one(tmp_path):
    found = audit(make_ade20k(tmp_path), ("training",), layout="ade20k", height=64, width=96)
    assert counts(found).keys() == {("unseen", "training")}


def test_small_and_cut_images_by_hand(root):
    """60x40 in a frame of 64 x 64: 20 of 60 columns are cut off, and both sides are too small."""
    found = audit(root, height=64, width=64)
    assert counts(found) == {(kind, split): n for kind in ("small", "cut") for split, n in (("train", 8), ("val", 4))}
    assert found.splits[0].cut == pytest.approx(1 / 3)
    assert found.problems[-1].examples[0] == "val/images/val0.png (33% of 60x40)"
    found = audit(root, height=32, width=64)  # as wide as 2 to 1: 10 of 40 rows
    assert found.splits[0].cut == pytest.approx(1 / 4)


def test_three_splits_are_compared_with_each_other(root):
    shutil.rmtree(root / "test")
    shutil.copytree(root / "val", root / "test")
    found = audit(root, ("train", "val", "test"))
    assert counts(found) == {("shared", "test"): 4}  # "name" is for other images under the same name
    assert found.problems[0].examples[:2] == ["val0 is val0 of val", "val1 is val1 of val"]


def test_faults_beyond_the_first_few_are_counted_in_chunks_of_files(root, monkeypatch):
    monkeypatch.setattr(audit_module, "CHUNK", 3)
    for number in range(10):
        for folder in ("images", "instances"):
            shutil.copy(root / "train" / folder / "train0.png", root / "train" / folder / f"more{number}.png")
        Image.new("L", (WIDTH, HEIGHT), 77).save(root / "train/labels" / f"more{number}.png")
    found = audit(root)
    ids = next(problem for problem in found.problems if problem.kind == "ids")
    assert ids.count == 10 and len(ids.examples) == EXAMPLES
    assert [example.split("/")[-1] for example in ids.examples] == [f"more{number}.png" for number in range(EXAMPLES)]


@pytest.mark.parametrize(
    ("layout", "make", "splits"),
    [
        ("ade20k", make_ade20k, ("training", "validation")),
        ("cityscapes", make_cityscapes, ("train", "val")),
        ("coco_stuff", make_coco_stuff, ("train2017", "val2017")),
    ],
)
def test_official_layouts(layout, make, splits, tmp_path):
    found = audit(make(tmp_path), splits, layout=layout, height=64, width=96)
    assert found.passed and counts(found).keys() == {("unseen", splits[0])}
    car = next(index for index, name in enumerate(find_label_space(layout, tmp_path).classes) if name == "car")
    train = found.splits[0]
    crowds = 1 if layout == "coco_stuff" else 0
    assert train.num_instances == 8 - crowds
    assert (train.instance_share[car] == 1) == (not crowds)


def test_every_kind_of_fault_is_planted_somewhere(root):
    """The list of faults and these tests cannot drift apart."""
    planted = set()
    for number, spoil in enumerate(ERRORS):
        planted.add(spoil(make_sound(root / str(number)))[0])
    assert planted == {kind for kind, (severity, _) in FAULTS.items() if severity == "error"}

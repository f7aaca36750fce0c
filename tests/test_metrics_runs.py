"""Where the data of trained runs is: what their configurations say, what is asked for instead, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from evaluate_tool import write_run
from official_layouts import make_cityscapes

from dpsims.labels import LABEL_SPACES, load_label_space
from dpsims.metrics.runs import Place, find_place, open_runs
from dpsims.run_folder import run_of

OF_CLASSES = {"good": ("sky", "road", "car"), "other": ("road", "sky", "car")}
COUNTS = {"max_maps": None, "samples": 2, "diversity_samples": 2, "neighbours": 3}


def configured(folder: Path, **data: str | None) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"name": "streets", "root": "there", **data}}))
    return folder


def test_a_place_is_what_the_runs_say_and_what_is_asked_for_comes_first(tmp_path):
    plain = configured(tmp_path / "plain")
    assert find_place([plain]) == Place("streets", Path("there"), "generic", None, "train", "val", "val")
    official = {"layout": "ade20k", "label_space": "ade20k", "train_split": "training", "val_split": "validation"}
    ade = configured(tmp_path / "ade", **official)
    place = Place("streets", Path("there"), "ade20k", "ade20k", "training", "validation", "validation")
    assert find_place([ade]) == find_place([ade, ade]) == place
    found = find_place([ade], root="my/own", split="testing", reference_split="training")
    assert found == Place("own", Path("my/own"), "ade20k", "ade20k", "training", "testing", "training")
    # Another layout has other splits and files with other ids.
    found = find_place([ade], root="my/own", layout="generic")
    assert found == Place("own", Path("my/own"), "generic", None, "train", "val", "val")
    found = find_place([tmp_path / "nowhere"], root="x", layout="coco_stuff", label_space="coco_stuff", split="val2017")
    assert found == Place("x", Path("x"), "coco_stuff", "coco_stuff", "train", "val2017", "val2017")
    without = configured(tmp_path / "without", val_split=None)
    with pytest.raises(ValueError, match=r"no validation split; name one with --split \(for example train\)"):
        find_place([without])
    assert find_place([without], split="train").split == find_place([without], split="train").reference_split == "train"
    assert find_place([without], root="my/own").split == "val"


def test_a_meta_json_tells_the_ids_of_other_data_than_the_runs(tmp_path):
    """Raw ids of ADE20K in the generic layout were trained on; ids of its classes are measured on."""
    run = configured(tmp_path / "run", label_space="ade20k")
    (tmp_path / "mine").mkdir()
    assert find_place([run], root=str(tmp_path / "mine")).label_space == "ade20k"
    (tmp_path / "mine" / "meta.json").write_text("{}")
    assert find_place([run], root=str(tmp_path / "mine")).label_space is None
    assert find_place([run], root=str(tmp_path / "mine"), label_space="coco_stuff").label_space == "coco_stuff"
    assert find_place([run]).label_space == "ade20k"  # as it was trained


def test_runs_of_different_data_are_refused(tmp_path):
    runs = [configured(tmp_path / name, val_split=name) for name in ("day", "night")]
    with pytest.raises(ValueError, match="--split is needed, as the runs were trained with different ones: day, night"):
        find_place(runs)
    assert find_place(runs, split="dusk").split == "dusk"
    runs.append(configured(tmp_path / "ade", layout="ade20k"))
    with pytest.raises(ValueError, match="--layout is needed, as the runs .* None, ade20k"):
        find_place(runs)
    with pytest.raises(ValueError, match="--data is needed: .*nowhere is not in a run folder"):
        find_place([tmp_path / "nowhere"])


def test_runs_are_opened_with_an_official_layout_at_their_size(tmp_path):
    root = make_cityscapes(tmp_path / "cityscapes")
    classes = load_label_space(LABEL_SPACES / "cityscapes.json").classes
    data = {"layout": "cityscapes", "label_space": "cityscapes"}
    run = write_run(tmp_path / "run", root, 0, classes, **data)
    place = find_place([run], reference_split="train")
    (opened,) = open_runs([run], place, torch.device("cpu"), **COUNTS)
    assert (opened.name, len(opened.maps), len(opened.reals)) == ("run", 2, 4)
    assert opened.maps[0, 0]["label_map"].shape == (32, 64)
    assert set(opened.maps[0, 0]["label_map"].unique().tolist()) <= {0, 10, 13, 255}  # road, sky, car
    with pytest.raises(ValueError, match="no such folder: .*leftImg8bit/test"):
        open_runs([run], find_place([run], split="test"), torch.device("cpu"), **COUNTS)


def test_the_run_at_fault_is_named(tmp_path, tiny_root):
    good, other = (write_run(tmp_path / name, tiny_root, 0, classes) for name, classes in OF_CLASSES.items())
    place = find_place([good, other], split="train")
    with pytest.raises(ValueError, match="^other: class 0 is 'road' to the generator, and 'sky' in the data set"):
        open_runs([good, other], place, torch.device("cpu"), **COUNTS)
    root = shutil.copytree(tiny_root, tmp_path / "data", ignore=shutil.ignore_patterns("instances"))
    seeing = write_run(tmp_path / "seeing", root, 0, instances=True)
    with pytest.raises(ValueError, match=r"^seeing: it was trained with instances, but .*data has no train/instances"):
        open_runs([seeing], find_place([seeing], split="train"), torch.device("cpu"), **COUNTS)
    shutil.rmtree(root)
    with pytest.raises(ValueError, match="^--data: no such folder: .*data"):
        open_runs([seeing], find_place([seeing], split="train"), torch.device("cpu"), **COUNTS)


def test_runs_with_folders_of_one_name_go_by_their_paths(tmp_path, tiny_root):
    runs = [write_run(tmp_path / parent / "best", tiny_root, 0) for parent in ("a", "b")]
    place = find_place(runs, split="train")
    opened = open_runs(runs, place, torch.device("cpu"), **COUNTS)
    assert [run.name for run in opened] == [str(run) for run in runs]
    assert all(run.maps.instances is None for run in opened)


def test_a_snapshot_deep_in_a_run_is_of_that_run(tmp_path):
    run = configured(tmp_path / "mine", val_split="night")
    for folder in ("best", "kept/000000100"):
        (run / folder).mkdir(parents=True)
        assert run_of(run / folder) == run_of(run / folder / "generator.safetensors") == run.absolute()
    assert find_place([run / "best"]).split == "night"
    assert run_of(tmp_path) is None

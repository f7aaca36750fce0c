"""tools/evaluate_gan.py with segmenters and on an official layout: what they score, what is kept, what is refused."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluate_tool import call, write_place, write_run
from official_layouts import make_ade20k
from PIL import Image

from augment.mmseg.scorer import load_segmenter, score_images
from dpsims.data import FolderDataset
from dpsims.labels import LABEL_SPACES, load_label_space
from dpsims.metrics.generate import Compute, make_labelled, read_labelled
from dpsims.sample import load_generator

TRIAL = ("--train-on-synthetic", "2", "--segmenter-seeds", "1", "--synthetic-samples", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_root) -> Path:
    return write_place(tmp_path_factory.mktemp("place"), tiny_root)


@pytest.fixture(autouse=True)
def at_home(place, monkeypatch) -> None:
    monkeypatch.setenv("DPSIMS_CACHE", str(place / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(place))


def options(place: Path, *names: str) -> tuple:
    runs = ("--generator", *(place / "runs" / name for name in names), "--out", place / "out")
    counts = ("--split", "train", "--max-maps", "4", "--diversity-samples", "2", "--precision", "fp32")
    return *runs, *counts, "--features", "resnet18", "--features-weights", f"resnet18={place / 'resnet18.pth'}"


@pytest.fixture(scope="module")
def trained(place) -> dict:
    """The report after segmenters were trained on both runs' images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPSIMS_CACHE", str(place / "cache"))
        patch.setenv("TORCH_HOME", str(place))
        assert call(patch, *options(place, "a", "b"), *TRIAL) == 0
    return json.loads((place / "out" / "report.json").read_text())


@pytest.fixture(scope="module")
def segmenter(place, trained) -> tuple[Path, Path]:
    """Config and checkpoint of a segmenter of two iterations."""
    folder = place / "out" / "real" / "32x64" / "real-seed0"
    return folder / "efficientnet_lite0_fpn_generic_real.py", folder / "iter_2.pth"


def test_segmenters_are_trained_on_each_runs_images_and_once_on_real_ones(place, trained):
    out = place / "out"
    folders = sorted(str(file.parent.relative_to(out)) for file in out.rglob("test.json"))
    arms = ("a/segmenters/synthetic", "b/segmenters/synthetic", "real/32x64/real")
    assert folders == [f"{arm}-seed0" for arm in arms]
    for run in trained["runs"]:
        synthetic, real = run["trained"]["synthetic"], run["trained"]["real"]
        assert synthetic["images"] == real["images"] == {"train": 10, "test": 2}
        test = json.loads((out / run["name"] / "segmenters" / "synthetic-seed0" / "test.json").read_text())
        assert (synthetic["mIoU"], synthetic["IoU"]) == (test["mIoU"], test["IoU"])
        numbers = {key: value for key, value in run["numbers"].items() if key.startswith("T")}
        assert numbers == {
            "TSTR/efficientnet_lite0_fpn": synthetic["mIoU"],
            "TRTR/efficientnet_lite0_fpn": real["mIoU"],
        }
    page = (out / "report.html").read_text()
    assert "As the only training images" in page and "In a segmenter’s eyes" not in page
    assert "No number here says what a segmenter learns" not in page


def test_again_with_a_segmenter_the_numbers_are_the_same_and_nothing_is_trained_again(
    place, trained, segmenter, tiny_root, monkeypatch, capsys
):
    out = place / "out"
    times = {file: file.stat().st_mtime_ns for file in out.rglob("*seed*/**/*") if file.is_file()}
    assert call(monkeypatch, *options(place, "a", "b"), *TRIAL, "--segmenter", *segmenter) == 0
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*seed*/**/*") if file.is_file()} == times
    report = json.loads((out / "report.json").read_text())
    compute = Compute(torch.device("cpu"), 8, bf16=False, workers=0)
    size = {"height": 32, "width": 64, "flip": False, "zoom_range": 1.0, "augment": False}
    data = FolderDataset(root=tiny_root, split="train", instances=False, seed=0, **size)
    for run, before in zip(report["runs"], trained["runs"], strict=True):
        assert run["trained"] == before["trained"]
        assert run["numbers"].items() > before["numbers"].items()
        snapshot = load_generator(place / "runs" / run["name"])
        scorer = load_segmenter(*segmenter, snapshot.space)
        images = make_labelled(snapshot, data, [0, 3, 6, 9], compute, samples=1, seed=0)
        assert run["segmented"]["painted"] == score_images(scorer, images)
        assert run["segmented"]["real"] == score_images(scorer, read_labelled(data, [0, 3, 6, 9], compute))
        assert run["numbers"]["mIoU/efficientnet_lite0_fpn_generic_real"] == run["segmented"]["painted"]["mIoU"]
    page = (out / "report.html").read_text()
    assert "In a segmenter’s eyes" in page and "As the only training images" in page
    printed = capsys.readouterr().out
    assert "efficientnet_lite0_fpn_generic_real looks for the label maps" in printed and "TSTR efficientnet" in printed


def test_an_official_layout_and_a_segmenter_that_knows_few_of_its_classes(
    place, segmenter, tmp_path, monkeypatch, capsys
):
    root = make_ade20k(tmp_path / "ade")
    classes = load_label_space(LABEL_SPACES / "ade20k.json").classes
    data = {"layout": "ade20k", "label_space": "ade20k", "train_split": "training", "val_split": "validation"}
    run = write_run(tmp_path / "run", root, 0, classes, **data)
    given = ("--generator", run, "--out", tmp_path / "out", "--samples", "2", "--reference-split", "training")
    given += ("--features", "resnet18", "--features-weights", f"resnet18={place / 'resnet18.pth'}")
    assert call(monkeypatch, *given, "--segmenter", *segmenter) == 2
    assert "has no class 'wall', 'building'" in capsys.readouterr().err
    assert call(monkeypatch, *given, *TRIAL) == 2
    assert (
        "reads the generic layout with the classes of its meta.json only, not layout ade20k" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()

    assert call(monkeypatch, *given, "--segmenter", *segmenter, "--allow-missing") == 0
    assert "2 label maps of tiny validation, 4 samples each" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    found = report["runs"][0]["segmented"]["painted"]
    assert found["images"] == 4 and len(found["left_out"]) == 147
    assert {name for name, iou in found["IoU"].items() if iou is not None} == {"sky", "road", "car"}
    assert "lacks 147 classes, and its mIoU leaves them out: wall, building" in report["notes"][0]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "All 150 classes" in page and page.count("<span>–</span>") == 2 * 147


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--segmenter", "x.py", "y.pth"], "no such config: x.py"),
        (["--segmenter", "{config}", "y.pth"], "no such checkpoint: y.pth"),
        (["--segmenter", "{config}", "{other}"], "does not fit the config's model"),
        (
            ["--segmenter", "{config}", "{checkpoint}", "--segmenter-options", "a"],
            "--segmenter-options takes KEY=VALUE",
        ),
        (["--segmenter-options", "a=1"], "--segmenter-options means nothing without --segmenter"),
        (["--allow-missing"], "--allow-missing means nothing without --segmenter"),
        (["--synthetic-samples", "2"], "--synthetic-samples means nothing without --train-on-synthetic"),
        (
            [*TRIAL, "--data", "{bad}"],
            "label map has ids [9] outside the 3 classes (ignore_index=255): {bad}/test/labels",
        ),
        (["--train-on-synthetic", "1"], "--train-on-synthetic is at least 2, not 1"),
        ([*TRIAL, "--segmenter-seeds", "0"], "--segmenter-seeds is at least 1, not 0"),
        ([*TRIAL, "--test-split", "night"], "no such folder: {root}/night/images"),
        ([*TRIAL, "--train-split", "night"], "no such folder: {root}/night/images"),
        ([*TRIAL, "--test-split", "train"], "cannot be tested on what it is trained on: split train"),
        ([*TRIAL, "--train-on-synthetic", "3"], "made with other settings (iterations: 2 → 3"),
        ([*TRIAL, "--synthetic-samples", "3"], "plan.samples_per_map: 1 → 3"),
    ],
)
def test_user_errors_come_before_any_work(
    place, trained, segmenter, tiny_root, tmp_path, monkeypatch, capsys, given, message
):
    monkeypatch.setattr("dpsims.metrics.generate.load", None)
    config, checkpoint = segmenter
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.pth")
    bad = shutil.copytree(tiny_root, tmp_path / "bad")
    Image.fromarray(np.full((80, 96), 9, np.uint8)).save(bad / "test" / "labels" / "01.png")
    paths = {"bad": bad, "config": config, "checkpoint": checkpoint, "other": tmp_path / "other.pth", "root": tiny_root}
    assert call(monkeypatch, *options(place, "a"), *(part.format(**paths) for part in given)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1 and message.format(**paths) in printed


def test_two_names_of_one_folder_are_refused(place, tiny_root, monkeypatch, capsys):
    write_run(place / "runs" / "c_best", tiny_root, 0)
    run = write_run(place / "runs" / "c", tiny_root, 1)
    (run / "best").mkdir()
    for file in run.glob("generator.*"):
        shutil.copy(file, run / "best")
    assert call(monkeypatch, *options(place, "c/best", "c_best"), *TRIAL) == 2
    message = f"the generators c/best and c_best would share a folder in {place / 'out'}"
    assert message in capsys.readouterr().err


def test_images_of_label_maps_that_have_changed_since_are_refused(place, trained, tiny_root, monkeypatch, capsys):
    file = tiny_root / "train" / "labels" / "03.png"
    before = file.read_bytes()
    try:
        Image.fromarray(np.zeros((80, 96), np.uint8)).save(file)
        assert call(monkeypatch, *options(place, "a"), *TRIAL) == 2
    finally:
        file.write_bytes(before)
    assert f"{place / 'out' / 'a'} was made with other settings (labels_sha256: " in capsys.readouterr().err


@pytest.mark.parametrize("given", [("--segmenter", "x.py", "y.pth"), TRIAL])
def test_without_openmmlab_it_says_what_to_install(place, monkeypatch, capsys, given):
    monkeypatch.setitem(sys.modules, "mmseg", None)
    assert call(monkeypatch, *options(place, "a"), *given) == 2
    assert f"error: {given[0]} needs mmseg: pip install" in capsys.readouterr().err

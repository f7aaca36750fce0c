"""tools/evaluate_gan.py as people use it, on tiny generators: what it writes and says, and how it refuses."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluate_tool import SCRIPT, call, write_place, write_run
from PIL import Image

from dpsims.generator import Generator


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_root) -> Path:
    return write_place(tmp_path_factory.mktemp("place"), tiny_root)


@pytest.fixture
def tool(place, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool; gives its exit code and what it printed, (stdout, stderr)."""
    monkeypatch.setenv("DPSIMS_CACHE", str(place / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # nothing downloaded is at hand

    def run(*options: object, features: bool = True) -> tuple[int, str, str]:
        given = ["--out", tmp_path / "out", "--split", "train"]
        if features:
            given += ["--features", "resnet18", "--features-weights", f"resnet18={place / 'resnet18.pth'}"]
        return call(monkeypatch, *given, *options), *capsys.readouterr()

    return run


def test_two_runs_side_by_side_and_again(tool, place, tmp_path):
    options = ("--generator", place / "runs/a", place / "runs/b", "--diversity-samples", "2")
    options += ("--lpips", "alex", "--lpips-weights", place / "alexnet.safetensors")
    code, printed, _ = tool(*options)
    assert code == 0
    assert "10 label maps of tiny train, 2 samples each" in printed and "against 10 photos of train" in printed
    assert "note: Fréchet distance of 10 and 10 images in 512 dimensions" in printed
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [run["name"] for run in report["runs"]] == ["a", "b"]
    numbers = report["runs"][1]["numbers"]
    assert list(numbers) == [
        *(f"{name}/resnet18" for name in ("FID", "KID", "KID std", "Precision", "Recall")),
        "LPIPS/alex",
        "Diversity/tf_efficientnet_lite0",
    ]
    assert f"{numbers['FID/resnet18']:.2f}" in printed and report["runs"][0]["numbers"] != numbers
    assert report["runs"][0]["log"]["Loss/D/real"] == {"images_seen": [500, 1000], "value": [1.0, 1.0]}
    assert report["differences"] == {"seed": {"a": 0, "b": 1}}
    assert report["settings"]["reals"] == 10 and len(report["notes"]) == 2
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Discriminator’s loss on real photos" in page and page.count("<img ") == 6 * (2 + 2 * 4) + 3 * (2 + 2 * 7)

    code, again, _ = tool(*options)
    assert code == 0 and again == printed
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_no_batch_shows_and_the_default_features_are_told(tool, place, tmp_path, monkeypatch):
    monkeypatch.setattr("dpsims.metrics.inception.packaged_script", lambda: None)
    found = []
    for batch_size in ("1", "4"):
        options = ("--generator", place / "runs/a", "--batch-size", batch_size, "--max-maps", "5", "--samples", "2")
        code, printed, _ = tool(*options, features=False)
        assert code == 0
        assert "features of tf_efficientnet_lite0: the weights of FID's Inception network are not at hand" in printed
        assert "no LPIPS: its AlexNet is not at hand" in printed
        found.append(json.loads((tmp_path / "out" / "report.json").read_text())["runs"][0]["numbers"])
    assert found[0] == pytest.approx(found[1], rel=1e-2, abs=1e-4)


def test_a_snapshot_alone_wants_its_data_named(tool, place, tiny_root, tmp_path):
    for name in ("generator.safetensors", "generator.json"):
        shutil.copy(place / "runs/a" / name, tmp_path / name)
    file = tmp_path / "generator.safetensors"
    code, _, printed = tool("--generator", file)
    assert code == 2 and "--data is needed" in printed
    options = ("--generator", file, "--data", tiny_root, "--max-maps", "4", "--split", "test")
    code, printed, _ = tool(*options, "--samples", "2", "--reference-split", "train", "--diversity-samples", "2")
    assert code == 0 and f"2 label maps of {tiny_root.name} test" in printed and "10 photos of train" in printed


def test_a_reference_is_photos_alone_and_a_bad_one_is_a_line(tool, place, tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "data")
    shutil.copytree(root / "train" / "images", root / "photos" / "images")
    options = ("--generator", place / "runs/a", "--data", root, "--reference-split", "photos", "--max-maps", "4")
    code, printed, _ = tool(*options)
    assert code == 0 and "4 label maps of data train" in printed and "against 10 photos of photos" in printed
    (root / "photos" / "images" / "03.jpg").write_bytes(b"no image")
    code, _, printed = tool(*options, "--workers", "1")
    assert code == 2 and printed.startswith("error: image cannot be read") and printed.count("\n") == 1


def test_a_full_gpu_is_a_line(tool, place, monkeypatch):
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.9 GiB.\nSee the documentation")

    monkeypatch.setattr(Generator, "decode", fill)
    code, _, printed = tool("--generator", place / "runs/a", "--batch-size", "5")
    assert code == 2 and printed == "error: the GPU's memory is full; --batch-size is 5, try less\n"


def test_without_the_report_extra_there_is_help_and_a_line(place, tmp_path):
    """In a process of its own, as the packages have been imported here."""
    hidden = "import runpy, sys; sys.modules['jinja2'] = None; sys.argv = sys.argv[1:]; "
    hidden += f"sys.path.insert(0, {str(SCRIPT.parent)!r}); runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", hidden, SCRIPT]
    found = subprocess.run([*command, "--help"], capture_output=True, text=True)
    assert found.returncode == 0 and "--train-on-synthetic" in found.stdout
    options = ("--generator", place / "runs" / "a", "--out", tmp_path / "out")
    found = subprocess.run([*command, *options], capture_output=True, text=True)
    assert found.returncode == 2 and not (tmp_path / "out").exists()
    assert found.stderr == "error: the page needs jinja2: pip install -c constraints.txt -e '.[report]'\n"


def test_ctrl_c_says_what_stays(tool, place, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Generator, "decode", interrupt)
    code, _, printed = tool("--generator", place / "runs/a")
    assert code == 130 and "features of real photos are kept" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--generator", "nowhere"], "--data is needed"),
        (["--generator", "nowhere", "--data", "{root}"], "no snapshot here: nowhere is missing"),
        (["--generator", "{a}", "--data", "nowhere"], "--data: no such folder: nowhere"),
        (["--generator", "{a}", "--split", "other"], "no such folder: {root}/other/images"),
        (["--generator", "{a}", "--data", "{bad}"], "label map has ids [9] outside the 3 classes"),
        (
            ["--generator", "{a}", "--layout", "cityscapes"],
            "{root}/leftImg8bit/train (images of the layout cityscapes)",
        ),
        (["--generator", "{a}", "--label-space", "ade20k"], "paints 3 classes, the data set has 150"),
        (["--generator", "{a}", "{elsewhere}"], "--data is needed, as the runs were trained with different ones"),
        (["--generator", "{two}"], "paints 2 classes, the data set has 3"),
        (["--generator", "{swapped}"], "class 0 is 'road' to the generator, and 'sky' in the data set"),
        (["--generator", "{a}", "--split", "val"], "2 label maps with 1 samples each are 2 images"),
        (["--generator", "{a}", "--max-maps", "0"], "--max-maps is at least 1, not 0"),
        (["--generator", "{a}", "--samples", "0"], "--samples is at least 1, not 0"),
        (["--generator", "{a}", "--diversity-samples", "1"], "--diversity-samples is at least 2, not 1"),
        (["--generator", "{a}", "--batch-size", "0"], "--batch-size is at least 1, not 0"),
        (["--generator", *["{a}"] * 7], "--generator takes 6 at most, not 7"),
        (["--generator", "{a}", "--device", "tpu9"], "device 'tpu9'"),
        (["--generator", "{a}", "--device", "mps"], "device 'mps': it is cpu or cuda"),
        (["--generator", "{a}", "--out", "{file}"], "--out {file}: {file} is no folder"),
        (["--generator", "{a}", "--out", "{file}/deeper/out"], "--out {file}/deeper/out: {file} is no folder"),
        (["--generator", "{a}", "--features", "resnet9"], "no model 'resnet9'"),
        (["--generator", "{a}", "--features-weights", "resnet18"], "--features-weights resnet18: give NAME=FILE"),
        (["--generator", "{a}", "--features-weights", "swav=x"], "--features-weights swav=x, but --features is"),
        (["--generator", "{a}", "--features-weights", "resnet18=x"], "no such file: x"),
        (
            ["--generator", "{a}", "--features", "resnet50", "--features-weights", "resnet50={resnet18}"],
            "does not hold the weights of 'resnet50'",
        ),
        (["--generator", "{a}", "--lpips", "vgg", "--lpips-weights", "x"], "weights: no such file: x"),
        (["--generator", "{a}", "--lpips-weights", "x"], "--lpips-weights means nothing without --lpips"),
    ],
)
def test_user_errors_are_one_line_before_any_work(tool, place, tiny_root, tmp_path, monkeypatch, options, message):
    monkeypatch.setattr("dpsims.metrics.generate.load", None)
    paths = {
        "root": tiny_root,
        "a": place / "runs/a",
        "resnet18": place / "resnet18.pth",
        "file": place / "resnet18.pth",
    }
    if "{bad}" in options:
        paths["bad"] = shutil.copytree(tiny_root, tmp_path / "bad")
        Image.fromarray(np.full((80, 96), 9, np.uint8)).save(paths["bad"] / "train" / "labels" / "05.png")
    for name, root, classes in (
        ("elsewhere", tmp_path, ("sky", "road", "car")),
        ("two", tiny_root, ("sky", "road")),
        ("swapped", tiny_root, ("road", "sky", "car")),
    ):
        paths[name] = tmp_path / name if f"{{{name}}}" not in options else write_run(tmp_path / name, root, 0, classes)
    code, _, printed = tool(*(option.format(**paths) for option in options))
    assert code == 2
    assert printed.startswith("error: ") and printed.count("\n") == 1 and message.format(**paths) in printed
    assert not (tmp_path / "out").exists()

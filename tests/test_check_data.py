import importlib
import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from faulty_data import ERRORS, make_sound, no_folder
from PIL import Image
from tiny_gan import TINY, tiny_config

from dpsims.audit import Auditor
from dpsims.labels import find_label_space
from dpsims.train import Trainer

FRAME = ["data.height=32", "data.width=64", "generator.instances=true"]


@pytest.fixture
def tool(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "tools"))
    return importlib.import_module("check_data")


def run(tool: ModuleType, monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["check_data.py", *words])
    with pytest.raises(SystemExit) as stop:
        tool.main()
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


def test_a_sound_data_set_passes(tool, tmp_path, monkeypatch, capsys):
    root = make_sound(tmp_path / "data")
    for folder in ("images", "labels", "instances"):  # the test split is looked at without being asked for
        (root / "test" / folder / "test0.png").rename(root / "test" / folder / "val0.png")
    out = tmp_path / "out"
    code, text, _ = run(tool, monkeypatch, capsys, f"data.root={root}", *TINY, *FRAME, "--out", str(out), "--preview")
    assert code == 0 and "no errors" in text and "estimate, not a measurement" in text
    results = json.loads((out / "audit.json").read_text())
    assert list(results["splits"]) == ["train", "val", "test"]
    assert {problem["kind"] for problem in results["problems"]} == {"small", "cut", "name"}  # val0 is another in test
    assert results["passed"] and results["splits"]["train"]["classes"]["thing"] == {
        "pixel_share": 40 / 2340, "images": 8, "instance_share": 1.0,
    }  # fmt: skip
    assert results["estimate"]["peak_bytes"] > results["estimate"]["held_bytes"] > 0
    for name in ("contact_sheet.png", "preview.png"):
        picture = np.array(Image.open(out / name))
        assert picture.shape[1] == 1600 and picture.std() > 10
    assert sorted(file.name for file in out.iterdir()) == ["audit.json", "contact_sheet.png", "preview.png"]


def test_what_segmenters_will_refuse_is_said(tool, tmp_path, monkeypatch, capsys):
    root = make_sound(tmp_path / "data")
    shutil.rmtree(root / "test")
    (root / "train/images/train1.png").rename(root / "train/images/train1.jpg")
    options = (f"data.root={root}", *TINY, *FRAME, "data.height=32", "data.width=32", "--out", str(tmp_path / "out"))
    code, text, _ = run(tool, monkeypatch, capsys, *options)
    assert code == 0
    assert "warning, train: 2 endings of files where segmenters take one kind" in text
    assert "    train/images: 1 *.jpg\n    train/images: 7 *.png\n" in text
    assert "warning, test: 2 folders that segmenters need" in text and "    test/images\n    test/labels\n" in text


def test_every_error_is_named_and_the_status_is_1(tool, tmp_path, monkeypatch, capsys):
    root = make_sound(tmp_path / "data")
    faults = [spoil(root) for spoil in ERRORS if spoil is not no_folder]  # which would hide the other ones of its split
    out = tmp_path / "out"
    out.mkdir()
    (out / "preview.png").write_text("of an earlier run")
    code, text, _ = run(tool, monkeypatch, capsys, f"data.root={root}", *TINY, *FRAME, "--out", str(out), "--preview")
    assert code == 1 and "exit status 1: errors in train, val (training reads train and val)" in text
    assert "no preview" in text and not (out / "preview.png").exists()
    results = json.loads((out / "audit.json").read_text())
    found = Counter()
    for problem in results["problems"]:
        if problem["severity"] == "error":
            found[problem["kind"], problem["split"]] = problem["count"]
    assert not results["passed"] and found == Counter((kind, split) for kind, split, _ in faults)
    for _, _, words in faults:
        assert all(word in text for word in words), words


def test_the_preview_is_the_start_of_the_training_stream(tool, tmp_path):
    root = make_sound(tmp_path / "data")
    config = tiny_config(root, tmp_path / "run", *FRAME, "data.zoom_range=1.5", "run.batch_size=4")
    split = (
        Auditor(
            root=root,
            layout="generic",
            space=find_label_space(None, root),
            height=32,
            width=64,
            instances=True,
            threads=1,
        )
        .run(["train"])
        .splits[0]
    )
    items = [item for _, item in tool.training_items(config, split)]
    batches = Trainer(config).batches(0)
    assert len(items) == 12
    for start in range(0, 12, 4):
        batch = next(batches)
        for key in ("real", "label_map", "offsets"):
            assert torch.equal(getattr(batch, key), torch.stack([item[key] for item in items[start : start + 4]]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=camvid"], "data.root has no value; give it as data.root=…"),
        (["data=camvid", "data.root=nowhere"], "data.root: no such folder: nowhere"),
        (["data=moon", "data.root=."], "data=moon"),
        (["data.root=.", "data.hight=3"], "hight"),
        (["data.root=.", "data.layout=moon"], "data.layout is one of generic"),
        (["data.root=.", "--threads", "0"], "--threads is at least 1, not 0"),
        (["--moon"], "unrecognized arguments: --moon"),
        (["data.root"], "data.root"),
    ],
)
def test_bad_usage_has_status_2(tool, words, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, _, error = run(tool, monkeypatch, capsys, *words)
    assert code == 2 and message in error
    assert not list(tmp_path.iterdir())

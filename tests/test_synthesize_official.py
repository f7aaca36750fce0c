"""From an official data set's own files to shards: trained on them, synthesized from them, and no class is shifted."""

import io
import json
import re
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from official_layouts import HEIGHT, WIDTH, make_ade20k, make_cityscapes, make_coco_stuff, scene
from PIL import Image
from run_tool import run_tool
from tiny_gan import tiny_config

from augment.shards import read_member, read_rows
from dpsims.train import train

MAKERS = {"ade20k": make_ade20k, "cityscapes": make_cityscapes, "coco_stuff": make_coco_stuff}
FOLDERS = {"ade20k": "annotations/training", "cityscapes": "gtFine/train", "coco_stuff": "stuffthingmaps/train2017"}
# void, sky, road and car in each list of classes, by hand: of ADE20K's files k is k-1 here and 0 is nothing
IDS = {"ade20k": (255, 2, 6, 20), "cityscapes": (255, 10, 0, 13), "coco_stuff": (255, 145, 137, 2)}
KEYS = {
    "ade20k": [f"ADE_train_{number:08d}" for number in (1, 2, 3, 4)],
    "cityscapes": [
        f"{city}/{city}_{number:06d}_000019" for number, city in enumerate(("aachen", "aachen", "bochum", "bochum"))
    ],
    "coco_stuff": [f"{number:012d}" for number in range(4)],
}

# The test is of the labels: no term of the loss that can be left out, no pre-trained weights.
SMALL = [f"data.height={HEIGHT}", f"data.width={WIDTH}", "loss.contrastive.weight=0", "loss.diversity.weight=0"]
SMALL += ["discriminator.backbone.name=test_resnet", "discriminator.backbone.pretrained=false"]


@pytest.fixture(scope="module", params=MAKERS)
def trained(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """A layout, data in it, and the run of a tiny generator that was trained on it for two steps."""
    layout = request.param
    root = MAKERS[layout](tmp_path_factory.mktemp(layout))
    config = tiny_config(root, tmp_path_factory.mktemp("run"), f"data={layout}", *SMALL, "run.total_kimg=0.004")
    return layout, root, train(config)


@pytest.fixture
def tool(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool; gives its exit code and what it printed, (stdout, stderr)."""

    def run(generator: Path, labels: Path, out: Path, *options: str) -> tuple[int, str, str]:
        given = {"--generator": generator, "--labels": labels, "--out": out, "--device": "cpu", "--samples": 1}
        return run_tool(monkeypatch, capsys, "synthesize", *chain(*given.items()), *options)

    return run


def label_maps(out: Path) -> dict[str, np.ndarray]:
    """Source key → ids as they lie in the shards."""
    rows = read_rows(out, 0)
    assert {row["status"] for row in rows} == {"ok"}
    return {row["source_key"]: np.array(Image.open(io.BytesIO(read_member(out, row, "seg.png")))) for row in rows}


def test_the_shards_hold_the_ids_of_the_classes(trained, tool, tmp_path):
    layout, root, run = trained
    labels = root / FOLDERS[layout]
    code, printed, _ = tool(run, labels, tmp_path / "out")
    assert code == 0 and f"label space of their files: {layout} (which {run / 'config.yaml'} names)" in printed
    found = label_maps(tmp_path / "out")
    assert list(found) == KEYS[layout]
    for number, label_map in enumerate(found.values()):
        np.testing.assert_array_equal(label_map, np.array(IDS[layout])[scene(number)])
        assert set(np.unique(label_map)) == set(IDS[layout])
    manifest = json.loads((tmp_path / "out" / "shards.json").read_text())
    assert manifest["plan"]["raw_to_id"].startswith({"ade20k": "0:255 1:0 2:1 "}.get(layout, "0:"))
    classes, counts = manifest["label_space"]["classes"], manifest["totals"]["class_pixels"]
    seen = " ".join(classes[label] for label, count in enumerate(counts) if count)
    assert sorted(re.findall("sky|road|car", seen)) == ["car", "road", "sky"]

    code, _, error = tool(run, labels, tmp_path / "out", "--label-space", "own")
    assert code == 2 and "plan.raw_to_id" in error and "→ None" in error


def test_a_snapshot_deeper_in_the_run_is_read_alike_and_one_on_its_own_is_asked(trained, tool, tmp_path):
    layout, root, run = trained
    labels = root / FOLDERS[layout]
    best, alone = run / "best", tmp_path / "alone"
    for folder in (best, alone):
        folder.mkdir(exist_ok=True)
        for name in ("generator.safetensors", "generator.json"):
            shutil.copy(run / name, folder)
    assert tool(best, labels, tmp_path / "best", "--max-maps", "1")[0] == 0
    code, _, error = tool(alone, labels, tmp_path / "alone_out")
    assert code == 2 and f"--label-space {layout} is for its official files" in error
    assert tool(alone, labels, tmp_path / "alone_out", "--label-space", layout, "--max-maps", "1")[0] == 0
    one, other = (label_maps(tmp_path / name) for name in ("best", "alone_out"))
    np.testing.assert_array_equal(one[KEYS[layout][0]], other[KEYS[layout][0]])


def test_label_maps_from_shards_are_read_as_what_they_are(trained, tool, tmp_path):
    """Ids of the classes, in a folder of one's own."""
    layout, _, run = trained
    (tmp_path / "mine").mkdir()
    ids = np.array(IDS[layout], np.uint8)[scene(0)]
    Image.fromarray(ids).save(tmp_path / "mine" / "a_labelTrainIds.png")
    code, _, error = tool(run, tmp_path / "mine", tmp_path / "out")
    assert code == 2 and f"would be read by the official ids of {layout}" in error
    assert tool(run, tmp_path / "mine", tmp_path / "out", "--label-space", "own")[0] == 0
    np.testing.assert_array_equal(label_maps(tmp_path / "out")["a_labelTrainIds"], ids)


def test_other_classes_are_refused(trained, tool, tmp_path):
    layout, root, run = trained
    other = {"cityscapes": "cityscapes_all"}.get(layout, "cityscapes")
    code, _, error = tool(run, root / FOLDERS[layout], tmp_path / "out", "--label-space", other)
    assert code == 2 and error.startswith(f"error: {other} (by --label-space) has ") and "the first difference" in error
    assert str(run) in error and not (tmp_path / "out").exists()

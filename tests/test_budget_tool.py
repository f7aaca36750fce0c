"""tools/budget.py as people use it, up to the shards that its budget asks for."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluate_tool import write_run
from official_layouts import make_ade20k
from PIL import Image
from run_tool import run_tool

from augment.order import choose_label_maps
from augment.report.resampling import class_table, examples, legend, picture
from augment.shards import read_manifest, read_rows
from dpsims.labels import LABEL_SPACES, LabelSpace, default_palette, encode_label_png, load_label_space

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))
HARDNESS = {"sky": 0.1, "road": 0.5, "car": 2.1}
IOU = {"sky": 95.0, "road": 80.0, "car": 20.0}


@pytest.fixture
def root(tmp_path) -> Path:
    """Four label maps of 32x64 for training: half sky, half road; in b a quarter is car, and d is all road."""
    for split in ("train", "val"):
        for kind in ("labels", "images"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
    for name in "abcd":
        label_map = np.zeros((32, 64), np.uint8)
        label_map[16:] = 1
        label_map[:4, :4] = 255
        if name == "b":
            label_map[16:, :32] = 2
        if name == "d":
            label_map[:] = 1
        (tmp_path / "data" / "train" / "labels" / f"{name}.png").write_bytes(encode_label_png(label_map))
    (tmp_path / "data" / "meta.json").write_text(json.dumps({"classes": list(SPACE.classes)}))
    (tmp_path / "filter.json").write_text(json.dumps({"classes": list(SPACE.classes), "hardness": HARDNESS}))
    scores = {"config": "x.py", "checkpoint": "x.pth", "split": "val", "also_test": False, "IoU": IOU}
    (tmp_path / "val.json").write_text(json.dumps(scores))
    return tmp_path / "data"


@pytest.fixture
def tool(root, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs a tool among the files of the test; gives its exit code and what it printed, (stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    return lambda name, *options: run_tool(monkeypatch, capsys, name, *options)


def test_by_hardness_and_then_exactly_these_images(tool, root, tmp_path):
    write_run(tmp_path / "run", root, 0, layout="generic", train_split="train")
    options = ("--hardness", "filter.json", "--most", "4", "--out", "runs/budget.json")
    code, printed, _ = tool("budget", "--labels", "data/train", *options)
    assert code == 0 and "4 label maps (train); label space: " in printed
    # a and c: 0.3 and a bit, as ignored sky does not count; then d: 0.5, and b: (sky + road + 2 car) / 4
    budget = json.loads((tmp_path / "runs" / "budget.json").read_text())
    assert budget["counts"] == {"a": 2, "b": 4, "c": 3, "d": 4}
    assert "budget: 13 images of 4 label maps, 2 to 4 of each, median 3.5" in printed
    easy = (1008 * 0.1 + 1024 * 0.5) / 2032
    hard = (1008 * 0.1 + 512 * 0.5 + 512 * 2.1) / 2032
    assert budget["label_map_hardness"] == pytest.approx({"a": easy, "b": hard, "c": easy, "d": 0.5}, abs=1e-6)
    assert (budget["rule"], budget["most"], budget["class_hardness"]) == ("hardness", 4, HARDNESS)
    sha256 = hashlib.sha256((tmp_path / "filter.json").read_bytes()).hexdigest()
    assert budget["from"] == {"file": "filter.json", "sha256": sha256} and budget["size"] is None
    assert budget["totals"] == {"label_maps": 4, "images": 13, "min": 2, "median": 3.5, "max": 4}
    assert "car 2.10 25 % 31 % 6.3 % 7.8 %" in " ".join(printed.split())  # 1 of 4 label maps, 4 of 13 images
    assert Image.open(tmp_path / "runs" / "budget.png").width == 1600

    code, printed, _ = tool(
        "synthesize", "--generator", "run", "--budget", "runs/budget.json", "--out", "shards", "--device", "cpu"
    )
    assert code == 0 and "4 label maps (train) × 2 to 4 samples = 13 images" in printed
    assert Counter(row["source_key"] for row in read_rows(tmp_path / "shards", 0)) == budget["counts"]
    assert read_manifest(tmp_path / "shards")["plan"]["samples_per_map"].startswith("sha256:")
    # Each label map in the shards once is the same label maps; so is what the generator's run names.
    for labels in (("--labels", "shards"), ("--generator", "run")):
        assert tool("budget", *labels, *options[:-1], "runs/again.json")[0] == 0
        again = json.loads((tmp_path / "runs" / "again.json").read_text())
        assert again["counts"] == budget["counts"]
    assert again["size"] == [32, 64]


@pytest.mark.parametrize(
    ("stated", "origin"),
    [
        ({"config": "x.py", "checkpoint": "x.pth"}, {"config": "x.py", "checkpoint": "x.pth"}),
        (
            {
                "settings": {"scorer": "segmenter", "sha256": "0"},
                "origin": {"config": "x.py", "checkpoint": "x.pth", "options": {}},
            },
            {"scorer": "segmenter", "config": "x.py", "checkpoint": "x.pth"},
        ),
        (
            {"settings": {"scorer": "discriminator", "sha256": "0"}, "origin": {"run": "runs/gan"}},
            {"scorer": "discriminator", "run": "runs/gan"},
        ),
        ({"settings": "mine", "origin": None}, {}),
    ],
    ids=["of one's own", "segmenter", "discriminator", "other words"],
)
def test_whose_hardness_it_is(tool, tmp_path, stated, origin):
    """Of a file of one's own, and as tools/filter.py writes it."""
    (tmp_path / "filter.json").write_text(json.dumps({"hardness": HARDNESS, **stated}))
    code, printed, _ = tool("budget", "--labels", "data/train", "--hardness", "filter.json", "--out", "budget.json")
    assert code == 0
    source = json.loads((tmp_path / "budget.json").read_text())["from"]
    assert {key: source[key] for key in source.keys() - {"file", "sha256"}} == origin
    said = "this is the hardness of a discriminator (runs/gan); FreeMask's is a segmenter's"
    assert (said in printed) == (origin.get("scorer") == "discriminator")


def test_by_gaps(tool, tmp_path):
    options = ("--labels", "data/train", "--gaps", "val.json", "--images", "100", "--out", "budget.json")
    assert tool("budget", *options)[0] == 0
    # Shares: sky 1008/2032 in a, b and c; car 512/2032 in b; road 1024/2032 in a and c, 512/2032 in b, 1 in d.
    road = (1024 + 512 + 1024 + 2032) / 2032
    of_road = {name: 0.2 / 1.05 * n / 2032 / road for name, n in {"a": 1024, "b": 512, "c": 1024, "d": 2032}.items()}
    parts = {name: of_road[name] + (0.05 / 1.05 / 3 if name != "d" else 0) for name in "abcd"}
    parts["b"] += 0.8 / 1.05
    budget = json.loads((tmp_path / "budget.json").read_text())
    assert budget["label_map_weight"] == pytest.approx({name: 4 * part for name, part in parts.items()}, abs=1e-6)
    assert budget["class_gap"] == {"sky": 0.05, "road": 0.2, "car": 0.8}
    assert (budget["rule"], budget["images"], budget["most"]) == ("gap", 100, None)
    for name, part in parts.items():
        assert abs(budget["counts"][name] - 100 * part) < 1
    assert sum(budget["counts"].values()) == 100
    source = budget["from"]
    assert (source["config"], source["checkpoint"], source["split"]) == ("x.py", "x.pth", "val")
    first = (tmp_path / "budget.json").read_bytes(), (tmp_path / "budget.png").read_bytes()
    assert tool("budget", *options, "--threads", "1")[0] == 0
    assert ((tmp_path / "budget.json").read_bytes(), (tmp_path / "budget.png").read_bytes()) == first


def test_a_label_map_that_cannot_be_read_gets_none_and_is_named(tool, root, tmp_path):
    (root / "train" / "labels" / "c.png").write_bytes(b"no image")
    code, printed, _ = tool("budget", "--labels", "data/train", "--hardness", "filter.json", "--out", "budget.json")
    assert code == 0 and "cannot be read, and gets none: 1 label maps, such as c" in printed
    budget = json.loads((tmp_path / "budget.json").read_text())
    # Three are left: 20 · (1, 2, 3) / 3 is 6.7, 13.3 and 20.
    assert budget["counts"] == {"a": 8, "b": 20, "c": 0, "d": 14} and budget["unreadable"] == ["c"]


def test_an_official_layout(tool, tmp_path):
    make_ade20k(tmp_path / "ade")
    classes = load_label_space(LABEL_SPACES / "ade20k.json").classes
    (tmp_path / "ade.json").write_text(json.dumps({"hardness": {name: 1 + i for i, name in enumerate(classes)}}))
    options = ("--labels", "ade", "--split", "training", "--layout", "ade20k", "--hardness", "ade.json")
    code, _, printed = tool("budget", *options, "--out", "budget.json")
    assert code == 2 and "no meta.json in it or above names the classes; --label-space says" in printed
    code, printed, _ = tool("budget", *options, "--label-space", "ade20k", "--out", "budget.json")
    assert code == 0
    sources = choose_label_maps(tmp_path / "ade", "training", "ade20k", None, [], objects=False)[1]
    names = [source.source_key for source in sources]
    assert sorted(json.loads((tmp_path / "budget.json").read_text())["counts"]) == sorted(names) != []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hardness", "filter.json", "--images", "5"], "--images goes with --gaps"),
        (["--gaps", "val.json", "--images", "9", "--most", "2"], "--images 9 is more than --most 2 of each of the 4"),
        (["--gaps", "val.json"], "--gaps shares out --images, which are needed"),
        (["--hardness", "filter.json", "--most", "0"], "--most is at least 1, not 0"),
        (["--gaps", "val.json", "--images", "0"], "--images is at least 1, not 0"),
        (["--gaps", "test.json", "--images", "5"], "--gaps test.json is of the test split"),
        (["--hardness", "val.json"], "--hardness val.json has no 'hardness' of classes"),
        (["--hardness", "nowhere.json"], "nowhere.json"),
        (["--hardness", "filter.json", "--out", "budget.png"], "--out budget.png is to be a file called *.json"),
        (["--hardness", "filter.json", "--out", "data/train/x.json"], "is to lie outside of --labels data/train"),
        (["--hardness", "filter.json", "--out", "filter.json"], "--out filter.json is there already, and is no budget"),
        (["--hardness", "filter.json", "--layout", "ade20k"], "--layout goes with --split"),
        (["--hardness", "filter.json", "--label-space", "own"], "takes the ids as those of a --generator"),
        (["--hardness", "filter.json", "--labels", "data"], "data holds the splits train, val"),
        (["--hardness", "filter.json", "--labels", "data", "--split", "val"], "no label maps there"),
    ],
)
def test_user_errors_are_one_line(tool, tmp_path, options, message):
    (tmp_path / "test.json").write_text(json.dumps({"split": "test", "IoU": IOU}))
    code, _, printed = tool("budget", "--labels", "data/train", "--out", "budget.json", *options)
    assert code == 2
    assert printed.startswith("error: ") and printed.count("\n") == 1 and message in printed
    assert not (tmp_path / "budget.json").exists()


def test_without_labels_or_a_generator(tool):
    code, _, printed = tool("budget", "--hardness", "filter.json", "--out", "budget.json")
    assert code == 2 and "error: --labels is needed, or a --generator whose run names them" in printed


# What people look at ----------------------------------------------------------------------------------------------


def test_shares_of_the_classes_before_and_after():
    pixels = np.array([[4, 0, 0], [1, 3, 0], [4, 0, 0], [4, 0, 0]])
    table = class_table(SPACE, "gap", np.array([0.05, np.nan, 0.3]), pixels, [1, 7, 1, 1]).splitlines()
    lines = ["sky 0.05 100 % 100 % 81 % 48 %", "road – 25 % 70 % 19 % 52 %"]  # 0.75 · 1/4 and 0.75 · 7/10 are road
    assert [" ".join(line.split()) for line in table[1:]] == lines


def test_examples_are_of_both_ends_and_the_middle():
    values = np.array([9, 1, 8, 2, 7, 3, 6, 4, 5, 0], float)
    kinds = [kind for kind, _ in examples(values)]
    assert kinds == ["lowest"] * 3 + ["median"] * 3 + ["highest"] * 3
    assert [values[index] for _, index in examples(values)] == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert examples(np.array([2.0, 1.0])) == [("", 1), ("", 0)]


def test_pictures_and_the_legend():
    label_map = np.zeros((400, 1000), np.uint8)
    assert picture(label_map, SPACE).shape == (200, 500, 3)
    assert (picture(label_map[:, :30], SPACE) == SPACE.palette[0]).all()
    texts = [text for _, text in legend(SPACE, np.array([0.5, np.nan, 2]), [0, 1, 2])]
    assert texts == ["car  2.00", "sky  0.50", "road  –", "ignored"]

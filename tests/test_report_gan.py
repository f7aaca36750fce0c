"""The report on generators: which value wins, what a log and a configuration say, and pictures of the right z."""

import base64
import io
import json
import math
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from augment.report.gan import (
    curve_charts,
    describe_run,
    headline,
    option_differences,
    read_log,
    read_options,
    table,
    text_table,
    write_gan_report,
)
from augment.report.gan_pictures import Painter, interpolation_blocks, sample_blocks, slerp
from augment.report.gan_segmenters import add_segmented, add_trained, columns
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette
from dpsims.sample import load_generator, noise, save_generator, to_uint8

SPACE = LabelSpace(("road", "car & <van>"), default_palette(2))
ARCHITECTURE = {"num_classes": 2, "height": 32, "width": 64, "channel_base": 2, "cond_channels": 8, "spade_hidden": 8}
ARCHITECTURE |= {"z_dim": 6, "attention_size": 16, "gate_init": 1.0}
CPU = torch.device("cpu")
LOG = [
    {"images_seen": 10, "Loss/D/real": 1.5, "Loss/G/diversity": 0.0, "images_per_second": 3.0},
    {"images_seen": 20, "Loss/D/real": 0.5, "Loss/G/diversity": 0.0, "FID/net": 80.0, "KID/net": -0.001},
    {"images_seen": 30, "Loss/D/real": math.nan, "Loss/G/diversity": 0.0, "Accuracy/D": 0.75, "note": "text"},
]


def run(name: str, **numbers: float) -> dict:
    return {"name": name, "numbers": {key.replace("_", "/").replace("9", " "): value for key, value in numbers.items()}}


def test_the_best_of_each_row():
    runs = [
        run("a", FID_net=20.004, Recall_net=0.5, KID_net=0.02, KID9std_net=0.001, Hue_net=40.0),
        run("b", FID_net=20.001, Recall_net=0.25, KID_net=0.03, KID9std_net=1e-9, Hue_net=50.0, LPIPS_alex=0.1),
        run("c", FID_net=30.0, Recall_net=0.5, KID_net=0.04),
    ]
    rows = {row["measure"]: row for row in table(runs)}
    assert list(rows) == ["FID", "Recall", "KID", "Hue", "LPIPS"]
    assert rows["FID"]["texts"] == ["20.00", "20.00", "30.00"] and rows["FID"]["best"] == [True, True, False]
    assert rows["Recall"]["best"] == [True, False, True]
    assert rows["KID"]["stds"] == ["0.0010", None, None]
    assert rows["Hue"]["best"] == [False] * 3 and rows["Hue"]["texts"] == ["40.0000", "50.0000", "–"]
    assert rows["LPIPS"]["texts"] == ["–", "0.1000", "–"] and rows["LPIPS"]["best"] == [False, True, False]
    assert headline(runs) == "a and b: the lowest FID, 20.00"
    assert headline(runs[:2]) == "2 generators with the same FID, 20.00"
    assert headline(runs[2:]) == "c: FID 30.00"
    runs += [run("d", FID_net=20.8), run("e", FID_net=21.1)]
    assert headline(runs) == "a, b and d within 5% of the lowest FID, 20.00"
    assert headline(runs[2:]) == "d and e within 5% of the lowest FID, 20.80"


def test_the_table_in_a_terminal():
    first = run("a", FID_net=9.0, Recall_net=0.5, TSTR_net=20.0, TSTR9std_net=1.25)
    text = text_table([first, run("bb", FID_net=10.0, Recall_net=0.5)])
    assert text.splitlines() == [
        "                        a      bb",
        "FID net     ↓        9.00*  10.00",
        "Recall net  ↑       0.500   0.500",
        "TSTR net    ↑  20.0 ± 1.2*      –",
    ]


def test_a_log_gives_its_curves(tmp_path):
    lines = [json.dumps(row) for row in LOG]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, lines[0][:20]]))  # the last one cut short
    log = read_log(tmp_path)
    assert log == {
        "Loss/D/real": {"images_seen": [10, 20], "value": [1.5, 0.5]},
        "Loss/G/diversity": {"images_seen": [10, 20, 30], "value": [0.0, 0.0, 0.0]},
        "FID/net": {"images_seen": [20], "value": [80.0]},
        "KID/net": {"images_seen": [20], "value": [-0.001]},
        "Accuracy/D": {"images_seen": [30], "value": [0.75]},
    }
    assert read_log(tmp_path / "nowhere") == {}
    charts = curve_charts([{"log": log}, {"log": {"Loss/D/real": {"images_seen": [10], "value": [2.0]}}}])
    titles = [re.search(r'aria-label="([^"]*)"', chart)[1] for chart in charts]
    assert titles == [
        "Discriminator’s loss on real photos", "Generator’s diversity loss", "Accuracy, D", "FID, net", "KID, net"
    ]  # fmt: skip
    assert "var(--arm-1)" in charts[0] and "var(--arm-2)" in charts[0] and "var(--arm-2)" not in charts[1]


def test_options_that_differ(tmp_path):
    config = {
        "out": "x",
        "seed": 0,
        "data": {"root": "/somewhere", "height": 32},
        "loss": {"diversity": {"weight": 1.0}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    options = read_options(tmp_path)
    assert options == {"seed": 0, "data.height": 32, "loss.diversity.weight": 1.0}
    other = options | {"loss.diversity.weight": 10.0, "new": None}
    assert option_differences({"a": options, "b": other, "file": None}) == {
        "loss.diversity.weight": {"a": 1.0, "b": 10.0}
    }
    assert option_differences({"a": options}) == {}
    assert read_options(tmp_path / "generator.safetensors") is None


def test_a_walk_on_the_sphere():
    start, end = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 5.0, 0.0])
    walk = slerp(start, end, 4)
    angles = torch.atan2(walk[:, 1], walk[:, 0]) * 180 / math.pi
    assert angles.tolist() == pytest.approx([0, 30, 60, 90], abs=1e-3)
    assert walk.norm(dim=1).tolist() == pytest.approx([1] * 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with a generator, a log and a configuration."""
    root = tmp_path_factory.mktemp("runs") / "mine"
    root.mkdir()
    torch.manual_seed(0)
    generator = Generator(**ARCHITECTURE)
    torch.nn.init.normal_(generator.to_rgb.parametrizations.weight.original)
    save_generator(root, generator, ARCHITECTURE, SPACE, {"images_seen": 1234, "data": "tiny", "seed": 3})
    (root / "config.yaml").write_text(yaml.safe_dump({"seed": 3, "run": {"batch_size": 2}}))
    (root / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG))
    return root


@pytest.fixture(scope="module")
def painter(folder) -> Painter:
    rng = torch.Generator().manual_seed(0)
    items = {
        name: {
            "real": torch.rand(3, 32, 64, generator=rng) * 2 - 1,
            "label_map": torch.randint(0, 2, (4, 8), generator=rng).repeat_interleave(8, 0).repeat_interleave(8, 1),
        }
        for name in ("first", "second")
    }
    return Painter(load_generator(folder), items, CPU, bf16=False)


def decoded(uri: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), int)


def test_pictures_are_of_the_same_z_for_every_label_map_and_generator(painter):
    blocks = sample_blocks([painter, painter], num_noises=2)
    assert [block.name for block in blocks] == ["first", "second"]
    for block in blocks:
        item = painter.items[block.name]
        assert np.array_equal(decoded(block.drawing), SPACE.colorize(item["label_map"].numpy().astype(np.uint8)))
        with torch.no_grad():
            images = painter.snapshot.generator(item["label_map"][None], noise([0, 1], 6))
        for row in block.rows:
            for uri, truth in zip(row, to_uint8(images).numpy(), strict=True):
                assert np.abs(decoded(uri) - truth).mean() < 3  # JPEG
        assert block.rows[0] == block.rows[1] and block.rows[0][0] != block.rows[0][1]


def test_walks_lead_from_one_noise_to_another(painter):
    (first,) = interpolation_blocks([painter], num_maps=1, steps=3)
    assert first.rows[0][0] == painter.paint("first", noise([0], 6))[0]  # the generator normalises z itself
    assert first.rows[0][2] == painter.paint("first", noise([1], 6))[0]
    assert len({*first.rows[0]}) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_the_page_is_one_file_and_comes_again(folder, painter, tmp_path, count):
    numbers = {"FID/net": 12.345, "KID/net": 0.01, "KID std/net": 0.002}
    runs = [describe_run(name, painter.snapshot, folder, numbers) for name in ("mine", "<other>")][:count]
    settings = {"data": "tiny", "split": "val", "reference_split": "train", "label_maps": 2, "reals": 3, "samples": 1}
    settings |= {"diversity_samples": 4, "neighbours": 3, "seed": 0, "precision": "fp32"}
    settings |= {"embedders": {"net": {"dim": 5, "fingerprint": "f" * 64}}}
    options = {
        "settings": settings,
        "notes": ["Few images."],
        "label_space": SPACE.to_meta(),
        "samples": sample_blocks([painter] * count, 2),
        "interpolations": interpolation_blocks([painter] * count, 1, 3),
    }
    page, report = write_gan_report(tmp_path / "out", runs, **options)
    written = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert set(written) == {"report.json", "report.html"} and page.name == "report.html"
    assert json.loads(written["report.json"]) == json.loads(json.dumps(report))
    assert report["runs"][0]["numbers"] == numbers and report["runs"][0]["images_seen"] == 1234
    write_gan_report(tmp_path / "out", runs, **options)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == written

    text = page.read_text()
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<link", text)
    sources = re.findall(r'<img src="([^"]*)"', text)
    assert len(sources) == 2 * (2 + 2 * count) + (2 + 3 * count) and all(s.startswith("data:image/") for s in sources)
    assert "12.35" in text and "± 0.0020" in text and "Few images." in text and "car &amp; &lt;van&gt;" in text
    assert ("&lt;other&gt;" in text) == ("same z for every generator" in text) == (count == 2)
    if count == 2:  # no z can be the same where one is longer
        runs[1]["z_dim"] += 1
        page, _ = write_gan_report(tmp_path / "out", runs, **options)
        assert "same z for generators whose z is of one length" in page.read_text()


def scores(mean: float, road: float, van: float | None, **more: object) -> dict:
    return {"mIoU": mean, "IoU": {"road": road, "car & <van>": van}, **more}


def test_scores_stand_in_columns_with_the_real_photos_once_for_each_size():
    runs = [{"name": name, "width": 64, "height": 32, "numbers": {"FID/net": 1.0}} for name in "abc"]
    runs[1] |= {"width": 128, "height": 64}
    assert columns(runs, ("one", "two", "three"), "segmented", "painted") == []
    for run, mean in zip(runs, (20.0, 30.0, 40.0), strict=True):
        add_segmented(run, "seg", scores(mean, mean, None), scores(60.0 + run["width"] / 100, 50.0, None))
    found = columns(runs, ("one", "two", "three"), "segmented", "painted")
    assert [(column.title, column.colour, column.scores["mIoU"]) for column in found] == [
        ("a", "one", 20.0),
        ("b", "two", 30.0),
        ("c", "three", 40.0),
        ("real photos, 64 × 32", "muted", 60.64),
        ("real photos, 128 × 64", "muted", 61.28),
    ]
    assert columns(runs[:1], ("one",), "segmented", "painted")[1].title == "real photos"
    assert runs[0]["numbers"] == {"FID/net": 1.0, "mIoU/seg": 20.0, "mIoU of photos/seg": 60.64}
    add_trained(runs[2], "light", scores(10.0, 1.0, 2.0, mIoU_std=0.25), scores(30.0, 1.0, 2.0, mIoU_std=None))
    assert [column.title for column in columns(runs, ("one", "two", "three"), "trained", "synthetic")] == [
        "c", "real photos"
    ]  # fmt: skip
    rows = {row["measure"]: row for row in table(runs)}
    assert rows["TSTR"]["texts"] == ["–", "–", "10.0"] and rows["TSTR"]["stds"] == [None, None, "0.2"]
    assert rows["mIoU"]["best"] == [False, False, True] and rows["mIoU of photos"]["best"] == [False] * 3
    assert list(rows) == ["FID", "mIoU", "mIoU of photos", "TSTR", "TRTR"]


def test_the_page_shows_each_class_and_a_dash_where_there_is_nothing(folder, painter, tmp_path):
    run = describe_run("mine", painter.snapshot, folder, {"FID/net": 1.0})
    add_segmented(run, "seg", scores(12.5, 12.5, None, images=2), scores(62.5, 62.5, None, images=2))
    arm = {"images": {"train": 16, "test": 4}, "seeds": [0, 1], "iterations": 600, "batch_size": 8}
    arm |= {"mIoU_of_seeds": [10.0, 20.0], "mIoU_std": 7.07}
    add_trained(run, "light", scores(15.0, 15.0, 0.0, **arm), scores(75.0, 75.0, 75.0, **arm))
    settings = {"data": "tiny", "split": "val", "reference_split": "train", "label_maps": 2, "reals": 3, "samples": 1}
    settings |= {"diversity_samples": 4, "neighbours": 3, "seed": 0, "precision": "fp32", "embedders": {}}
    settings["segmenter"] = {"name": "seg", "config": "mmseg::a/seg.py", "sha256": "e" * 64, "left_out": []}
    settings["train_on_synthetic"] = {"samples": 8, "train_split": "train", "test_split": "test"}
    pictures = {"samples": sample_blocks([painter], 2), "interpolations": interpolation_blocks([painter], 1, 3)}
    space = SPACE.to_meta()
    page, report = write_gan_report(tmp_path, [run], settings=settings, notes=[], label_space=space, **pictures)
    assert report["runs"][0]["segmented"]["real"]["IoU"] == {"road": 62.5, "car & <van>": None}
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page.read_text(), re.S)
    cells = [re.sub("<[^>]*>", "", cell).strip() for cell in cells]
    start = cells.index("road") + 1
    assert cells[start : start + 8] == ["12.5", "62.5", "car &amp; &lt;van&gt;", "–", "–", "mean", "12.5", "62.5"]
    assert "10.0 · 20.0" in cells and "± 7.1" in cells and "width: 62.5%" in page.read_text()
    assert "No number here says what a segmenter learns" not in page.read_text()


def test_a_snapshot_alone_has_neither_options_nor_curves(folder, painter, tmp_path):
    for name in ("generator.safetensors", "generator.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    described = describe_run("alone", painter.snapshot, tmp_path / "generator.safetensors", {"FID/net": 1.0})
    assert described["options"] is None and described["log"] == {} and described["training"]["seed"] == 3

"""The report on a tiny but whole job: its numbers by hand, its pictures byte by byte, and that it loads nothing."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmseg_data import jpeg, make_pair, write_data_set
from PIL import Image

from augment.record import Record
from augment.report.machine import describe_machine
from augment.report.write import write_report
from augment.shards import Sample, open_manifest, read_member, read_rows, total_of, write_manifest, write_shard
from dpsims.generator import Generator
from dpsims.grid import save_grid
from dpsims.labels import LabelSpace, encode_label_png, read_label_map
from dpsims.sample import save_generator

SPACE = LabelSpace(("road", "car & <van>"), ((10, 20, 30), (200, 100, 0)))
SCORES = {("real", 0): 40.0, ("mixed", 0): 41.0, ("real", 1): 42.0, ("mixed", 1): 45.0}
STAGES = (0, 100, 200)  # images seen when the GAN drew its sample grids
ARCHITECTURE = {"num_classes": 2, "height": 32, "width": 64, "channel_base": 2, "cond_channels": 8, "spade_hidden": 8}


def write_synthetic(folder: Path, rng: np.random.Generator) -> None:
    """One shard: 2 samples of each of 3 label maps, whose last sample failed."""
    description = {
        "label_space": SPACE.to_meta(),
        "generator_sha256": "0" * 64,
        "plan": {"label_maps": 3, "samples_per_map": 2, "seed": 7},
    }
    open_manifest(folder, description)
    samples = []
    for index in range(6):
        record = Record(f"00000{index:04d}", 0, f"{index // 2:03d}", "train", index % 2, seed=index)
        if index == 5:
            samples.append(Sample(record, status="bad_image", error="made so by the test"))
            continue
        image, label_map = make_pair(rng, 2)
        members = {"jpg": jpeg(image), "seg.png": encode_label_png(label_map), "json": b"{}"}
        samples.append(Sample(record, members=members, class_pixels=(60, 30), ignored_pixels=10))
    write_manifest(folder, description, total_of([write_shard(folder, 0, samples, 2)]))


def write_gan(folder: Path, rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    provenance = {"images_seen": 200, "data": "tiny", "train_images": 6, "seed": 3, "backbone": "some_net"}
    (folder / "samples").mkdir(parents=True)
    save_generator(folder, Generator(**ARCHITECTURE), ARCHITECTURE, SPACE, provenance)
    (folder / "config.yaml").write_text(yaml.safe_dump({"run": {"sample_maps": 2, "sample_noises": 2}}))
    rows = [
        {
            "images_seen": seen,
            "Loss/D/real": 1.5,
            "Loss/D/fake": 0.5,
            "Loss/G/adversarial": 2.5,
            "images_per_second": rate,
        }
        for seen, rate in ((100, 3.0), (200, 5.0))
    ]
    rows.append({"images_seen": 200, "FID/some_net": 5.0})  # a validation
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seen in STAGES:
        cells = [[rng.integers(0, 255, (32, 64, 3), np.uint8) for _ in range(4)] for _ in range(2)]
        save_grid(folder / "samples" / f"{seen:09d}.png", cells)


def write_segmenter(folder: Path, miou: float) -> None:
    folder.mkdir(parents=True)
    iou = {SPACE.classes[0]: miou + 10, SPACE.classes[1]: None if folder.name == "real-seed0" else miou - 10}
    test = {"config": "/home/someone/c.py", "checkpoint": "/home/someone/c.pth", "images": 2, "mIoU": miou, "IoU": iou}
    (folder / "test.json").write_text(json.dumps(test))
    log = folder / "20260101_000000" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    rows = [{"loss": 2.0, "step": 20}, {"loss": 1.0, "step": 40}, {"mIoU": 38.5, "aAcc": 70.0, "step": 40}]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def whole_job(tmp_path_factory) -> Path:
    root, rng = tmp_path_factory.mktemp("job"), np.random.default_rng(0)
    write_data_set(root / "data", SPACE)
    write_synthetic(root / "shards", rng)
    write_gan(root / "gan", rng)
    for (arm, seed), miou in SCORES.items():
        write_segmenter(root / "segmenters" / f"{arm}-seed{seed}", miou)
    stages = [
        {"name": "gan", "title": "Train", "command": "python train.py x='<1>'", "seconds": 90.0, "starts": 2},
        {"name": "shards", "title": "Make", "command": "python make.py", "seconds": 35.0, "starts": 1},
    ]
    (root / "timings.json").write_text(json.dumps({"machine": describe_machine(), "stages": stages}))
    return root


@pytest.fixture(scope="module")
def report(whole_job) -> tuple[dict, str]:
    page, _ = write_report(whole_job, about="Data of a test.")
    return json.loads((whole_job / "report.json").read_text()), page.read_text()


@pytest.fixture
def job(whole_job, tmp_path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(whole_job, tmp_path / "job"))


def test_the_result_by_hand(report):
    result = report[0]["result"]
    assert result["seeds"] == [0, 1] and result["test_images"] == 2
    assert result["real"] == {"values": [40.0, 42.0], "mean": 41.0}
    assert result["mixed"] == {"values": [41.0, 45.0], "mean": 43.0}
    assert result["difference"]["values"] == [1.0, 3.0] and result["difference"]["mean"] == 2.0
    assert result["settled"] is False
    assert result["headline"] == "+2.0 mIoU points, not settled"


def test_every_iou_is_that_of_the_tests(whole_job, report):
    numbers, _ = report
    assert len(numbers["segmenters"]) == len(SCORES)
    for segmenter in numbers["segmenters"]:
        folder = whole_job / "segmenters" / f"{segmenter['arm']}-seed{segmenter['seed']}"
        test = json.loads((folder / "test.json").read_text())
        assert segmenter["test"] == {key: test[key] for key in ("images", "mIoU", "IoU")}
        index = numbers["result"]["seeds"].index(segmenter["seed"])
        assert numbers["result"][segmenter["arm"]]["values"][index] == test["mIoU"]
        for row in numbers["classes"]:
            assert row[segmenter["arm"]]["values"][index] == test["IoU"][row["name"]]


def test_a_class_that_a_seed_lacks_is_left_out_of_its_means(report):
    road, car = report[0]["classes"]
    assert road["real"]["mean"] == 51.0 and road["difference"] == {"values": [1.0, 3.0], "mean": 2.0}
    assert car["real"] == {"values": [None, 32.0], "mean": 32.0}
    assert car["mixed"] == {"values": [31.0, 35.0], "mean": 33.0}
    assert car["difference"] == {"values": [None, 3.0], "mean": 3.0}
    assert (road["pixel_share"], car["pixel_share"]) == (0.6, 0.3)


def test_the_job_in_numbers(report):
    numbers, _ = report
    assert numbers["data"] == {"train": 6, "val": 2, "test": 2}
    shards = numbers["shards"]
    assert (shards["planned"], shards["made"], shards["failed"]) == (6, 5, {"bad_image": 1})
    gan = numbers["gan"]
    assert gan["parameters"] == sum(p.numel() for p in Generator(**ARCHITECTURE).parameters())
    assert (gan["images_seen"], gan["images_per_second"]) == (200, 4.0)
    assert gan["log"]["Loss/D/fake"] == {"images_seen": [100, 200], "value": [0.5, 0.5]}
    assert numbers["seconds"] == 125.0
    curves = numbers["segmenters"][0]
    assert curves["iterations"] == 40
    assert curves["loss"] == {"iteration": [20, 40], "value": [2.0, 1.0]}
    assert curves["val_mIoU"] == {"iteration": [40], "value": [38.5]}
    assert "someone" not in json.dumps(numbers)  # no paths of the machine that trained


def test_the_page_says_it(report):
    numbers, page = report
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page))
    for text in (
        numbers["result"]["headline"],
        "Data of a test.",
        "2 min 05 s",
        "Train (2 starts)",
        "1 bad_image",
    ):
        assert text in words
    assert "&lt;1&gt;" in page and "car &amp; &lt;van&gt;" in page and "<van>" not in page
    assert numbers["machine"]["python"] in page and numbers["machine"]["packages"]["torch"] in page


class Loads(HTMLParser):
    """Collects whatever a browser would fetch, run or jump to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.other: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if tag == "img" and name == "src":
                self.images.append(value)
            elif name in ("src", "srcset", "href", "xlink:href", "action", "data") or name.startswith("on"):
                self.other.append(value)
        if tag in ("script", "link", "iframe", "object", "base"):
            self.other.append(tag)


def test_the_page_carries_all_it_shows(report):
    _, page = report
    loads = Loads(page)
    assert loads.images and all(image.startswith("data:image/") for image in loads.images)
    assert loads.other and all(re.fullmatch(r"#\w+", target) for target in loads.other)  # marks within charts
    assert all(f'id="{target[1:]}"' in page for target in loads.other)
    assert not re.search(r"https?:|@import|url\((?!#)", page)


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


def test_samples_stand_beside_their_label_map_and_photo(whole_job, report):
    rows = read_rows(whole_job / "shards", 0)
    images = [decoded(uri) for uri in Loads(report[1]).images]
    for source in range(3):
        made = [row for row in rows if row["source_key"] == f"{source:03d}" and row["status"] == "ok"]
        drawing, photo, *samples = images[: 2 + len(made)]
        images = images[2 + len(made) :]
        assert samples == [read_member(whole_job / "shards", row, "jpg") for row in made]
        label_map = read_label_map(read_member(whole_job / "shards", made[0], "seg.png"), SPACE)
        assert np.array_equal(np.array(Image.open(io.BytesIO(drawing))), SPACE.colorize(label_map))
        real = np.array(Image.open(whole_job / "data" / "train" / "images" / f"{source:03d}.jpg"), int)
        assert np.abs(np.array(Image.open(io.BytesIO(photo)), int) - real).mean() < 3


def test_training_is_shown_by_the_same_cell_of_each_grid(whole_job, report):
    images = [np.array(Image.open(io.BytesIO(decoded(uri))), int) for uri in Loads(report[1]).images]
    cells = images[-2 * (2 + len(STAGES)) :]  # 2 label maps
    for row in range(2):
        for column, seen in enumerate(STAGES):
            grid = np.array(Image.open(whole_job / "gan" / "samples" / f"{seen:09d}.png"), int)
            truth = grid[row * 34 : row * 34 + 32, 2 * 66 : 2 * 66 + 64]
            assert np.abs(cells[row * 5 + 2 + column] - truth).mean() < 12  # JPEG, of pure noise


def test_the_same_job_gives_the_same_report(whole_job, report):
    before = {name: (whole_job / name).read_bytes() for name in ("report.json", "report.html")}
    write_report(whole_job, about="Data of a test.")
    assert {name: (whole_job / name).read_bytes() for name in before} == before


def test_curves_are_not_needed(job):
    for folder in (job / "segmenters").glob("*/20260101_000000"):
        shutil.rmtree(folder)
    page, numbers = write_report(job)
    assert numbers["segmenters"][0]["loss"] == {"iteration": [], "value": []}
    assert "Training loss" not in page.read_text()


@pytest.mark.parametrize(
    "lost",
    [
        "segmenters/mixed-seed1/test.json",
        "segmenters/real-seed0",
        "segmenters",
        "shards/shards.json",
        "shards/00000.tar",
        "shards/00000.jsonl",
        "data/train/images/001.jpg",
        "data/test/images",
        "gan/generator.safetensors",
        "gan/generator.json",
        "gan/log.jsonl",
        "gan/samples",
        "gan/config.yaml",
        "timings.json",
    ],
)
def test_what_is_missing_is_named(job, lost):
    path = job / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    (job / "report.html").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=rf"{re.escape(lost)}.*is missing"):
        write_report(job)
    assert not (job / "report.html").exists()


def test_what_is_not_finished_or_not_alike_is_told(job):
    manifest = json.loads((job / "shards" / "shards.json").read_text())
    (job / "shards" / "shards.json").write_text(json.dumps(manifest | {"totals": None}))
    with pytest.raises(ValueError, match=r"shards\.json has no totals: synthesis is not finished"):
        write_report(job)
    (job / "shards" / "shards.json").write_text(json.dumps(manifest))
    log = next((job / "segmenters" / "mixed-seed0").glob("*/vis_data/scalars.json"))
    log.write_text(log.read_text() + json.dumps({"loss": 1.0, "step": 60}) + "\n")
    with pytest.raises(ValueError, match="mixed-seed0 had 60 training iterations, but real-seed0 had 40"):
        write_report(job)
    file = job / "segmenters" / "real-seed1" / "test.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": 3}))
    with pytest.raises(ValueError, match="real-seed1 had 3 test images, but real-seed0 had 2"):
        write_report(job)
    file.write_text("{")
    with pytest.raises(ValueError, match=r"real-seed1/test\.json is not JSON"):
        write_report(job)

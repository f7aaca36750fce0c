"""tools/synthesize.py as people use it, with a real generator: what it makes, what it says, how it refuses."""

import errno
import io
import shutil
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from run_tool import run_tool

from augment.shards import read_member, read_rows
from augment.storage import open_folder
from dpsims.generator import Generator
from dpsims.inference import InferenceGenerator
from dpsims.labels import LabelSpace, default_palette, encode_label_png
from dpsims.sample import save_generator

TINY = {"num_classes": 3, "height": 32, "width": 64, "channel_base": 2, "cond_channels": 8, "spade_hidden": 8}
TINY |= {"w_dim": 16, "attention_size": 16, "gate_init": 1.0}


@pytest.fixture(scope="module")
def generator(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("generator")
    space = LabelSpace(("sky", "road", "car"), default_palette(3))
    save_generator(folder, Generator(**TINY), TINY, space, {"images_seen": 1000})
    return folder


@pytest.fixture
def tool(generator, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool on five label maps, the last one bad; gives its exit code and what it printed, (stdout, stderr)."""
    (tmp_path / "labels").mkdir()
    for i in range(4):
        label_map = np.random.default_rng(i).integers(0, 3, (4, 8), np.uint8).repeat(8, 0).repeat(8, 1)
        (tmp_path / "labels" / f"map_{i}.png").write_bytes(encode_label_png(label_map))
    (tmp_path / "labels" / "map_4.png").write_bytes(b"no image")

    def run(*options: str) -> tuple[int, str, str]:
        given = {
            "--generator": generator,
            "--labels": tmp_path / "labels",
            "--out": tmp_path / "out",
            "--device": "cpu",
        }
        return run_tool(monkeypatch, capsys, "synthesize", *chain(*given.items()), *options)

    return run


def test_makes_shards_says_so_and_goes_on(tool, tmp_path):
    code, printed, _ = tool("--samples", "2", "--shard-size", "5", "--batch-size", "3")
    assert code == 0
    assert "5 label maps (no split) × 2 samples = 10 images" in printed and "3 shards" in printed
    assert "made: 8 images; there already: 0" in printed and "bad_label: 2" in printed and "map_4" in printed
    with Image.open(tmp_path / "out" / "samples.png") as sheet:
        assert sheet.size == (3 * (64 + 2) - 2, 4 * (32 + 2) - 2)  # four good maps: label map and two samples
    code, printed, _ = tool("--samples", "2", "--shard-size", "5", "--batch-size", "1")
    assert code == 0 and "made: 0 images; there already: 8" in printed
    code, _, printed = tool("--samples", "2", "--shard-size", "5", "--seed", "1")
    assert code == 2 and "plan.seed: 0 → 1" in printed


def test_shards_of_any_batch_size_are_the_same(tool, tmp_path, monkeypatch):
    # Untrained images are nearly grey; at 20 times their contrast a wrong batch would show.
    to_image = InferenceGenerator.to_image
    monkeypatch.setattr(InferenceGenerator, "to_image", lambda self, features: 20 * to_image(self, features))
    for name, batch_size in (("one", "1"), ("four", "4"), ("again", "4")):
        options = ("--samples", "2", "--shard-size", "6", "--format", "png", "--batch-size", batch_size)
        assert tool(*options, "--out", str(tmp_path / name))[0] == 0
    four, again = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("four", "again"))
    assert four == again

    def read(name: str, member: str) -> list[bytes]:
        rows = [row for shard in (0, 1) for row in read_rows(tmp_path / name, shard) if row["status"] == "ok"]
        return [read_member(tmp_path / name, row, member) for row in rows]

    for member in ("seg.png", "json"):
        assert read("one", member) == read("four", member)
    one, four = (
        np.stack([Image.open(io.BytesIO(file)) for file in read(name, "png")]).astype(int) for name in ("one", "four")
    )
    assert one.shape == (8, 32, 64, 3)
    assert np.abs(one - four).mean(axis=(1, 2, 3)).max() <= 1
    assert np.abs(one[::2] - one[1::2]).mean(axis=(1, 2, 3)).min() > 1  # two seeds, two images


def test_help_shows_options_as_they_are_typed(tool):
    code, printed, _ = tool("--help")
    assert code == 0 and "--target CLASS=N|CLASS=P%\n" in printed


def test_max_maps_takes_the_first_by_name(tool, tmp_path):
    code, printed, _ = tool("--max-maps", "1", "--samples", "3", "--format", "webp", "--quality", "60")
    assert code == 0 and "made: 3 images" in printed
    assert (tmp_path / "out" / "00000.jsonl").read_text().count('"map_0"') == 3


def test_ctrl_c_says_how_to_go_on(tool, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InferenceGenerator, "decode", interrupt)
    code, _, printed = tool()
    assert code == 130 and "the same command goes on" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "0"], "--samples is at least 1, not 0"),
        (["--shard-size", "4"], "--shard-size 4 is at most 10000, and at least the 8 samples"),
        (["--samples", "2", "--budget", "9"], "only one of the two"),
        (["--target", "car=5"], "--target shares out a --budget"),
        (["--budget", "9", "--target", "bus=5"], "with a class of sky, road, car"),
        (["--budget", "nowhere.json"], "--budget nowhere.json is neither a number nor"),
        (["--variants", "2"], "--variants means nothing without --perturb"),
        (["--perturb", "ligth"], "no perturbation is called 'ligth', did you mean light?"),
        (["--perturb", "objects"], "no class is named whose pixels are objects"),
        (["--layout", "ade20k"], "--layout goes with --split"),
        (["--part", "4/4"], "--part 4/4 is to be I/N"),
        (["--out", "nonsense://x"], "nonsense://x"),
        (["--threads", "0"], "--threads is at least 1"),
        (["--out", "shards", "--preview", "shards/look.png"], "--preview shards/look.png is to lie outside of --out"),
        (["--preview", "look.jpg"], "--preview look.jpg is to be a file called *.png"),
        (["--format", "png", "--quality", "90"], "quality 90"),
        (["--max-maps", "0"], "--max-maps"),
        (["--labels", "nowhere"], "no such folder"),
        (["--generator", "nowhere"], "no snapshot"),
        (["--device", "tpu9"], "device 'tpu9'"),
        (["--batch-size", "0"], "--batch-size"),
    ],
)
def test_user_errors_are_one_line(tool, options, message):
    code, _, printed = tool(*options)
    assert code == 2
    assert printed.startswith("error: ") and printed.count("\n") == 1 and message in printed


# Of a run, whose configuration says where its label maps are ----------------------------------------------------------


@pytest.fixture
def of_run(generator, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool with a generator in a run folder, trained on ROOT/train with eight label maps; car is in two."""
    root, run_folder = tmp_path / "data", tmp_path / "run"
    for split, count in (("train", 8), ("val", 1)):
        for kind in ("labels", "images"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            label_map = np.zeros((32, 64), np.uint8)
            label_map[16:] = 1
            if i < 2:
                label_map[12:20, 10 + 20 * i : 26 + 20 * i] = 2
            (root / split / "labels" / f"{i}.png").write_bytes(encode_label_png(label_map))
    (root / "meta.json").write_text('{"classes": ["sky", "road", "car"], "things": ["car"]}')
    shutil.copytree(generator, run_folder)
    data = {"root": str(root), "layout": "generic", "label_space": None, "train_split": "train"}
    (run_folder / "config.yaml").write_text(yaml.safe_dump({"data": data}))

    def run(*options: str) -> tuple[int, str, str]:
        given = {"--generator": run_folder, "--out": tmp_path / "out", "--device": "cpu"}
        return run_tool(monkeypatch, capsys, "synthesize", *chain(*given.items()), *options)

    return run


def test_without_labels_those_of_the_training_are_taken(of_run, tmp_path):
    code, printed, _ = of_run("--samples", "1", "--dry-run")
    assert code == 0 and "plan: 8 label maps (train) × 1 samples = 8 images" in printed
    assert "s, and " in printed and "by 8 images that were made now" in printed and not (tmp_path / "out").exists()
    code, _, printed = of_run("--samples", "1", "--split", "val")
    assert code == 2 and "1 of 1 label maps are of the val split" in printed
    code, printed, _ = of_run("--samples", "1", "--split", "val", "--allow-split", "val", "--dry-run")
    assert code == 0 and "1 label maps (val)" in printed


def test_a_budget_meets_its_targets(of_run, tmp_path):
    code, printed, _ = of_run("--budget", "40", "--target", "car=50%")
    assert code == 0 and "= 40 images" in printed
    rows = read_rows(tmp_path / "out", 0)
    assert len(rows) == 40 and sum(row["source_key"] in ("0", "1") for row in rows) == 20
    (tmp_path / "counts.json").write_text('{"3": 2, "5": 1}')
    code, printed, _ = of_run("--budget", str(tmp_path / "counts.json"), "--out", str(tmp_path / "other"))
    assert code == 0 and "2 label maps (train) × 1 to 2 samples = 3 images" in printed
    keys = [row["source_key"] for row in read_rows(tmp_path / "other", 0)]
    assert keys == ["3", "3", "5"]


def test_perturbed_label_maps_are_told_and_shown(of_run, tmp_path):
    options = ("--samples", "2", "--perturb", "objects")
    code, printed, _ = of_run(*options, "--preview", str(tmp_path / "preview.png"))
    assert code == 0 and not (tmp_path / "out").exists()
    size = (7 * 64 + 6 * 2, 6 * 32 + 5 * 2)  # label map | (perturbed | sample) × 3
    assert Image.open(tmp_path / "preview.png").size == size
    code, printed, _ = of_run(*options)
    assert code == 0 and "2 versions of each label map: flip, " in printed
    assert "perturbation  done  nothing to do  left out  drawn again, because of" in printed
    size = (5 * 64 + 4 * 2, 6 * 32 + 5 * 2)  # label map | (perturbed | sample) × 2
    assert Image.open(tmp_path / "out" / "samples.png").size == size
    rows = read_rows(tmp_path / "out", 0)
    assert [row["variant"] for row in rows] == [0, 1] * 8 and any(row["perturbations"] for row in rows)
    # The perturbed label maps are label maps as well.
    code, printed, _ = of_run("--labels", str(tmp_path / "out"), "--samples", "1", "--out", str(tmp_path / "again"))
    assert code == 0 and "16 label maps (train) × 1 samples" in printed
    assert "label space of their files: own" in printed
    again = {
        row["source_key"]: read_member(tmp_path / "again", row, "seg.png") for row in read_rows(tmp_path / "again", 0)
    }
    for row in rows:
        name = f"{row['source_key']}~{row['variant']}" if row["perturbations"] else row["source_key"]
        assert name in again
        if row["perturbations"]:
            assert again[name] == read_member(tmp_path / "out", row, "seg.png")


def test_a_disk_too_small_is_told_before_the_work(of_run, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 100, 0))
    code, _, printed = of_run("--samples", "1")
    assert code == 2 and "0 B are free there, about" in printed and not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_is_told_and_leaves_nothing_half_written(of_run, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("augment.shards.file_sha256", full)
        code, _, printed = of_run("--samples", "1")
    assert code == 2 and "is full; finished shards stay" in printed
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["shards.json"]
    assert of_run("--samples", "1")[0] == 0


def test_shards_go_to_a_url(of_run):
    code, printed, _ = of_run("--samples", "1", "--out", "memory://test_shards_go_to_a_url/x")
    assert code == 0 and "made: 8 images" in printed and "look at them: memory://" in printed
    folder = open_folder("memory://test_shards_go_to_a_url/x")
    names = {file.name for file in folder.iterdir()}
    assert names == {"00000.tar", "00000.jsonl", "00000.stats.json", "shards.json", "samples.png"}
    assert read_member(folder, read_rows(folder, 0)[0], "seg.png").startswith(b"\x89PNG")
    code, printed, _ = of_run("--samples", "1", "--out", "memory://test_shards_go_to_a_url/x")
    assert code == 0 and "made: 0 images; there already: 8" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "cuda:1"], "--device cuda:1: with --ray a:1 it is auto, cpu or cuda"),
        (["--device", "cuda"], "--ray a:1 computes on cuda, this process on cpu"),
        ([], "--ray a:1 computes on cuda, this process on cpu"),
    ],
)
def test_a_cluster_may_compute_on_another_kind_of_device(tool, monkeypatch, options, message):
    monkeypatch.setattr("augment.ray_engine.cluster_device", lambda address: torch.device("cuda"))
    code, _, error = tool("--ray", "a:1", "--device", "auto", *options)
    assert code == 2 and message in error


def test_no_extra_is_needed(monkeypatch, tool):
    for package in ("jinja2", "matplotlib", "mmengine", "mmcv", "mmseg", "ray", "wandb"):
        monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("augment.report")]:
        monkeypatch.delitem(sys.modules, name)
    assert tool("--samples", "1")[0] == 0

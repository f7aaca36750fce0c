"""tools/synthesize.py as people use it, with a real generator: what it makes, what it says, how it refuses."""

import io
import runpy
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augment.shards import read_member, read_rows
from dpsims.generator import Generator
from dpsims.inference import InferenceGenerator
from dpsims.labels import LabelSpace, default_palette, encode_label_png
from dpsims.sample import save_generator

SCRIPT = Path(__file__).parents[1] / "tools" / "synthesize.py"
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
        monkeypatch.syspath_prepend(str(SCRIPT.parent))
        monkeypatch.setattr(sys, "argv", [str(part) for part in (SCRIPT, *chain(*given.items()), *options)])
        code = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

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

"""tools/filter.py as people use it: a GAN's run, its shards, both scorers; what it writes, says and refuses."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image
from run_tool import TOOLS, run_tool
from test_mmseg_scorer import nearest_colour
from tiny_gan import tiny_config
from torch.distributed.run import get_args_parser

from augment.filter.run import kept_keys, read_decisions
from augment.plan import Plan
from augment.sources import find_label_maps
from augment.synthesize import Settings, synthesize
from dpsims.sample import load_generator
from dpsims.train import train


@pytest.fixture(scope="module")
def gan(tiny_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gan")
    return train(tiny_config(tiny_root, out, "run.total_kimg=0.004", "loss.diversity.tau=1"))


@pytest.fixture(scope="module")
def shards(gan, tiny_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards")
    sources = find_label_maps(tiny_root / "train")
    plan = Plan(sources, [2] * len(sources), shard_size=6, seed=0)
    synthesize(load_generator(gan), plan, out, Settings(), device="cpu", batch_size=4, threads=1)
    return out


@pytest.fixture
def tool(shards, tmp_path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    def run(*options: object) -> tuple[int, str, str]:
        given = ("--shards", shards, "--out", tmp_path / "out", "--device", "cpu", "--threads", "1")
        return run_tool(monkeypatch, capsys, "filter", *given, *options)

    return run


def test_by_the_discriminator_it_says_what_it_did_and_goes_on(tool, gan, shards, tmp_path):
    by = ("--scorer", "discriminator", "--gan", gan)
    code, printed, _ = tool(*by)
    assert code == 0 and "of 20 samples" in printed and "mean loss" in printed
    out = tmp_path / "out"
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (3 * (64 + 2) - 2, 8 * (32 + 2) - 2)
    decisions = list(read_decisions(out))
    assert len(decisions) == 20 and all(0 <= row["fake"] <= 1 and row["novelty"] > 0 for row in decisions)
    summary = json.loads((out / "filter.json").read_text())
    assert summary["classes"] == ["sky", "road", "car"] and set(summary["hardness"]) == {"sky", "road", "car"}
    assert set(summary["real"]["fake"]) == {"0.05", "0.25", "0.5", "0.75", "0.95"}

    before = {file.name: file.read_bytes() for file in out.iterdir()}
    code, printed, _ = tool(*by, "--drop-fakest", "0.25")
    assert code == 0 and "dropped: fake 5" in printed and len(kept_keys(out, shards)) == 15
    changed = {file.name for file in out.iterdir() if before[file.name] != file.read_bytes()}
    assert changed == {"filter.json", "decisions.jsonl"}  # the picture shows label maps and their order
    code, _, said = tool(*by, "--quantile", "0.5")
    assert code == 2 and "quantile: 0.95 → 0.5" in said and "choose another --out" in said


def test_the_real_images_are_those_that_the_gan_was_trained_on(tool, gan, tiny_root, tmp_path):
    """Also where their split is called otherwise, as in ADE20K and COCO-Stuff."""
    root, run = tmp_path / "data", tmp_path / "gan"
    shutil.copytree(tiny_root, root)
    (root / "train").rename(root / "training")
    shutil.copytree(gan, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"] |= {"root": str(root), "train_split": "training"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    code, _, said = tool("--scorer", "discriminator", "--gan", run, "--features", "none")
    assert code == 0, said
    real = json.loads((tmp_path / "out" / "filter.json").read_text())["settings"]["real"]
    assert (real["split"], real["images"]) == ("training", 10)


def test_jobs_of_an_array_filter_together(tool, gan, tmp_path):
    by = ("--scorer", "discriminator", "--gan", gan, "--features", "none")
    code, printed, _ = tool(*by, "--part", "0/2")
    assert code == 0 and "part 0 of 2" in printed and not (tmp_path / "out" / "filter.json").exists()
    code, printed, _ = tool(*by, "--part", "1/2")
    assert code == 0 and "of 20 samples" in printed


def test_real_label_maps_are_read_once_and_a_bad_one_is_named_before_anything_is_looked_at(
    tool, gan, tiny_root, tmp_path
):
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    options = ("--scorer", "discriminator", "--gan", gan, "--data-root", root, "--features", "none")
    bad = root / "train" / "labels" / "09.png"
    good = bad.read_bytes()
    bad.write_bytes(b"torn")
    code, printed, said = tool(*options)
    assert code == 2 and "label map cannot be read" in said and str(bad) in said
    assert not list((tmp_path / "out").glob("*"))
    bad.write_bytes(good)
    assert tool(*options)[0] == 0
    bad.write_bytes(b"torn")
    code, printed, said = tool(*options, "--max-rejected", "0.5")
    assert code == 0 and "of 20 samples" in printed, said


def test_shards_of_which_nothing_can_be_read_are_a_count_without_a_picture(tool, gan, shards, tmp_path):
    torn = tmp_path / "torn"
    shutil.copytree(shards, torn)
    for tar in torn.glob("*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    by = ("--scorer", "discriminator", "--gan", gan, "--features", "none")
    code, printed, said = tool(*by, "--shards", torn)
    assert code == 0, said
    assert "rejected: none of 0 labelled pixels" in printed
    assert "kept: 0 of 20 samples; dropped: unreadable 20" in printed
    assert "sheet.png" not in printed and not (tmp_path / "out" / "sheet.png").exists()


def test_by_a_segmenter_in_its_work_dir(tool, tiny_root, tmp_path):
    work_dir = tmp_path / "segmenter"
    work_dir.mkdir()
    _, checkpoint = nearest_colour(work_dir)
    (work_dir / "last_checkpoint").write_text(str(checkpoint))
    options = ("--scorer", "segmenter", "--checkpoint", work_dir, "--data-root", tiny_root)
    code, printed, _ = tool(*options, "--max-real", "4", "--features", "none", "--max-rejected", "0.9")
    assert code == 0 and "of 20 samples" in printed
    summary = json.loads((tmp_path / "out" / "filter.json").read_text())
    assert summary["real"]["images"] == 4 and summary["settings"]["tolerance"] == 1.25
    for name, hardness in summary["hardness"].items():
        assert summary["limits"][name] == pytest.approx(1.25 * hardness)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scorer", "segmenter"], "--scorer segmenter needs --checkpoint"),
        (
            ["--scorer", "segmenter", "--checkpoint", "GAN", "--data-root", "x"],
            "--config is needed: .* holds 0 configs, a segmenter's work dir holds one",
        ),
        (["--scorer", "discriminator"], "--scorer discriminator needs --gan"),
        (
            ["--scorer", "discriminator", "--gan", "GAN", "--config", "x.py"],
            "--config means nothing with --scorer disc",
        ),
        (["--scorer", "discriminator", "--gan", "GAN", "--batch-size", "0"], "--batch-size is at least 1, not 0"),
        (
            ["--scorer", "discriminator", "--gan", "GAN", "--split", "test"],
            "--split test: limits of test images would leak the test into the training",
        ),
        (
            ["--scorer", "discriminator", "--gan", "GAN", "--layout", "ade20k", "--split", "validation"],
            "--split validation: with ade20k segmenters are tested on it, and limits of test images would leak",
        ),
        (["--scorer", "discriminator", "--gan", "nowhere"], "is not the run folder of a GAN"),
        (["--scorer", "discriminator", "--gan", "GAN", "--tolerance", "1", "--quantile", "0.9"], "give one of them"),
        (
            ["--scorer", "discriminator", "--gan", "GAN", "--features", "none", "--min-novelty", "1"],
            "--min-novelty and --min-diversity need --features",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_read(tool, gan, tmp_path, options, message):
    code, _, said = tool(*[gan if option == "GAN" else option for option in options])
    assert code == 2 and re.search(message, said)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused_and_stays(tool, gan):
    before = sorted(file.name for file in gan.iterdir())
    code, _, said = tool("--scorer", "discriminator", "--gan", gan, "--features", "none", "--out", gan)
    assert code == 2 and f"--out {gan} is not empty and has no calibration.json; choose another one" in said
    assert sorted(file.name for file in gan.iterdir()) == before


def test_other_classes_and_other_sizes_are_refused(tool, tiny_root, tmp_path):
    small = tmp_path / "small"
    train(tiny_config(tiny_root, small, "run.total_kimg=0.002", "loss.diversity.tau=1", "data.width=32"))
    code, _, said = tool("--scorer", "discriminator", "--gan", small)
    assert code == 2 and "is of images of 32x32, those to be filtered are 32x64" in said
    config, checkpoint = nearest_colour(tmp_path, ("sky", "road"))
    options = ("--scorer", "segmenter", "--config", config, "--checkpoint", checkpoint, "--data-root", tiny_root)
    code, _, said = tool(*options)
    assert code == 2 and "has no class 'car'" in said


@pytest.mark.parametrize(
    "tools", [["filter", "filter_options"], ["synthesize", "synthesize_options"], ["train_segmenter"]]
)
def test_no_option_is_taken_for_one_of_torchruns(tools):
    """torchrun looks through the whole command line, and takes beginnings of its own options for them."""
    own = {option for tool in tools for option in re.findall(r'"(--[a-z-]+)"', (TOOLS / f"{tool}.py").read_text())}
    assert len(own) > 10
    taken = [name for name in get_args_parser()._option_string_actions if name.startswith("--")]
    assert [option for option in sorted(own) if any(name.startswith(option) for name in taken)] == []

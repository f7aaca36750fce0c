"""Each row of the paper's ablations is one override, which changes what it names and nothing else."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from tiny_gan import CONFIGS, TINY, compose_options

from dpsims.config import differences

TOOL = Path(__file__).parents[1] / "tools" / "train_gan.py"
BACKBONE = "discriminator.backbone"
NAME = f"{BACKBONE}.name"
ROWS = {
    "backbone_fixed_random": {f"{BACKBONE}.pretrained": False},
    "backbone_finetuned_random": {f"{BACKBONE}.frozen": False, f"{BACKBONE}.pretrained": False},
    "backbone_finetuned": {f"{BACKBONE}.frozen": False},
    "backbone_resnet50": {NAME: "resnet50.a1_in1k"},
    "backbone_efficientnet": {NAME: "tf_efficientnet_b4.ns_jft_in1k"},
    "backbone_swin_b": {NAME: "swin_base_patch4_window7_224.ms_in22k"},
    "backbone_convnext_l": {NAME: "convnext_large.fb_in22k_ft_in1k_384"},
    "backbone_convnext_l_in1k": {NAME: "convnext_large.fb_in1k"},
    "backbone_convnext_l_in21k": {NAME: "convnext_large.fb_in22k"},
    "backbone_convnext_xl": {NAME: "convnext_xlarge.fb_in22k_ft_in1k_384"},
    "conditioning_none": {"discriminator.nonlinearity": "none", "discriminator.normalization": "none"},
    "conditioning_batch_norm": {"discriminator.nonlinearity": "none"},
    "conditioning_tanh": {"discriminator.nonlinearity": "tanh"},
    "loss_weighted_cross_entropy": {"loss.focal_gamma": 0.0},
    "loss_focal": {"loss.weigh_classes": False},
    "contrastive_0": {"loss.contrastive.weight": 0.0},
    "diversity_0": {"loss.diversity.weight": 0.0},
    "diversity_100": {"loss.diversity.weight": 100.0},
    "diversity_in_image_space": {"loss.diversity.space": "image"},
    "uniform_sampling": {"data.balanced": False},
    "instances": {"generator.instances": True},
}
BEYOND = {
    "discriminator.augment=[color,translation,cutout]": {},
    "loss.r1.weight=1": {"Loss/D/r1"},
    "loss.labelmix.weight=10": {"Loss/D/labelmix"},
    "optim.clip_norm=1": {},
    "run.micro_batch=1": {},
    "run.activation_checkpointing=true": {},
}


def test_every_preset_is_a_row():
    assert {file.stem for file in (CONFIGS / "ablation").glob("*.yaml")} == set(ROWS)


@pytest.mark.parametrize("base", [[], ["experiment=camvid_cpu"]], ids=["default", "camvid_cpu"])
@pytest.mark.parametrize("row", ROWS)
def test_it_changes_what_it_names_and_nothing_else(row, base):
    changed = differences(compose_options(base), compose_options([*base, f"ablation={row}"]))
    assert {key: new for key, (_, new) in changed.items()} == ROWS[row]


def test_rows_combine():
    changed = differences(compose_options([]), compose_options(["ablation=[diversity_0,uniform_sampling]"]))
    assert {key: new for key, (_, new) in changed.items()} == ROWS["diversity_0"] | ROWS["uniform_sampling"]


def three_steps(monkeypatch, root: Path, out: Path, *options: str) -> dict[str, float]:
    """`python tools/train_gan.py …`, in this process: the last row of the log."""
    command = [f"data.root={root}", f"out={out}", *TINY, "run.total_kimg=0.006", "run.log_kimg=0.002", *options]
    monkeypatch.setattr(sys, "argv", [str(TOOL), *command])
    monkeypatch.syspath_prepend(str(TOOL.parent))
    runpy.run_path(str(TOOL), run_name="__main__")
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in rows] == [2, 4, 6]
    return rows[-1]


@pytest.mark.parametrize("row", ROWS)
def test_three_steps_of_each_row(row, tiny_root, tmp_path, monkeypatch):
    options = [f"ablation={row}"]
    if NAME in ROWS[row]:
        options += ["discriminator.backbone.pretrained=false"]  # no hub here
    if row != "diversity_100":
        options += ["loss.diversity.tau=1"]
    last = three_steps(monkeypatch, tiny_root, tmp_path / "run", *options)
    assert ("Loss/G/contrastive" in last) == (row != "contrastive_0")
    assert ("Loss/G/diversity" in last) == (row != "diversity_0")


@pytest.mark.parametrize("option", BEYOND)
def test_three_steps_beyond_the_paper(option, tiny_root, tmp_path, monkeypatch):
    last = three_steps(monkeypatch, tiny_root, tmp_path / "run", option, "loss.diversity.tau=1", "loss.r1.every=1")
    assert set(BEYOND[option]) <= set(last)

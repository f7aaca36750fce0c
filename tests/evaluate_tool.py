"""tools/evaluate_gan.py as people call it, and tiny run folders for it."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torchvision.models import alexnet, resnet18

from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette
from dpsims.sample import save_generator

SCRIPT = Path(__file__).parents[1] / "tools" / "evaluate_gan.py"
TINY = {"num_classes": 3, "height": 32, "width": 64, "channel_base": 2, "cond_channels": 8, "spade_hidden": 8}
TINY |= {"w_dim": 16, "attention_size": 16, "gate_init": 1.0}


def write_run(
    folder: Path,
    root: Path,
    seed: int,
    classes: tuple[str, ...] = ("sky", "road", "car"),
    instances: bool = False,
    **data: str,
) -> Path:
    """A run folder such as train_gan.py leaves; `data` is of its configuration."""
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    architecture = TINY | {"num_classes": len(classes), "instances": instances}
    space = LabelSpace(classes, default_palette(len(classes)))
    save_generator(folder, Generator(**architecture), architecture, space, {"images_seen": 1000 + seed})
    config = {"out": str(folder), "seed": seed, "data": {"name": "tiny", "root": str(root), **data}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    rows = [{"images_seen": seen, "Loss/D/real": 1.0 + seed, "images_per_second": 2.0} for seen in (500, 1000)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_place(folder: Path, root: Path) -> Path:
    """FOLDER/runs/a and runs/b, and random weights of a ResNet-18 and an AlexNet."""
    for seed, name in enumerate("ab"):
        write_run(folder / "runs" / name, root, seed)
    torch.manual_seed(0)
    torch.save(resnet18(weights=None).state_dict(), folder / "resnet18.pth")
    features = alexnet(weights=None).features.state_dict()
    save_file({f"features.{key}": value for key, value in features.items()}, folder / "alexnet.safetensors")
    return folder


def call(monkeypatch: pytest.MonkeyPatch, *options: object) -> int:
    """Its exit code."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    monkeypatch.setattr(sys, "argv", [str(part) for part in (SCRIPT, "--device", "cpu", "--workers", "0", *options)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    return 0

"""The demo's plan: which tools it runs, with which options."""

import argparse
from pathlib import Path

from augment.stages import ROOT, Stage
from demo.run import SIZE, plan
from tools.train_segmenter import parse_args

OPTIONS = {"samples": 4, "iterations": 50, "data_options": [], "gan_options": ["run.total_kimg=1"]}


def make_plan(out: Path, **changes: object) -> list[Stage]:
    return plan(argparse.Namespace(out=out, seeds=[0, 7], **(OPTIONS | changes)))


def test_arms_differ_in_the_config_and_the_shards_alone(tmp_path):
    stages = {stage.name: stage for stage in make_plan(tmp_path)}
    assert list(stages) == ["data", "gan", "shards", "real-seed0", "mixed-seed0", "real-seed7", "mixed-seed7"]
    for stage in stages.values():
        assert (ROOT / stage.arguments[0]).is_file()
    assert "run.total_kimg=1" in stages["gan"].arguments
    real, mixed = (vars(parse_args(stages[f"{arm}-seed7"].arguments[1:])) for arm in ("real", "mixed"))
    assert {key for key in real if real[key] != mixed[key]} == {"config", "shards", "work_dir"}
    assert (ROOT / real["config"]).is_file() and (ROOT / mixed["config"]).is_file()
    assert (mixed["shards"], mixed["seed"], mixed["test"]) == (tmp_path / "shards", 7, True)
    assert stages["mixed-seed7"].product == mixed["work_dir"] / "test.json"
    assert stages["real-seed0"].environment == stages["mixed-seed0"].environment == SIZE | {"SEG_ITERS": "50"}
    assert " SEG_ITERS=50 " in stages["real-seed0"].command


def test_commands_are_as_one_would_type_them():
    stage = make_plan(ROOT / "runs" / "my demo", data_options=["--train", "5"])[0]
    assert "demo/make_data.py --out 'runs/my demo/data' " in stage.command
    assert stage.command.endswith(" --train 5")

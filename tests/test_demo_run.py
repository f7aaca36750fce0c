"""The demo's runner with stages that are one line of Python: what it starts again, what it times, where it stops."""

import argparse
import json
from pathlib import Path

import pytest

from demo.run import ROOT, SIZE, Stage, Timings, plan, run_stages
from tools.train_segmenter import parse_args

OPTIONS = {"samples": 4, "iterations": 50, "data_options": [], "gan_options": ["run.total_kimg=1"]}


def make_plan(out: Path, **changes: object) -> list[Stage]:
    return plan(argparse.Namespace(out=out, seeds=[0, 7], **(OPTIONS | changes)))


def line(name: str, product: Path, code: str = "pass", **options: object) -> Stage:
    """A stage that notes in PRODUCT.runs that it was started, runs `code`, and leaves its product."""
    note = f"from pathlib import Path; open('{product}.runs', 'a').write('x'); {code}; Path('{product}').touch()"
    return Stage(name, name.title(), ("-c", note), product, **options)


def runs(stage: Stage) -> int:
    return len(Path(f"{stage.product}.runs").read_text())


def noted(file: Path) -> dict[str, dict]:
    return {stage["name"]: stage for stage in json.loads(file.read_text())["stages"]}


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


def test_a_second_call_keeps_the_first_times(tmp_path, capfd):
    stages = [line("tool", tmp_path / "a"), line("once", tmp_path / "b", skip=True)]
    file = tmp_path / "timings.json"
    run_stages(stages, Timings(file))
    first = noted(file)
    assert [stage["starts"] for stage in first.values()] == [1, 1] and all(s["seconds"] > 0 for s in first.values())
    assert f"$ {stages[0].command}" in capfd.readouterr().out
    run_stages(stages, Timings(file))
    assert (runs(stages[0]), runs(stages[1])) == (2, 1)  # a tool sees for itself that nothing is left to do
    assert noted(file) == first
    file.write_text(file.read_text().replace(f'"seconds": {first["tool"]["seconds"]}', '"seconds": 9999'))
    run_stages(stages, Timings(file))
    assert noted(file)["tool"]["seconds"] == 9999
    (tmp_path / "a").unlink()  # what was deleted is made, and timed, anew
    run_stages(stages, Timings(file))
    assert noted(file)["tool"]["starts"] == 1 and noted(file)["tool"]["seconds"] < 9999


def test_a_failure_stops_and_the_next_call_goes_on(tmp_path):
    mended = tmp_path / "mended"
    code = f"import sys, time; time.sleep(0.2); Path('{mended}').exists() or sys.exit(3)"
    stages = [line("good", tmp_path / "a"), line("bad", tmp_path / "b", code), line("last", tmp_path / "c")]
    file = tmp_path / "timings.json"
    with pytest.raises(ChildProcessError, match="stage 2 of 3, bad, ended with exit code 3"):
        run_stages(stages, Timings(file))
    assert not (tmp_path / "c").exists() and noted(file)["bad"]["finished"] is False
    before = noted(file)["bad"]["seconds"]
    mended.touch()
    run_stages(stages, Timings(file))
    bad = noted(file)["bad"]
    assert bad["finished"] and bad["starts"] == 2 and bad["seconds"] > before + 0.2


def test_leftovers_that_do_not_fit_are_refused_before_anything_runs(tmp_path):
    shards, score = line("shards", tmp_path / "shards"), tmp_path / "real" / "test.json"
    score.parent.mkdir()
    stage = line("real", score, inputs=(shards.product,), skip=True)
    run_stages([shards, stage], Timings(tmp_path / "t.json"))
    other = line("real", score, "1 + 1", inputs=(shards.product,), skip=True)
    with pytest.raises(ValueError, match=r"test\.json is from another command .*; delete .*real or take another --out"):
        run_stages([shards, other], Timings(tmp_path / "t.json"))
    shards.product.unlink()
    with pytest.raises(ValueError, match=r"test\.json was made from .*shards, which is gone; delete .*real, too"):
        run_stages([shards, stage], Timings(tmp_path / "t.json"))
    assert runs(shards) == 1

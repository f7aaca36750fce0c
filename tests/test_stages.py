"""Stages that are one line of Python: what is started again, what is timed, what runs at once, where it stops."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augment.stages import ROOT, Stage, Timings, run_side_by_side, run_stages


def line(name: str, product: Path, code: str = "pass", **options: object) -> Stage:
    """A stage that notes in PRODUCT.runs that it was started, runs `code`, and leaves its product."""
    note = f"from pathlib import Path; open('{product}.runs', 'a').write('x'); {code}; Path('{product}').touch()"
    return Stage(name, name.title(), ("-c", note), product, **options)


def runs(stage: Stage) -> int:
    return len(Path(f"{stage.product}.runs").read_text())


def noted(file: Path) -> dict[str, dict]:
    return {stage["name"]: stage for stage in json.loads(file.read_text())["stages"]}


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


def test_another_name_of_python_is_the_same_command(tmp_path):
    stage = line("real", tmp_path / "test.json", environment={"WHERE": "a b"}, skip=True)
    timings = Timings(tmp_path / "t.json")
    run_stages([stage], timings)
    noted = timings.stages["real"]
    for python in ("/a place/python3", sys.executable):
        noted["command"] = shlex.join(["WHERE=a b", python, *stage.arguments])
        run_stages([stage], timings)
    for words in ([sys.executable, *stage.arguments], ["WHERE=a b", sys.executable, "-c", "pass"]):
        noted["command"] = shlex.join(words)
        with pytest.raises(ValueError, match="is from another command"):
            run_stages([stage], timings)


def test_side_by_side_each_after_its_inputs_and_in_its_place(tmp_path):
    seen = "import os, time; time.sleep(0.3); Path('{0}.place').write_text(os.environ['PLACE'])"
    parts = [line(name, tmp_path / name, seen.format(tmp_path / name), skip=True) for name in ("a", "b")]
    both = f"assert all(Path(f'{tmp_path}/{{n}}').exists() for n in 'ab')"
    last = line("sum/of both", tmp_path / "c", both, inputs=(tmp_path / "a", tmp_path / "b"))
    timings = Timings(tmp_path / "t.json")
    places = [{"PLACE": "0"}, {"PLACE": "1"}]
    run_side_by_side([last, *parts], timings, places, tmp_path / "logs")
    assert {(tmp_path / f"{name}.place").read_text() for name in "ab"} == {"0", "1"}
    assert all(stage["finished"] for stage in noted(timings.file).values())
    run_side_by_side([last, *parts], timings, places, tmp_path / "logs")
    assert [runs(stage) for stage in (last, *parts)] == [2, 1, 1]


def test_side_by_side_a_failure_lets_the_others_end_and_starts_nothing_new(tmp_path):
    slow = line("slow", tmp_path / "slow", "import time; time.sleep(1)", skip=True)
    bad = line("bad", tmp_path / "bad", "raise SystemExit('what was wrong')", skip=True)
    new = line("new", tmp_path / "new", skip=True)
    timings = Timings(tmp_path / "t.json")
    with pytest.raises(ChildProcessError, match=r"bad ended with exit code 1 after .*bad\.log:\n  \| what was wrong"):
        run_side_by_side([slow, bad, new], timings, [{}, {}], tmp_path / "logs")
    assert (tmp_path / "slow").exists() and not (tmp_path / "new").exists()
    assert [noted(timings.file)[name]["finished"] for name in ("slow", "bad")] == [True, False]


def test_side_by_side_ends_with_its_tools_and_goes_on(tmp_path):
    """SIGTERM, which the tools do not get by themselves."""
    script = tmp_path / "job.py"
    script.write_text(
        f"""
from pathlib import Path
from dpsims.stop import stop_by_terminate
from augment.stages import ROOT, Stage, Timings, run_side_by_side
code = "import os, time; from pathlib import Path; Path('{tmp_path}/pid').write_text(str(os.getpid())); time.sleep(60)"
stop_by_terminate()
stage = Stage("slow", "Slow", ("-c", code), Path("{tmp_path}/slow"), skip=True)
run_side_by_side([stage], Timings(Path("{tmp_path}/t.json")), [{{}}], Path("{tmp_path}/logs"))
"""
    )
    job = subprocess.Popen([sys.executable, str(script)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    pid = tmp_path / "pid"
    while not pid.is_file() or not pid.read_text():
        assert job.poll() is None
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert noted(tmp_path / "t.json")["slow"]["finished"] is False

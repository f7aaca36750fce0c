"""The training command, end to end on tiny images, and the `_real` config under mmseg's own tools."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmseg_data import RunsCode, write_data_set, write_shards

from dpsims.labels import LabelSpace

REPOSITORY = Path(__file__).parents[1]
TOOL = REPOSITORY / "tools" / "train_segmenter.py"
CONFIGS = REPOSITORY / "configs" / "segmenters"
LIGHT_REAL = CONFIGS / "efficientnet_lite0_fpn_streets_real.py"
LIGHT_MIXED = CONFIGS / "efficientnet_lite0_fpn_streets_mixed.py"
MASKS_MIXED = CONFIGS / "mask2former_r50_generic_mixed.py"
SIZES = {"SEG_HEIGHT": "64", "SEG_WIDTH": "64", "SEG_BATCH": "2", "SEG_ITERS": "4", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set and shards with the classes of the demo."""
    root = tmp_path_factory.mktemp("data")
    metainfo = Config.fromfile(CONFIGS / "_base_" / "datasets" / "streets.py").metainfo
    space = LabelSpace(metainfo["classes"], tuple(tuple(colour) for colour in metainfo["palette"]))
    write_shards(root / "shards", space)
    return write_data_set(root / "data", space), root / "shards"


@pytest.fixture
def main() -> Callable[[list[str]], int]:
    """The command in this process, for what ends before a training starts."""
    return runpy.run_path(str(TOOL))["main"]


def run(*command: str | Path, **environment: str) -> str:
    """Run in a process of its own, as a user does; returns what it printed."""
    environment = {**os.environ, **SIZES, **environment}
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=environment, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_mixed_trains_resumes_and_tests(data, tmp_path):
    root, shards = data
    command = [TOOL, LIGHT_MIXED, "--data-root", root, "--shards", shards, "--work-dir", tmp_path, "--seed", "3"]
    halfway = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2"]
    run(*command, "--cfg-options", *halfway)
    first = torch.load(tmp_path / "iter_2.pth", weights_only=True)
    assert first["meta"]["iter"] == 2
    assert first["meta"]["seed"] == 3

    printed = run(*command, "--resume", "--test")
    assert "resumed epoch: 0, iter: 2" in printed
    assert "Advance dataloader 2 steps" in printed
    assert "Fast sampler-level resume is unavailable" not in printed
    last = torch.load(tmp_path / "iter_4.pth", weights_only=True)
    assert last["meta"]["iter"] == 4
    assert last["param_schedulers"][-1]["last_step"] > first["param_schedulers"][-1]["last_step"]
    weight = "decode_head.conv_seg.weight"
    assert not torch.equal(first["state_dict"][weight], last["state_dict"][weight])

    scores = json.loads((tmp_path / "test.json").read_text())
    assert scores["images"] == 2
    assert list(scores["IoU"]) == list(Config.fromfile(LIGHT_MIXED).metainfo["classes"])
    known = [iou for iou in scores["IoU"].values() if iou is not None]
    assert scores["mIoU"] == pytest.approx(sum(known) / len(known), abs=0.02)
    best = Path(scores["checkpoint"])
    assert best.name.startswith("best_mIoU_iter_")
    torch.load(best, weights_only=True)
    assert f"work dir: {tmp_path}" in printed and f"checkpoint: {best}" in printed and "  mIoU  " in printed


def test_real_trains_and_a_test_alone_gives_its_score_again(data, tmp_path):
    command = [TOOL, LIGHT_REAL, "--data-root", data[0], "--work-dir"]
    run(*command, tmp_path / "a", "--test", SEG_ITERS="2")
    scores = json.loads((tmp_path / "a" / "test.json").read_text())
    assert scores["split"] == "test"
    run(*command, tmp_path / "b", "--test-only", scores["checkpoint"])
    assert json.loads((tmp_path / "b" / "test.json").read_text()) == scores


def test_the_val_split_has_scores_of_its_own(data, tmp_path):
    command = [TOOL, LIGHT_REAL, "--data-root", data[0], "--work-dir", tmp_path]
    printed = run(*command, "--test", "--split", "val", SEG_ITERS="2")
    assert f"val split ({tmp_path / 'val.json'})" in printed and not (tmp_path / "test.json").exists()
    scores = json.loads((tmp_path / "val.json").read_text())
    assert (scores["split"], scores["also_test"], scores["images"]) == ("val", False, 2)
    logged = [json.loads(line) for line in next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    validated = next(line["mIoU"] for line in logged if "mIoU" in line)
    assert validated == pytest.approx(scores["mIoU"], abs=1e-5)


# Imports of the project raise; then mmseg's train.py runs as it is. Without the compiled ops that mmcv-lite lacks,
# upstream's mmseg does not even import; nothing here calls one.
STOCK = """
import importlib.metadata, importlib.machinery, runpy, sys, unittest.mock
if any(found.name == "mmcv-lite" for found in importlib.metadata.distributions()):
    spec = importlib.machinery.ModuleSpec("mmcv._ext", None)
    sys.modules["mmcv._ext"] = unittest.mock.MagicMock(__spec__=spec)
class Guard:
    def find_spec(self, name, path=None, target=None):
        assert name.split(".")[0] not in ("augment", "dpsims"), f"stock tools imported {name}"
sys.meta_path.insert(0, Guard())
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_segformer_real_runs_under_stock_tools(data, tmp_path):
    config = CONFIGS / "segformer_b0_streets_real.py"
    stock_tool = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"
    printed = run("-c", STOCK, stock_tool, config, "--work-dir", tmp_path, STREETS_ROOT=str(data[0]), SEG_ITERS="2")
    assert "Iter(val) [2/2]" in printed and "mIoU" in printed

    from augment.mmseg.checkpoint import load_checkpoint

    assert load_checkpoint(tmp_path / "iter_2.pth")["meta"]["iter"] == 2  # ours reads stock's checkpoint, as data


@pytest.mark.parametrize("way", ["--test-only", "load_from", "--resume"])
def test_hostile_checkpoint_is_refused(way, data, tmp_path, main, capsys):
    marker, file = tmp_path / "code_was_run", tmp_path / "hostile.pth"
    torch.save({"state_dict": RunsCode(marker)}, file)
    (tmp_path / "last_checkpoint").write_text(str(file))
    options = {
        "--test-only": ["--test-only", str(file)],
        "load_from": ["--cfg-options", f"load_from={file}"],
        "--resume": ["--resume"],
    }
    code = main([str(LIGHT_REAL), "--data-root", str(data[0]), "--work-dir", str(tmp_path), *options[way]])
    assert code == 2
    assert not marker.exists()
    message = capsys.readouterr().err
    assert message.startswith("error: checkpoint refused") and str(file) in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([LIGHT_REAL, "--data-root", "nowhere"], "no such folder: nowhere/train/images"),
        ([LIGHT_REAL, "--shards", "somewhere"], "has no use for it; use its `_mixed` or `_synthetic` sibling"),
        ([LIGHT_MIXED, "--data-root", "DATA", "--shards", "nowhere"], "nowhere"),
        ([LIGHT_REAL.with_name("nothing.py")], "no such config"),
        ([LIGHT_REAL, "--data-root", "DATA", "--test-only", "nothing.pth"], "nothing.pth"),
        ([LIGHT_REAL, "--cfg-options", "seed"], "--cfg-options takes KEY=VALUE"),
        (
            [MASKS_MIXED, "--data-root", "DATA", "--shards", "SHARDS", "--cfg-options", "custom_hooks.0.loss_weight=2"],
            "loss_weight=2: no head of this model has a loss_decode with pixels to weigh",
        ),
    ],
)
def test_users_errors_are_one_line_and_code_2(arguments, message, data, tmp_path, main, capsys):
    places = {"DATA": data[0], "SHARDS": data[1]}
    arguments = [str(places.get(argument, argument)) for argument in arguments]
    assert main([*arguments, "--work-dir", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]


def test_shards_that_are_not_finished_are_refused(data, tmp_path, main, capsys):
    shards = shutil.copytree(data[1], tmp_path / "shards")
    manifest = json.loads((shards / "shards.json").read_text())
    (shards / "shards.json").write_text(json.dumps(manifest | {"totals": None}))
    command = [str(LIGHT_MIXED), "--data-root", str(data[0]), "--shards", str(shards)]
    assert main([*command, "--work-dir", str(tmp_path / "work")]) == 2
    assert f"error: --shards {shards} are not finished" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("SEG_ITERS", "1"), ("SEG_BATCH", "0"), ("SEG_WIDTH", "wide")])
def test_numbers_in_the_environment_that_make_no_sense(name, value, data, tmp_path, main, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    assert main([str(LIGHT_REAL), "--data-root", str(data[0]), "--work-dir", str(tmp_path / "work")]) == 2
    assert f"error: {name} in the environment is a whole number of at least" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_a_misspelled_number_in_the_environment_and_a_part_of_a_config(data, tmp_path, main, monkeypatch, capsys):
    command = ["--data-root", str(data[0]), "--work-dir", str(tmp_path / "work")]
    part = CONFIGS / "_base_" / "datasets" / "camvid.py"
    assert main([str(part), *command]) == 2
    assert capsys.readouterr().err == f"error: {part} is no segmenter's config, or a part of one: it has no `model`\n"
    monkeypatch.setenv("SEG_PATH", "another program's")
    monkeypatch.setenv("SEG_ITER", "100")
    assert main([str(LIGHT_REAL), *command]) == 2
    assert capsys.readouterr().err == "error: SEG_ITER in the environment: did you mean SEG_ITERS?\n"


def test_a_launcher_that_did_not_launch_it(main, capsys):
    with pytest.raises(SystemExit) as end:
        main([str(LIGHT_REAL), "--launcher", "slurm"])
    assert end.value.code == 2
    assert "--launcher slurm goes with srun" in capsys.readouterr().err


def test_a_work_dir_that_cannot_be_made_and_a_folder_as_checkpoint(data, tmp_path, main, capsys):
    (tmp_path / "file").write_text("")
    command = [str(LIGHT_REAL), "--data-root", str(data[0])]
    assert main([*command, "--work-dir", str(tmp_path / "file")]) == 2
    assert main([*command, "--work-dir", str(tmp_path / "work"), "--test-only", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0].startswith("error: ") and str(tmp_path / "file") in lines[0]
    assert lines[-1].startswith("error: ") and str(tmp_path) in lines[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_amp_without_cuda_is_an_error(data, main, capsys):
    assert main([str(LIGHT_REAL), "--data-root", str(data[0]), "--amp"]) == 2
    assert "error: --amp needs a CUDA device" in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_an_error(data, tmp_path, main, capsys):
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.pth")
    other = str(tmp_path / "other.pth")
    assert main([str(LIGHT_REAL), "--data-root", str(data[0]), "--work-dir", str(tmp_path), "--test-only", other]) == 2
    assert "other.pth does not fit the config's model" in capsys.readouterr().err


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_no_process_is_left_of_a_training_that_is_ended(kill, data, tmp_path):
    """SIGTERM to it, as by tools/gain.py, or to all its processes, as by a scheduler: they end and say nothing."""
    command = [sys.executable, TOOL, LIGHT_REAL, "--data-root", data[0], "--work-dir", tmp_path / "run"]
    options = ["--cfg-options", "default_hooks.checkpoint.interval=2"]
    environment = {**os.environ, **SIZES, "SEG_ITERS": "100000"}
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        while not (tmp_path / "run" / "iter_2.pth").exists():
            assert job.poll() is None, (tmp_path / "log").read_text()[-4000:]
            time.sleep(0.05)
        kill(job.pid, signal.SIGTERM)
        assert job.wait(60) == 130
        last = "stopped; the same command with --resume goes on from the last checkpoint"
        assert (tmp_path / "log").read_text().splitlines()[-1] == last
        with pytest.raises(ProcessLookupError):
            os.killpg(job.pid, 0)
    finally:
        job.kill()


def test_stopped_before_the_start(data, tmp_path, main, capsys):
    config = tmp_path / "slow.py"
    config.write_text("raise KeyboardInterrupt\n")  # Ctrl-C while it is read
    assert main([str(config), "--data-root", str(data[0]), "--work-dir", str(tmp_path / "work")]) == 130
    assert capsys.readouterr().err == "\nstopped before the start\n"


def test_two_processes_share_one_sequence_and_go_on_in_it(data, tmp_path):
    """Each batch of either has its share; six real images come once a pass over both, through a stop and a resume."""
    root, shards = data
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", TOOL]
    config = tmp_path / "noted.py"
    config.write_text(
        f'_base_ = ["{LIGHT_MIXED}"]\n'
        f'custom_hooks = [*_base_.custom_hooks, dict(type="mmseg_run.Note", folder="{tmp_path}")]\n'
    )
    command = [*launch, config, "--data-root", root, "--shards", shards, "--work-dir", tmp_path / "run", "--resume"]
    command += ["--launcher", "pytorch", "--cfg-options", "randomness.diff_rank_seed=True"]
    path = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "SEG_BATCH": "4"}
    halfway = ["train_cfg.max_iters=2", "train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2"]
    run(*command, *halfway, **path)
    run(*command, **path)
    ranks = [[line.split() for line in (tmp_path / f"rank{rank}").read_text().splitlines()] for rank in (0, 1)]
    assert [len(batches) for batches in ranks] == [4, 4]
    assert all(sum("tar#" in name for name in batch) == 2 for batches in ranks for batch in batches)
    drawn = [name for pair in zip(*ranks, strict=True) for batch in pair for name in batch]
    real = [name for name in drawn if "tar#" not in name]  # 2 in a batch, 4 in an iteration, 16 in all
    assert [len(set(real[first : first + 6])) for first in (0, 6)] == [6, 6]


@pytest.mark.slow
def test_two_processes_train_on_a_cpu(data, tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root, shards = data
    run(*launch, TOOL, LIGHT_MIXED, "--data-root", root, "--shards", shards, "--work-dir", tmp_path, "--test",
        "--launcher", "pytorch", SEG_ITERS="2")  # fmt: skip
    assert json.loads((tmp_path / "test.json").read_text())["images"] == 2

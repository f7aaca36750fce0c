import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_gan import TINY
from torch import nn

from dpsims import distributed

TESTS = Path(__file__).parent
TOOL = TESTS.parent / "tools" / "train_gan.py"
EVERYTHING = [
    "run.batch_size=4",
    "discriminator.backbone.name=convnext_atto",  # smooth: at kinks rounding noise would become visible
    "discriminator.backbone.pretrained=false",
    "discriminator.augment=[color,translation,cutout]",
    "loss.labelmix.weight=1",
    "loss.r1.weight=100",
    "loss.r1.every=2",
    "generator.gate_init=0.2",
    "generator.instances=true",
]


def torchrun(ranks: int) -> list[object]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks]


def run(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=TESTS)


def test_synchronized_batch_norm_is_batch_norm(monkeypatch):
    """On one rank; two of them are in the next test."""
    torch.manual_seed(0)
    x, gradient = torch.randn(4, 3, 5, 6) * 2 + 1, torch.randn(4, 3, 5, 6)
    plain, synchronized = nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))
    with monkeypatch.context() as patch:
        patch.setattr(distributed.dist, "is_initialized", lambda: True)
        distributed.synchronize_batch_norm(synchronized, native=False)
    assert type(synchronized[0]) is distributed.JointBatchNorm
    results = []
    for norm in (plain, synchronized[0]):
        norm.weight.data, norm.bias.data = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([0.1, 0.2, 0.3])
        leaf = x.clone().requires_grad_()
        norm(leaf).backward(gradient)
        results.append([leaf.grad, norm.weight.grad, norm(x), norm.running_mean, norm.running_var, norm.eval()(x)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a)


def test_the_penalty_on_a_gradient_through_synchronized_norms(tmp_path):
    """Two derivatives of a norm over the joint batch: on two ranks what they are on one."""
    script = TESTS / "joint_penalty.py"
    for ranks in (1, 2):
        done = run(*torchrun(ranks), script, tmp_path / f"{ranks}.pt")
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / f"{ranks}.pt", weights_only=True) for ranks in (1, 2))
    torch.testing.assert_close(two, one)


def test_two_ranks_equal_one_process_on_the_joint_batch(tiny_root, tmp_path):
    """All losses on, to what single precision gives through three steps of ill-conditioned little nets."""
    for ranks in (1, 2):
        done = run(*torchrun(ranks), TESTS / "joint_steps.py", tiny_root, tmp_path / str(ranks), *EVERYTHING)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / name / "joint.pt", weights_only=True) for name in ("1", "2"))
    assert two["tau"] == pytest.approx(one["tau"], rel=1e-5)
    for a, b in zip(one["logs"], two["logs"], strict=True):
        assert b == pytest.approx(a, rel=1e-3)
    assert "Loss/D/r1" in one["logs"][0] and "Loss/D/labelmix" in one["logs"][0]
    for net, moved in one["moved"].items():
        for kind in ("weight", "bias", "original", "running_mean", "running_var", "_u"):
            trained = [key for key in moved if key.endswith(kind) and not key.startswith("backbone.")]
            here = [(moved[key], two["moved"][net][key]) for key in trained]
            if here:
                a, b = (torch.cat([pair[i].double().flatten() for pair in here]) for i in (0, 1))
                assert a.norm() > 0 and (a - b).norm() < 0.01 * a.norm(), f"{net} {kind}"


def test_torchrun_trains_and_one_process_goes_on(tiny_root, tmp_path):
    """From the same command and folder; the first rank alone writes. With micro-batches, recomputing and validation."""
    out = tmp_path / "run"
    everything = ["run.micro_batch=1", "run.activation_checkpointing=true", "validation.every_kimg=0.008"]
    options = [TOOL, f"data.root={tiny_root}", f"out={out}", *TINY, "run.log_kimg=0.004", *everything]
    two = run(*torchrun(2), *options, "run.total_kimg=0.008")
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("done: ") == 1 and "device cpu and 1 more" in two.stdout
    one = run(sys.executable, *options, "run.total_kimg=0.012")
    assert one.returncode == 0 and "goes on at 0.008" in one.stdout, one.stderr
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["images_seen"] for row in rows if "Loss/D/real" in row] == [4, 8, 12]
    assert [row["images_seen"] for row in rows if "FID/tf_efficientnet_lite0" in row] == [8, 12]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_torchrun_is_stopped_politely(number, tiny_root, tmp_path):
    """The signal reaches ranks and their data workers, maybe twice; the first rank still saves."""
    out = tmp_path / "run"
    options = [
        TOOL,
        f"data.root={tiny_root}",
        f"out={out}",
        *TINY,
        "run.log_kimg=0.002",
        "run.total_kimg=1000",
        "data.workers=2",
    ]
    command = [str(part) for part in [*torchrun(2), *options, "loss.diversity.tau=1"]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (out / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    process.wait(timeout=60)
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    rows = [json.loads(line)["images_seen"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert state["images_seen"] == rows[-1] > 0


def test_a_batch_that_does_not_divide_is_an_error(tiny_root, tmp_path):
    failed = run(*torchrun(2), TOOL, f"data.root={tiny_root}", f"out={tmp_path}/run", *TINY, "run.batch_size=3")
    assert failed.returncode != 0
    assert "run.batch_size=3 is the images of all 2 processes together" in failed.stderr

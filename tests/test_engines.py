"""Whoever makes the shards, and whoever is killed at it: the same bytes, and nothing half-written."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from augment.engines import worker_devices
from augment.factory import Settings
from augment.plan import Plan
from augment.sources import find_label_maps
from augment.synthesize import synthesize
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette, encode_label_png
from dpsims.sample import Snapshot, save_generator

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "synthesize.py"
SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))
TINY = {"num_classes": 3, "height": 32, "width": 64, "channel_base": 2, "cond_channels": 8, "spade_hidden": 8}
TINY |= {"w_dim": 16, "attention_size": 16, "gate_init": 1.0}
MAPS = 12
OPTIONS = ["--samples", "3", "--shard-size", "7", "--perturb", "light", "--variants", "2", "--device", "cpu"]
OPTIONS += ["--threads", "1", "--precision", "fp32"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A generator, and label maps of which one is bad."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("place")
    (place / "generator").mkdir()
    save_generator(place / "generator", Generator(**TINY), TINY, SPACE, {"images_seen": 1000})
    (place / "labels").mkdir()
    for i in range(MAPS):
        label_map = np.random.default_rng(i).integers(0, 3, (4, 8), np.uint8).repeat(8, 0).repeat(8, 1)
        (place / "labels" / f"map_{i:02d}.png").write_bytes(encode_label_png(label_map))
    (place / "labels" / "map_05.png").write_bytes(b"no image")
    return place


def command(place: Path, out: Path, *options: str, launcher: tuple[str, ...] = ()) -> list[str]:
    given = {"--generator": place / "generator", "--labels": place / "labels", "--out": out}
    return [sys.executable, *launcher, str(TOOL), *map(str, chain(*given.items())), *OPTIONS, *options]


def run(command: list[str]) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(place) -> dict[str, bytes]:
    run(command(place, place / "whole"))
    return tree(place / "whole")


def test_several_processes_write_the_same_bytes(place, whole, tmp_path):
    assert len([name for name in whole if name.endswith(".tar")]) == MAPS // 2
    printed = run(command(place, tmp_path / "out", "--workers", "4"))
    assert f"made: {3 * (MAPS - 1)} images" in printed and "failed, bad_label: 3" in printed
    assert tree(tmp_path / "out") == whole


def test_torchruns_ranks_write_the_same_bytes(place, whole, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    printed = run(command(place, tmp_path / "out", launcher=launcher))
    assert printed.count("plan: ") == 1 and tree(tmp_path / "out") == whole


def test_parts_write_the_same_bytes(place, whole, tmp_path):
    printed = run(command(place, tmp_path / "out", "--part", "1/2"))
    assert "made: part 1 of 2; the last part to end adds up all of them" in printed
    run(command(place, tmp_path / "out", "--part", "0/2"))
    assert tree(tmp_path / "out") == whole


def test_ray_writes_the_same_bytes_though_an_actor_is_killed(place, whole, tmp_path):
    out = tmp_path / "out"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(place, out, "--ray", "--workers", "2"), cwd=ROOT, text=True, stdout=subprocess.PIPE, env=environment
    )
    killed = kill_an_actor(process)
    assert process.wait() == 0 and killed
    assert tree(out) == whole


def kill_an_actor(process: subprocess.Popen) -> bool:
    """The first actor that comes up; Ray calls its process after it."""
    while process.poll() is None:
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if entry.read_bytes().startswith(b"ray::ShardMaker"):
                    os.kill(int(entry.parent.name), signal.SIGKILL)
                    return True
            except OSError:  # it has gone
                continue
        time.sleep(0.05)
    return False


def test_a_worker_that_fails_is_told(place, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "00000.tar").mkdir()  # where a file should be
    (tmp_path / "out" / "shards.json").write_text("{}")
    failed = subprocess.run(
        command(place, tmp_path / "out", "--workers", "2"), cwd=ROOT, capture_output=True, text=True
    )
    assert failed.returncode == 2 and "holds shards of another plan" in failed.stderr


# Kills ---------------------------------------------------------------------------------------------------------------


class SlowGenerator(nn.Module):
    """An image is a function of its label map and its z, and takes a moment."""

    def encode(self, label_map: torch.Tensor) -> torch.Tensor:
        return label_map.float()

    def decode(self, conditioning: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        time.sleep(0.002)
        maps = conditioning.repeat_interleave(len(z) // len(conditioning), dim=0)
        return torch.sin(maps[:, None] + z[:, :3, None, None])


def make_slowly(labels: Path, out: Path) -> None:
    snapshot = Snapshot(SlowGenerator(), SPACE, 32, 64, 4, False, "f" * 64, 9)
    sources = [source for source in find_label_maps(labels) if source.source_key != "map_05"]
    plan = Plan(sources, [40] * len(sources), shard_size=40, seed=0)
    synthesize(snapshot, plan, out, Settings(), device="cpu", batch_size=4, threads=2)


def check_names(out: Path) -> None:
    """What has its final name is whole."""
    for tar in out.glob("*.tar"):
        with tarfile.open(tar) as archive:
            assert len(archive.getmembers()) == 3 * 40
    for jsonl in out.glob("*.jsonl"):
        assert jsonl.read_text().count("\n") == 40


def test_thirty_kills_lose_nothing(place, tmp_path):
    make_slowly(place / "labels", tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "augment.synthesize"])
    rng, kills = random.Random(0), 0
    while kills < 30:
        process = context.Process(target=make_slowly, args=(place / "labels", tmp_path / "out"))
        process.start()
        process.join(rng.uniform(0, 0.5))
        if process.exitcode == 0:  # finished: from the start again
            assert tree(tmp_path / "out") == tree(tmp_path / "whole")
            (tmp_path / "out").rename(tmp_path / f"out_{kills}")
            continue
        process.kill()
        process.join()
        kills += 1
        check_names(tmp_path / "out")
    make_slowly(place / "labels", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_devices_of_workers(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert worker_devices(torch.device("cpu"), 2) == ["cpu", "cpu"]
    assert worker_devices(torch.device("cuda", 0), 3) == ["cuda:0", "cuda:1", "cuda:0"]

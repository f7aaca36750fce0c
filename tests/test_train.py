import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_gan import TINY, tiny_config

from dpsims.run_folder import RunFolder
from dpsims.sample import load_generator
from dpsims.train import train
from dpsims.trainer import Trainer
from dpsims.validate import Validation, read_best

TOOL = Path(__file__).parents[1] / "tools" / "train_gan.py"


def equal(a, b) -> bool:
    """Bit for bit, through nested dicts and lists."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def rows(folder: Path) -> list[dict]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "images_per_second"} for row in found]


INTERVALS = ["run.log_kimg=0.004", "run.sample_kimg=0.02", "run.checkpoint_kimg=0.02"]


@pytest.fixture(scope="module")
def straight(tiny_root, tmp_path_factory) -> Path:
    """20 steps in one go."""
    return train(tiny_config(tiny_root, tmp_path_factory.mktemp("straight") / "run", *INTERVALS, "run.total_kimg=0.04"))


def test_run_folder(straight):
    assert yaml.safe_load((straight / "config.yaml").read_text())["run"]["batch_size"] == 2
    assert [row["images_seen"] for row in rows(straight)] == list(range(4, 41, 4))
    assert {"Loss/D/real", "Loss/D/fake", "Loss/G/adversarial", "Loss/G/contrastive", "Loss/G/diversity"} < set(
        rows(straight)[0]
    )
    assert any((straight / "tensorboard").iterdir())
    assert sorted(file.name for file in (straight / "samples").iterdir()) == [
        "000000000.png", "000000020.png", "000000040.png"
    ]  # fmt: skip
    assert Image.open(straight / "samples" / "000000040.png").size == (4 * 64 + 3 * 2, 2 * 32 + 2)
    assert load_generator(straight).images_seen == 40
    training = json.loads((straight / "generator.json").read_text())["training"]
    assert {key: training[key] for key in ("data", "train_images", "seed", "backbone", "images_seen")} == {
        "data": "generic",
        "train_images": 10,
        "seed": 0,
        "backbone": "tf_efficientnet_lite0",
        "images_seen": 40,
    }
    assert training["tau_diversity"] == checkpoint(straight)["tau_diversity"]
    assert not list(straight.glob("*.tmp"))


def test_weights_move_and_the_average_follows(straight, tiny_root, tmp_path):
    fresh = Trainer(tiny_config(tiny_root, tmp_path / "run")).state_dict()
    trained = checkpoint(straight)
    for net in ("G", "D", "contrast", "ema"):
        weights = [key for key in trained[net] if key.endswith(".original")]
        assert weights and not any(torch.equal(trained[net][key], fresh[net][key]) for key in weights), net


def test_20_steps_equal_10_a_kill_and_10_more(straight, tiny_root, tmp_path):
    """The process is killed with SIGKILL somewhere after its checkpoint at step 10, and started again."""
    out = tmp_path / "run"
    command = [sys.executable, TOOL, f"data.root={tiny_root}", f"out={out}", *TINY, *INTERVALS]
    process = subprocess.Popen([*command, "run.total_kimg=1000"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint(out)["images_seen"] == 20, "the kill came after the second checkpoint"
    subprocess.run([*command, "run.total_kimg=0.04"], check=True, stdout=subprocess.DEVNULL)
    assert equal(checkpoint(out), checkpoint(straight))
    assert rows(out) == rows(straight)
    assert (out / "generator.safetensors").read_bytes() == (straight / "generator.safetensors").read_bytes()


def test_interrupt_saves_and_the_same_command_goes_on(straight, tiny_root, tmp_path, monkeypatch):
    config = tiny_config(tiny_root, tmp_path / "run", *INTERVALS, "run.total_kimg=0.04")
    original = Trainer.train_batch

    def interrupted(self, batch):
        if self.images_seen == 12:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_batch", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped at 14 images"):
            train(config)
    assert checkpoint(tmp_path / "run")["images_seen"] == 14
    train(config)
    assert equal(checkpoint(tmp_path / "run"), checkpoint(straight))


def test_data_workers_do_not_show(straight, tiny_root, tmp_path):
    train(tiny_config(tiny_root, tmp_path / "run", *INTERVALS, "run.total_kimg=0.04", "data.workers=2"))
    assert equal(checkpoint(tmp_path / "run"), checkpoint(straight))


def test_other_options_into_the_same_folder_are_refused(straight, tiny_root):
    with pytest.raises(ValueError, match=r"other options \(optim.lr_G: 0.001 → 0.002\); choose another out=DIR"):
        train(tiny_config(tiny_root, straight, *INTERVALS, "run.total_kimg=0.04", "optim.lr_G=0.002"))


def test_a_finished_run_is_not_trained_again(straight, tiny_root):
    before = (straight / "checkpoint.pt").stat().st_mtime_ns
    train(tiny_config(tiny_root, straight, *INTERVALS, "run.total_kimg=0.04"))
    assert (straight / "checkpoint.pt").stat().st_mtime_ns == before


def test_a_nan_stops_with_step_and_term_and_touches_nothing(tiny_root, tmp_path):
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run"))
    batches = trainer.batches(0)
    trainer.train_batch(next(batches))
    before = {key: value.clone() for key, value in trainer.step.D.state_dict().items() if "original" in key}
    batch = next(batches)
    batch.real[0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"step 1 \(2 images seen\): Loss/D/real is nan"):
        trainer.train_batch(batch)
    assert equal(before, {key: trainer.step.D.state_dict()[key] for key in before})


def test_each_phase_moves_its_own_net(tiny_root, tmp_path):
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run"))
    step, batch = trainer.step, next(trainer.batches(0))
    step.tau_diversity = 1.0
    step.discriminator_loss(batch, trainer.random())[0].backward(inputs=trainer.params["D"])
    assert all(p.grad is not None for p in trainer.params["D"]) and all(p.grad is None for p in trainer.params["G"])
    grads = [p.grad.clone() for p in trainer.params["D"]]
    step.generator_loss(batch, trainer.random())[0].backward(inputs=trainer.params["G"])
    assert all(p.grad is not None for p in trainer.params["G"])
    assert all(torch.equal(p.grad, grad) for p, grad in zip(trainer.params["D"], grads, strict=True))


def test_terms_of_weight_0_are_not_computed(tiny_root, tmp_path):
    off = ["loss.contrastive.weight=0", "loss.diversity.weight=0"]
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", *off))
    assert trainer.step.contrast is None
    _, terms = trainer.step.generator_loss(next(trainer.batches(0)), trainer.random())
    assert set(terms) == {"Loss/G/adversarial"}


def test_tau_is_calibrated_once_and_kept(straight):
    assert checkpoint(straight)["tau_diversity"] > 0


def test_instances_and_image_space_diversity_train(tiny_root, tmp_path):
    options = ["generator.instances=true", "loss.diversity.space=image", "loss.diversity.stop_gradient=false"]
    folder = train(tiny_config(tiny_root, tmp_path / "run", *options, "run.total_kimg=0.004"))
    assert load_generator(folder).instances


def test_bf16_trains(tiny_root, tmp_path):
    options = ["run.precision=bf16", "run.activation_checkpointing=true", "loss.r1.weight=1", "loss.labelmix.weight=1"]
    folder = train(tiny_config(tiny_root, tmp_path / "run", *options, "run.total_kimg=0.004"))
    assert load_generator(folder).images_seen == 4


def run_tool(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True)


def test_user_errors_are_one_line(tmp_path):
    missing = run_tool()
    assert missing.returncode == 2 and missing.stderr.strip() == "error: data.root has no value; give it as data.root=…"
    nowhere = run_tool(f"data.root={tmp_path}/nowhere", f"out={tmp_path}/run")
    assert nowhere.returncode == 2 and nowhere.stderr.startswith("error: data.root: no such folder")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tiny_root, tmp_path):
    (tmp_path / "file").write_text("")
    options = [f"data.root={tiny_root}", f"out={tmp_path}/file/run", "experiment=demo", "loss.diversity.tau=1"]
    failed = run_tool(*options, "data.height=32", "data.width=64")
    assert failed.returncode == 2 and failed.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in failed.stderr and f"{tmp_path}/file/run" in failed.stderr


VALIDATED = [*INTERVALS, "validation.every_kimg=0.004", "run.total_kimg=0.012"]


@pytest.fixture(scope="module")
def validated(tiny_root, tmp_path_factory) -> Path:
    return train(tiny_config(tiny_root, tmp_path_factory.mktemp("validated") / "run", *VALIDATED))


def test_validation_keeps_the_best_snapshot(validated):
    found = [row for row in rows(validated) if "FID/tf_efficientnet_lite0" in row]
    assert [row["images_seen"] for row in found] == [4, 8, 12]
    assert {"KID/tf_efficientnet_lite0"} < set(found[0])
    key = "FID/tf_efficientnet_lite0"
    best = min(found, key=lambda row: row[key])
    assert read_best(validated / "best", key) == {
        "figure": key,
        "value": best[key],
        "images_seen": best["images_seen"],
    }
    assert read_best(validated / "best", "KID/tf_efficientnet_lite0") is None
    assert load_generator(validated / "best").images_seen == best["images_seen"]


def test_what_cannot_be_validated_is_told_before_training(tiny_root, tmp_path):
    for options in (["validation.max_maps=1"], ["data.height=64"]):
        config = tiny_config(tiny_root, tmp_path / "run", *VALIDATED, *options)
        if options == ["data.height=64"]:
            root = shutil.copytree(tiny_root, tmp_path / "torn")
            (root / "val" / "images" / "01.jpg").write_bytes(b"no image")
            config = tiny_config(root, tmp_path / "run", *VALIDATED, *options)
        with pytest.raises(ValueError, match=r"at least 2 images, not 1|val/images/01.jpg"):
            train(config)
        assert not (tmp_path / "run" / "log.jsonl").exists()
        shutil.rmtree(tmp_path / "run")


def test_how_often_one_looks_does_not_show_in_the_weights(straight, tiny_root, tmp_path):
    seldom = ["run.log_kimg=1", "run.sample_kimg=1", "run.checkpoint_kimg=1", "validation.every_kimg=0.03"]
    train(tiny_config(tiny_root, tmp_path / "run", *seldom, "run.total_kimg=0.04"))
    one, other = checkpoint(straight), checkpoint(tmp_path / "run")
    assert all(equal(one[key], other[key]) for key in ("G", "D", "contrast", "ema", "optimizers", "rng"))


def test_early_stop(tiny_root, tmp_path, monkeypatch):
    """It does not get better from here on, and two validations later training is over, for good."""
    figures = iter([5.0, 4.0, 4.5, 6.0, 1.0])
    monkeypatch.setattr(Validation, "figures", lambda self, G: {self.key: next(figures)})
    options = [*INTERVALS, "validation.every_kimg=0.002", "validation.patience_kimg=0.004", "run.total_kimg=0.02"]
    config = tiny_config(tiny_root, tmp_path / "run", *options)
    train(config)
    assert checkpoint(tmp_path / "run")["images_seen"] == 8
    assert load_generator(tmp_path / "run" / "best").images_seen == 4
    train(config)
    assert checkpoint(tmp_path / "run")["images_seen"] == 8 and next(figures) == 1.0


def test_checkpoints_and_snapshots_are_kept_for_good(tiny_root, tmp_path):
    options = ["run.keep_kimg=0.004", "run.total_kimg=0.01", "loss.diversity.tau=1"]
    folder = train(tiny_config(tiny_root, tmp_path / "run", *options))
    assert sorted(kept.name for kept in (folder / "kept").iterdir()) == ["000000004", "000000008"]
    assert load_generator(folder / "kept" / "000000004").images_seen == 4
    state = torch.load(folder / "kept" / "000000004" / "checkpoint.pt", weights_only=True)
    assert state["images_seen"] == 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_at_random_moments_lose_nothing(tiny_root, tmp_path):
    """SIGKILL anywhere, also while it starts and while it writes; in the end all is as in a run without."""
    out, moments = tmp_path / "run", random.Random(0)
    options = ["run.log_kimg=0.01", "run.sample_kimg=0.04", "run.checkpoint_kimg=0.002", "run.total_kimg=0.16"]
    straight = train(tiny_config(tiny_root, tmp_path / "straight", *options))
    command = [sys.executable, TOOL, f"data.root={tiny_root}", f"out={out}", *TINY, *options]
    seen = 0
    for kill in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        file = out / "checkpoint.pt"
        before, deadline = file.stat().st_mtime_ns if file.exists() else 0, time.monotonic() + 120
        patient = kill % 5 > 0  # until it has trained; one of five lives ends at any moment of its start
        while patient and time.monotonic() < deadline:
            if file.exists() and file.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5 if patient else 8))
        assert process.poll() is None, "it was still training"
        process.kill()
        process.wait()
        state = RunFolder(tiny_config(tiny_root, out, *options)).load_checkpoint()
        assert state is None or state["images_seen"] >= seen, "what was trained is not lost"
        seen = 0 if state is None else state["images_seen"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    one, other = checkpoint(straight), checkpoint(out)
    assert all(equal(one[key], other[key]) for key in one)
    assert rows(out)[-1] == rows(straight)[-1]
    assert (out / "generator.safetensors").read_bytes() == (straight / "generator.safetensors").read_bytes()


def test_a_run_is_mirrored_to_wandb_as_one_run(tiny_root, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = ["run.wandb=tests", "loss.diversity.tau=1", "run.log_kimg=0.002"]
    for kimg in ("0.002", "0.004"):
        folder = train(tiny_config(tiny_root, tmp_path / "run", *options, f"run.total_kimg={kimg}"))
    run_id = (folder / "wandb_id.txt").read_text()
    files = sorted((folder / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
    assert len(files) == 2
    assert b"Loss/G/adversarial" in files[0].read_bytes() and b"Diversity/z" in files[1].read_bytes()


def test_wandb_without_an_account_is_told_before_anything_is_done(tiny_root, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match=r"run.wandb=tests: no account is known here; run `wandb login`"):
        train(tiny_config(tiny_root, tmp_path / "run", "run.wandb=tests"))
    assert not (tmp_path / "run").exists()


def test_a_broken_image_is_told_by_its_file_and_nothing_is_lost(tiny_root, tmp_path):
    root = shutil.copytree(tiny_root, tmp_path / "data")
    options = ["loss.diversity.tau=1", "run.total_kimg=0.1", "data.workers=1"]
    (root / "train" / "images" / "05.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"^image cannot be read .*05.jpg$"):
        train(tiny_config(root, tmp_path / "run", *options))
    seen = checkpoint(tmp_path / "run")["images_seen"]
    shutil.copyfile(tiny_root / "train" / "images" / "05.jpg", root / "train" / "images" / "05.jpg")
    train(tiny_config(root, tmp_path / "run", *options[:1], f"run.total_kimg={(seen + 2) / 1000}"))
    assert checkpoint(tmp_path / "run")["images_seen"] == seen + 2


def test_two_processes_do_not_share_a_folder(tiny_root, tmp_path):
    """When one is gone, the folder is free at once, though its data workers may live on for seconds."""
    config = tiny_config(tiny_root, tmp_path / "run", "loss.diversity.tau=1", "run.total_kimg=0.002")
    options = [f"data.root={tiny_root}", f"out={tmp_path}/run", *TINY, "loss.diversity.tau=1", "data.workers=1"]
    other = subprocess.Popen([sys.executable, TOOL, *options, "run.total_kimg=1000", "run.log_kimg=0.002"])
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with pytest.raises(ValueError, match="another process is training here"):
        train(config)
    other.kill()
    other.wait()
    train(config)


def test_tensorboard_shows_every_row_after_a_resume(tiny_root, tmp_path):
    options = ["loss.diversity.tau=1", "run.log_kimg=0.002"]
    for kimg in ("0.004", "0.008", "0.008"):
        folder = train(tiny_config(tiny_root, tmp_path / "run", *options, f"run.total_kimg={kimg}"))
    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("Loss/D/real")] == [2, 4, 6, 8]

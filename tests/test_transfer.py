import json
import shutil

import pytest
import torch
from tiny_gan import tiny_config

from dpsims.sample import load_generator
from dpsims.train import train
from dpsims.trainer import Trainer

SHORT = ["run.total_kimg=0.004", "loss.diversity.tau=1"]


@pytest.fixture(scope="module")
def source(tiny_root, tmp_path_factory):
    return train(tiny_config(tiny_root, tmp_path_factory.mktemp("source") / "run", *SHORT))


@pytest.fixture
def other_root(tiny_root, tmp_path):
    """The same images under a label space of four classes, one of them with a namesake elsewhere in the list."""
    root = shutil.copytree(tiny_root, tmp_path / "other")
    (root / "meta.json").write_text(json.dumps({"classes": ["car", "grass", "water", "snow"]}))
    return root


def test_all_but_the_class_layers_comes_over(source, other_root, tmp_path):
    trainer = Trainer(tiny_config(other_root, tmp_path / "run", *SHORT, f"init_from={source}"))
    old = torch.load(source / "checkpoint.pt", weights_only=True)["ema"]
    new, average = trainer.step.G.state_dict(), trainer.ema.net.state_dict()
    inputs = ["start.parametrizations.weight.original", "levels.0.0.parametrizations.weight.original"]
    for key, value in new.items():
        assert torch.equal(average[key], value)
        if key in inputs:
            assert value.shape[1] == 4
            assert torch.equal(value[:, 0], old[key][:, 2]), "car's inputs follow its name"
        elif not key.endswith(("._u", "._v")):
            assert torch.equal(value, old[key]), key
    assert "1 of 4 classes (car)" in trainer.account and "2 layers" in trainer.account


def test_the_start_paints_as_its_source_does(source, tiny_root, tmp_path):
    """On the same label space nothing is new but spectral norm's estimate of the class layers."""
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", *SHORT, "seed=5", f"init_from={source}"))
    G, snapshot = trainer.ema.net, load_generator(source)
    label_map, z = next(trainer.batches(0)).label_map, torch.randn(2, 64)
    with torch.no_grad():
        torch.testing.assert_close(G(label_map, z), snapshot.generator(label_map, z), rtol=0.05, atol=0.05)


def test_it_trains_on_and_the_start_is_told_once(source, other_root, tmp_path, capsys):
    options = ["init_from=" + str(source), "loss.diversity.tau=1"]
    train(tiny_config(other_root, tmp_path / "run", *options, "run.total_kimg=0.002"))
    assert "taken over" in capsys.readouterr().out
    train(tiny_config(other_root, tmp_path / "run", *options, "run.total_kimg=0.004"))
    out = capsys.readouterr().out
    assert "goes on at 0.002" in out and "taken over" not in out


@pytest.mark.parametrize("option", ["spade_hidden=16", "channel_base=4", "cond_channels=16", "z_dim=8"])
def test_another_size_is_told_and_not_forced(option, source, tiny_root, tmp_path):
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", *SHORT, f"generator.{option}", f"init_from={source}"))
    assert "fresh: " in trainer.account and "fresh: nothing" not in trainer.account


def test_no_snapshot_there(tiny_root, tmp_path):
    with pytest.raises(ValueError, match="no snapshot here"):
        Trainer(tiny_config(tiny_root, tmp_path / "run", f"init_from={tmp_path}"))
    assert not (tmp_path / "run").exists()

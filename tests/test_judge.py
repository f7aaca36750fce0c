"""The discriminator as a judge: its numbers by hand, and what it is loaded from."""

import json
from pathlib import Path

import pytest
import torch
from tiny_gan import tiny_config

from dpsims.judge import load_judge
from dpsims.train import train


@pytest.fixture(scope="module")
def run(tiny_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gan")
    return train(tiny_config(tiny_root, out, "run.total_kimg=0.004", "loss.diversity.tau=1"))


def test_losses_are_of_the_class_given_that_the_image_is_real(run):
    judge = load_judge(run)
    images = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    label_maps = torch.randint(0, 3, (2, 32, 64), dtype=torch.uint8)
    label_maps[:, 0] = 255
    losses, fake = judge.look(images, label_maps)
    p = judge.net(images.float() / 127.5 - 1).softmax(dim=1)  # fake first
    given_real = p[:, 1:] / (1 - p[:, :1])
    expected = -given_real.gather(1, label_maps.clamp(max=2).long()[:, None])[:, 0].log()
    torch.testing.assert_close(losses[:, 1:], expected[:, 1:])
    assert (losses[:, 0] == 0).all()
    torch.testing.assert_close(fake, p[:, 0])


def test_it_is_the_trained_one_and_frozen(run):
    judge = load_judge(run)
    stored = torch.load(run / "checkpoint.pt", weights_only=True)["D"]
    loaded = judge.net.state_dict()
    assert stored.keys() == loaded.keys() and all(torch.equal(stored[key], loaded[key]) for key in stored)
    assert not judge.net.training and not any(parameter.requires_grad for parameter in judge.net.parameters())
    assert (judge.height, judge.width, judge.images_seen) == (32, 64, 4)
    assert judge.space.classes == tuple(json.loads((run / "generator.json").read_text())["label_space"]["classes"])


def test_an_image_is_judged_the_same_in_any_batch(run):
    judge = load_judge(run)
    images = torch.randint(0, 256, (3, 3, 32, 64), dtype=torch.uint8)
    label_maps = torch.zeros((3, 32, 64), dtype=torch.uint8)
    together, _ = judge.look(images, label_maps)
    alone = torch.cat([judge.look(images[i : i + 1], label_maps[i : i + 1])[0] for i in range(3)])
    torch.testing.assert_close(alone, together)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not the run folder of a GAN: config\.yaml is missing"):
        load_judge(tmp_path)

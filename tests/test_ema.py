import pytest
import torch
from torch import nn

from dpsims.ema import EMA
from dpsims.layers import conv


def test_ema_against_a_hand_made_lerp():
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = EMA(model, halflife_kimg=0.1, rampup=0.0)
    nn.init.constant_(model.weight, 1.0)
    ema.update(model, images_seen=0, batch_size=100)  # one half-life
    assert ema.net.weight.flatten().tolist() == pytest.approx([0.5, 0.5])
    ema.update(model, images_seen=0, batch_size=200)  # two more
    assert ema.net.weight.flatten().tolist() == pytest.approx([0.875, 0.875])


def test_rampup_shortens_the_memory_at_the_start():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = EMA(model, halflife_kimg=1000.0, rampup=0.05)
    nn.init.constant_(model.weight, 1.0)
    ema.update(model, images_seen=2000, batch_size=100)  # half-life: 5 % of 2000 images
    assert ema.net.weight.item() == pytest.approx(0.5)


def test_statistics_are_averaged_and_the_rest_is_copied():
    torch.manual_seed(0)
    model = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4))
    ema = EMA(model, halflife_kimg=0.1, rampup=0.0)
    before = {key: value.clone() for key, value in ema.net.state_dict().items()}
    model(torch.randn(8, 3, 5, 5))
    ema.update(model, images_seen=0, batch_size=100)
    now, source = ema.net.state_dict(), model.state_dict()
    torch.testing.assert_close(now["1.running_mean"], (before["1.running_mean"] + source["1.running_mean"]) / 2)
    torch.testing.assert_close(now["1.running_var"], (before["1.running_var"] + source["1.running_var"]) / 2)
    assert now["1.num_batches_tracked"] == 1
    vectors = [key for key in now if key.endswith(("._u", "._v"))]
    assert vectors and all(torch.equal(now[key], source[key]) for key in vectors)
    assert not ema.net.training and not any(p.requires_grad for p in ema.net.parameters())

import dataclasses
import itertools
import time
from itertools import islice
from pathlib import Path
from unittest import mock

import pytest
import torch
from tiny_gan import tiny_config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.utils.flop_counter import FlopCounterMode

from dpsims import estimate
from dpsims.audit_text import describe_work
from dpsims.config import TrainConfig
from dpsims.estimate import Ledger, Rates, Work, count_work, images_that_fit, measure_rates, one_at_a_time
from dpsims.labels import LabelSpace, default_palette
from dpsims.pretrained import create_features
from dpsims.trainer import Trainer

OPTIONS = ["loss.diversity.tau=1.0", "run.device=cpu", "run.precision=fp32"]


@pytest.fixture(scope="module")
def trainer(tiny_root, tmp_path_factory) -> Trainer:
    return Trainer(tiny_config(tiny_root, tmp_path_factory.mktemp("estimate") / "run", *OPTIONS))


@pytest.fixture(scope="module")
def work(trainer) -> Work:
    return count_work(trainer.config, trainer.space)


def test_the_work_is_that_of_a_real_step(trainer, work):
    with FlopCounterMode(display=False) as counter:
        trainer.train_batch(next(trainer.batches(0)))
    assert work.flops == counter.get_total_flops()
    nets = {"G": trainer.step.G, "D": trainer.step.D, "contrast": trainer.step.contrast}
    for wanted, counted in ((True, work.trainable), (False, work.frozen)):
        assert counted == {
            name: sum(p.numel() for p in net.parameters() if p.requires_grad == wanted) for name, net in nets.items()
        }
    tensors = [tensor for net in nets.values() for tensor in (*net.parameters(), *net.buffers())]
    tensors += trainer.step.G.state_dict().values()
    held = sum(tensor.nbytes for tensor in tensors) + 2 * 4 * sum(work.trainable.values())
    assert work.held_bytes == held


# What moves the peak -------------------------------------------------------------------------------------------------

WIDE = [  # activations prevail; no loss that is not asked for
    *OPTIONS,
    "run.batch_size=8",
    "generator.channel_base=8",
    "generator.cond_channels=32",
    "generator.spade_hidden=32",
    "discriminator.full_channels=32",
    "discriminator.penultimate_channels=32",
    "discriminator.backbone.name=test_resnet",
    "discriminator.backbone.pretrained=false",
    "loss.contrastive.weight=0",
    "loss.diversity.weight=0",
]
SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))


def count_wide(*changes: str) -> Work:
    """Without the power iterations of spectral norm: they hold next to nothing, and to pretend them takes seconds."""
    with mock.patch.object(_SpectralNorm, "_power_method"):
        return count_work(tiny_config(Path("unused"), Path("unused"), *WIDE, *changes), SPACE)


@pytest.fixture(scope="module")
def wide() -> Work:
    return count_wide()


def test_memory_grows_with_the_batch(wide):
    """Gradients do not, activations do."""
    double = count_wide("run.batch_size=16")
    assert double.held_bytes == wide.held_bytes
    assert double.flops == 2 * wide.flops
    gradients = 4 * sum(wide.trainable.values())
    more = (double.peak_bytes - wide.peak_bytes) / (wide.peak_bytes - wide.held_bytes - gradients)
    assert 0.7 < more < 1.3


def test_r1_is_in_the_peak_and_weighs_by_how_often_it_comes(wide, tiny_root, tmp_path):
    changes = ("loss.r1.weight=1", "loss.r1.every=4")
    penalized = count_wide(*changes)
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", *WIDE, *changes))
    flops = []
    for batch in islice(trainer.batches(0), 2):  # with the penalty, without
        with FlopCounterMode(display=False) as counter:
            trainer.train_batch(batch)
        flops.append(counter.get_total_flops())
    assert flops[0] > flops[1] == wide.flops
    assert penalized.flops == flops[1] + round((flops[0] - flops[1]) / 4)
    assert wide.moved_bytes < penalized.moved_bytes < 1.5 * wide.moved_bytes
    assert penalized.held_bytes == wide.held_bytes and penalized.peak_bytes > 1.1 * wide.peak_bytes


def test_recomputing_takes_less_memory_and_more_work(wide):
    recomputed = count_wide("run.activation_checkpointing=true")
    assert recomputed.peak_bytes < 0.95 * wide.peak_bytes and recomputed.flops > 1.1 * wide.flops


def test_instances_take_memory(wide):
    assert count_wide("generator.instances=true").peak_bytes > wide.peak_bytes


def test_the_images_said_to_fit_do(wide):
    config = tiny_config(Path("unused"), Path("unused"), *WIDE)
    with mock.patch.object(_SpectralNorm, "_power_method"):
        single = count_work(one_at_a_time(config), SPACE)
    half = count_wide("run.micro_batch=4")
    assert single.peak_bytes < half.peak_bytes < wide.peak_bytes and half.held_bytes == wide.held_bytes

    def fitting(memory: int) -> int:
        return images_that_fit(config, wide, single, memory)

    assert fitting(single.peak_bytes - 1) == 0 and fitting(single.peak_bytes) == 1
    assert images_that_fit(one_at_a_time(config), single, single, single.peak_bytes) == 0  # there are no fewer than one
    assert 1 < fitting(half.peak_bytes) <= 4 < fitting(wide.peak_bytes - 1) < 8


def test_advice(trainer):
    config = dataclasses.replace(trainer.config, run=dataclasses.replace(trainer.config.run, micro_batch=1))
    work = Work(2, {"G": 0}, {"G": 0}, held_bytes=0, peak_bytes=1000, flops=1, moved_bytes=1)

    def advice(config: TrainConfig, fitting: int, memory: int = 999) -> str:
        return describe_work(work, Rates(1.0, 1.0), config, memory, fitting)

    assert "with 1 images at once" in advice(config, 1) and "with 2 images at once" in advice(trainer.config, 1)
    less = "; run.activation_checkpointing=true takes less memory and more time"
    assert advice(config, 3).endswith(f"this does not fit into the device; about run.micro_batch=3 would{less}")
    assert advice(config, 0).endswith(f"; one image at a time would not, either{less}")
    assert "not fit" not in advice(config, 1, memory=1000)
    recomputed = dataclasses.replace(config, run=dataclasses.replace(config.run, activation_checkpointing=True))
    assert advice(recomputed, 3).endswith("about run.micro_batch=3 would")


# The counting itself -------------------------------------------------------------------------------------------------


def test_the_ledger_by_hand():
    with FakeTensorMode(), Ledger() as ledger:
        a = torch.empty(100)  # 400 bytes, written
        assert (ledger.bytes, ledger.moved) == (400, 400)
        b = a + 1  # 400 read, 400 written
        assert (ledger.bytes, ledger.moved) == (800, 1200)
        view = a.view(10, 10)  # another name for the same bytes
        del a
        assert (ledger.bytes, ledger.moved) == (800, 1200)
        del view
        assert (ledger.bytes, ledger.peak) == (400, 800)
        b += 1  # in place: 400 read, 400 written
        assert (ledger.bytes, ledger.moved) == (400, 2000)


def test_seconds_by_hand():
    work = Work(4, {}, {}, held_bytes=0, peak_bytes=0, flops=60, moved_bytes=50)
    rates = Rates(flops_per_second=20.0, bytes_per_second=50.0)
    assert rates.seconds(work) == 3 + 1
    assert rates.efficiency(work) == 3 / 4


def test_rates_by_hand(trainer, monkeypatch):
    """Every look at the clock is 2 seconds after the one before."""
    monkeypatch.setattr(estimate, "MATMUL_SIZE", {"cpu": 10})
    monkeypatch.setattr(estimate, "COPY_BYTES", {"cpu": 40})
    monkeypatch.setattr(time, "perf_counter", itertools.count(0.0, 2.0).__next__)
    assert measure_rates(trainer.config) == Rates(flops_per_second=2 * 10**3 / 2, bytes_per_second=3 * 40 / 2)


def test_no_weights_are_asked_for_on_the_meta_device():
    """VGG19's are on timm's hub, which the tests do not reach."""
    with torch.device("meta"):
        features = create_features("vgg19.tv_in1k", pretrained=True)
    assert {p.device.type for p in features.parameters()} == {"meta"}

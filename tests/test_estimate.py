import dataclasses

import pytest
import torch
from tiny_gan import tiny_config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from dpsims.estimate import Ledger, Rates, Work, count_work, measure_rates
from dpsims.pretrained import create_features
from dpsims.trainer import Trainer

OPTIONS = ["loss.diversity.tau=1.0", "run.device=cpu", "run.precision=fp32"]


def work_of(trainer: Trainer) -> Work:
    return count_work(trainer.config, trainer.space)


@pytest.fixture(scope="module")
def trainer(tiny_root, tmp_path_factory) -> Trainer:
    return Trainer(tiny_config(tiny_root, tmp_path_factory.mktemp("estimate") / "run", *OPTIONS))


@pytest.fixture(scope="module")
def work(trainer) -> Work:
    return work_of(trainer)


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


def test_memory_grows_with_the_batch(trainer, work):
    """Gradients do not, activations do."""
    config = trainer.config
    doubled = dataclasses.replace(config, run=dataclasses.replace(config.run, batch_size=2 * config.run.batch_size))
    double = count_work(doubled, trainer.space)
    assert double.held_bytes == work.held_bytes
    assert double.flops > 1.8 * work.flops
    gradients = 4 * sum(work.trainable.values())
    more = (double.peak_bytes - work.peak_bytes) / (work.peak_bytes - work.held_bytes - gradients)
    assert 0.7 < more < 1.3


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


def test_rates_are_those_of_some_machine(trainer):
    rates = measure_rates(trainer.config)
    assert 1e8 < rates.flops_per_second < 1e16 and 1e7 < rates.bytes_per_second < 1e14


def test_no_weights_are_asked_for_on_the_meta_device():
    """VGG19's are on timm's hub, which the tests do not reach."""
    with torch.device("meta"):
        features = create_features("vgg19.tv_in1k", pretrained=True)
    assert {p.device.type for p in features.parameters()} == {"meta"}

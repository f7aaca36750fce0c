import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_gan import TINY, tiny_config

from dpsims.trainer import Trainer
from dpsims.watch import observe

TOOL = Path(__file__).parents[1] / "tools" / "train_gan.py"


def gradients(trainer: Trainer, name: str, *inputs: object) -> tuple[dict, list[torch.Tensor]]:
    batch = next(trainer.batches(0))
    for parameter in trainer.params[name]:
        parameter.grad = None
    terms = trainer._accumulate(name, batch, trainer.random(), *inputs)
    return terms, [parameter.grad.clone() for parameter in trainer.params[name]]


def test_micro_batches_add_up_to_the_batch(tiny_root, tmp_path):
    """Batch norms aside, which see what is computed at once: they are in eval mode or off here.

    On CPUs torch 2.15 computes a wrong gradient of batch norm where a batch of one has channels_last strides but for
    its batch stride, as views leave it. SPADE made such views.
    """
    found = []
    for micro in ("null", "1", "3"):
        options = ["run.batch_size=4", "discriminator.normalization=none", f"run.micro_batch={micro}"]
        options += ["loss.diversity.tau=1", "generator.gate_init=0.5"]
        trainer = Trainer(tiny_config(tiny_root, tmp_path / micro, *options))
        trainer.step.G.eval()
        trainer.step.contrast.eval()
        trainer.step.D.train = lambda mode=True, D=trainer.step.D: D  # spectral norm's vectors stay, too
        trainer.step.D.eval = lambda D=trainer.step.D: D
        torch.nn.Module.train(trainer.step.D, False)
        found.append([gradients(trainer, name) for name in ("D", "G")])
    for other in found[1:]:
        for (terms, grads), (other_terms, other_grads) in zip(found[0], other, strict=True):
            for key in terms:
                torch.testing.assert_close(other_terms[key], terms[key])
            whole, summed = torch.cat([g.flatten() for g in grads]), torch.cat([g.flatten() for g in other_grads])
            assert (summed - whole).norm() < 1e-4 * whole.norm()


@pytest.mark.parametrize(
    "backbone", [["name=tf_efficientnet_lite0"], ["name=resnet18", "frozen=false", "pretrained=false"]]
)
def test_recomputed_activations_give_the_same_step(backbone, tiny_root, tmp_path):
    states = []
    for name in ("false", "true"):
        options = [f"run.activation_checkpointing={name}", "loss.diversity.tau=1", "generator.gate_init=0.2"]
        options += [f"discriminator.backbone.{option}" for option in backbone]
        trainer = Trainer(tiny_config(tiny_root, tmp_path / name, *options))
        batches = trainer.batches(0)
        for _ in range(2):
            trainer.train_batch(next(batches))
        states.append({net: getattr(trainer.step, net).state_dict() for net in ("G", "D")})
    for net in ("G", "D"):
        for key, value in states[0][net].items():
            if not key.endswith("num_batches_tracked"):
                torch.testing.assert_close(states[1][net][key], value, rtol=0, atol=0, msg=lambda m, k=key: f"{k}: {m}")


def test_r1_through_recomputed_blocks(tiny_root, tmp_path):
    found = []
    for name in ("false", "true"):
        options = [f"run.activation_checkpointing={name}", "loss.r1.weight=1", "loss.diversity.tau=1"]
        trainer = Trainer(tiny_config(tiny_root, tmp_path / name, *options))
        found.append(gradients(trainer, "D", True))
    (terms, grads), (other_terms, other_grads) = found
    assert terms["Loss/D/r1"] > 0 and torch.equal(terms["Loss/D/r1"], other_terms["Loss/D/r1"])
    assert all(torch.equal(a, b) for a, b in zip(grads, other_grads, strict=True))


def test_r1_through_fused_attention(tiny_root, tmp_path):
    """Which has no second derivative: the backbone is built without it."""
    backbone = ["discriminator.backbone.name=pvt_v2_b0", "discriminator.backbone.pretrained=false"]
    options = [*backbone, "loss.r1.weight=1", "loss.diversity.tau=1", "run.activation_checkpointing=true"]
    terms, grads = gradients(Trainer(tiny_config(tiny_root, tmp_path / "run", *options)), "D", True)
    assert terms["Loss/D/r1"] > 0 and all(grad.isfinite().all() for grad in grads)


def test_r1_is_due_every_so_many_steps(tiny_root, tmp_path):
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", "loss.r1.weight=1", "loss.r1.every=2"))
    trainer.step.tau_diversity = 1.0
    batches = trainer.batches(0)
    assert ["Loss/D/r1" in trainer.train_batch(next(batches)) for _ in range(4)] == [True, False, True, False]


def test_gradients_are_clipped_and_their_norm_is_told(tiny_root, tmp_path):
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", "optim.clip_norm=0.01", "loss.diversity.tau=1"))
    logs = trainer.train_batch(next(trainer.batches(0)))
    for name in ("D", "G"):
        norm = torch.stack([p.grad.norm() for p in trainer.params[name]]).norm()
        assert norm == pytest.approx(0.01, rel=1e-3) and logs[f"Gradient/{name}"] > 0.01


@pytest.mark.parametrize("recomputed", ["false", "true"])
def test_tau_is_of_the_whole_training_set_and_leaves_the_generator_alone(recomputed, tiny_root, tmp_path, monkeypatch):
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run", f"run.activation_checkpointing={recomputed}"))
    before = copy.deepcopy(trainer.step.G.state_dict())
    used, read = [], trainer.train_set.__class__.__getitem__
    with monkeypatch.context() as patch:
        patch.setattr(
            trainer.train_set.__class__, "__getitem__", lambda self, item: used.append(item[0]) or read(self, item)
        )
        trainer.calibrate_diversity()
    after = trainer.step.G.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert '"images": 10, "batch_size": 2' in (tmp_path / "run" / "tau_div.json").read_text()
    assert sorted(used) == list(range(10)), "each once, whatever the sampling"
    trainer.folder.release()
    again = Trainer(tiny_config(tiny_root, tmp_path / "run"))
    monkeypatch.setattr(again.step, "mean_distance", None)  # it is in the run's folder already
    again.calibrate_diversity()
    assert again.step.tau_diversity == trainer.step.tau_diversity > 0


def test_looking_changes_nothing_and_z_shows_where_it_acts(tiny_root, tmp_path):
    diversity = {}
    for gate in (0, 1):
        trainer = Trainer(tiny_config(tiny_root, tmp_path / str(gate), f"generator.gate_init={gate}"))
        batch = next(trainer.batches(0))
        before = copy.deepcopy(trainer.state_dict())
        looked = observe(trainer.step, trainer.ema.net, trainer.space, batch, trainer.random())
        after = trainer.state_dict()
        for net in ("G", "D", "ema"):
            assert all(torch.equal(after[net][key], value) for key, value in before[net].items())
        assert trainer.step.D.training
        diversity[gate] = looked.figures["Diversity/z"]
        assert set(looked.class_accuracy) <= set(trainer.space.classes)
        assert len(looked.logits["Logits/real"]) == (batch.label_map != 255).sum()
    assert diversity[0] == 0 and diversity[1] > 1e-4


def test_accuracies_by_hand(tiny_root, tmp_path):
    """A discriminator that sees sky (class 0) everywhere, in real images and in fakes."""
    trainer = Trainer(tiny_config(tiny_root, tmp_path / "run"))
    head = trainer.step.D.head
    torch.nn.utils.parametrize.remove_parametrizations(head, "weight")
    torch.nn.init.zeros_(head.weight)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    batch = next(trainer.batches(0))
    looked = observe(trainer.step, trainer.ema.net, trainer.space, batch, trainer.random())
    sky = ((batch.label_map == 0).sum() / (batch.label_map != 255).sum()).item()
    assert looked.figures["Accuracy/real"] == pytest.approx(sky)
    assert looked.figures["Accuracy/fooled"] == pytest.approx(sky) and looked.figures["Accuracy/fake"] == 0
    assert looked.class_accuracy["sky"] == 1 and looked.class_accuracy["road"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_compiled_blocks_train(tiny_root, tmp_path):
    """Through the tool: the type checks of the tests are not for compilers."""
    losses = []
    for name in ("false", "true"):
        out = tmp_path / name
        options = [f"data.root={tiny_root}", f"out={out}", *TINY, f"run.compile={name}", "loss.diversity.tau=1"]
        subprocess.run([sys.executable, TOOL, *options, "run.log_kimg=0.002", "run.total_kimg=0.004"], check=True)
        losses.append([json.loads(line)["Loss/G/adversarial"] for line in (out / "log.jsonl").read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2) and len(losses[0]) == 2

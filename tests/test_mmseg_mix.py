"""Shards beside real images, in the runner: shares, loss weights, and a resumed run that looks at nothing again."""

from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.models.losses import (
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    LovaszLoss,
    OhemCrossEntropy,
    TverskyLoss,
)
from mmseg.utils import register_all_modules
from mmseg_data import write_data_set, write_shards
from mmseg_run import CONFIGS, Watch, streets_space
from mmseg_run import train as train_config

from augment.mmseg.checkpoint import load_checkpoint
from augment.mmseg.config import load_config
from augment.mmseg.light_config import set_length
from augment.mmseg.mix import MixSynthetic, synthetic_pipeline
from augment.mmseg.share import Share


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    register_all_modules(init_default_scope=True)
    root, space = tmp_path_factory.mktemp("data"), streets_space()
    write_shards(root / "shards", space)
    return write_data_set(root / "data", space), root / "shards"


def train(data: tuple[Path, Path], out: Path, **options: object) -> Watch:
    return train_config("efficientnet_lite0_fpn_streets_mixed.py", data[0], out, places={"shards": data[1]}, **options)


def test_batches_follow_the_schedule_and_go_on_without_a_look_at_the_past(data, tmp_path, monkeypatch):
    """Counted in samples that are read: those of the iterations that are left."""
    schedule = {"share": 1, "schedule": "linear", "end": 0, "until": 4}
    whole = train(data, tmp_path / "whole", iterations=6, **schedule)
    assert whole.count("tar#") == [4, 3, 2, 1, 0, 0]

    first = train(data, tmp_path / "stopped", iterations=6, stop=3, **schedule)
    read, looked_at = BaseSegDataset.__getitem__, []
    monkeypatch.setattr(BaseSegDataset, "__getitem__", lambda self, i: looked_at.append(i) or read(self, i))
    rest = train(data, tmp_path / "stopped", iterations=6, **schedule)
    assert first.batches + rest.batches == whole.batches
    assert len(looked_at) == 3 * 4


def test_a_config_without_a_seed_goes_on_in_its_order(data, tmp_path):
    """As mmseg's own are: the seed is drawn, and stands in the checkpoint, which is read after the loader is made."""
    first = train(data, tmp_path / "stopped", iterations=4, stop=2, randomness={"seed": None})
    seed = load_checkpoint(tmp_path / "stopped" / "iter_2.pth")["meta"]["seed"]
    rest = train(data, tmp_path / "stopped", iterations=4, randomness={"seed": None})
    whole = train(data, tmp_path / "whole", iterations=4, randomness={"seed": seed})
    assert first.batches + rest.batches == whole.batches


def test_pretrain_on_synthetic_then_fine_tune_on_real(data, tmp_path):
    watch = train(data, tmp_path, iterations=4, share=1, schedule="step", end=0, until=2)
    assert watch.count("tar#") == [4, 4, 0, 0]


def test_a_loss_weight_counts_synthetic_pixels_so_much(data, tmp_path):
    """All synthetic, the loss is that many times as large; all real, it stays."""
    losses = {}
    for share in (0, 1):
        for weight in (1, 0.25):
            out = tmp_path / f"{share}-{weight}"
            losses[share, weight] = train(data, out, iterations=2, share=share, loss_weight=weight).losses[0]
    assert losses[0, 0.25] == pytest.approx(losses[0, 1], rel=1e-5)
    assert losses[1, 0.25] == pytest.approx(losses[1, 1] / 4, rel=1e-5)


def test_a_second_hook_is_not_passed_over_in_silence(data, tmp_path):
    cfg = load_config(CONFIGS / "efficientnet_lite0_fpn_streets_mixed.py", data_root=data[0], shards=data[1])
    set_length(cfg, 2)
    cfg.work_dir, cfg.custom_hooks = str(tmp_path), [*cfg.custom_hooks, *cfg.custom_hooks]
    with pytest.raises(ValueError, match="custom_hooks has two that put synthetic samples into the training"):
        Runner.from_cfg(cfg).train()


def test_a_weight_that_the_head_gives_is_kept():
    hook = MixSynthetic("shards", loss_weight=3)
    hook.weights = torch.tensor([1.0, 3.0])
    logits, label = torch.zeros(2, 5, 2, 2), torch.zeros(2, 2, 2)
    _, kwargs = hook.with_weights(torch.nn.Identity(), (logits, label), {"weight": torch.full((2, 2, 2), 0.5)})
    assert kwargs["weight"].tolist() == [[[0.5] * 2] * 2, [[1.5] * 2] * 2]
    _, kwargs = hook.with_weights(torch.nn.Identity(), (logits, label), {"weight": None, "ignore_index": 255})
    assert kwargs["weight"].tolist() == [[[1.0] * 2] * 2, [[3.0] * 2] * 2] and kwargs["ignore_index"] == 255


def test_label_maps_of_shards_are_not_shifted_again():
    real = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "reduce_zero_label": True}, {"type": "Flip"}]
    assert synthetic_pipeline(real) == [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "Flip"}]
    assert real[1] == {"type": "LoadAnnotations", "reduce_zero_label": True}


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="loss_weight is more than 0, not 0; share=0 leaves synthetic samples out"):
        MixSynthetic("shards", loss_weight=0)
    assert MixSynthetic("shards", share=1, schedule="step", until=3).share == Share(1, "step", 0, 3)
    with pytest.raises(ValueError, match="loss_weight=2: no head of this model has a loss_decode"):
        MixSynthetic("shards", loss_weight=2).weigh(torch.nn.Linear(1, 1))
    head = torch.nn.Module()
    for loss in (LovaszLoss(reduction="none"), TverskyLoss(), DiceLoss(), FocalLoss(), OhemCrossEntropy()):
        head.loss_decode = torch.nn.ModuleList([CrossEntropyLoss(), loss])
        with pytest.raises(
            ValueError, match=f"loss_weight=2: {type(loss).__name__} of this model does not weigh pixels"
        ):
            MixSynthetic("shards", loss_weight=2).weigh(head)

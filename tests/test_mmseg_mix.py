"""Shards beside real images, in the runner: shares, loss weights, and a resumed run that looks at nothing again."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.utils import register_all_modules
from mmseg_data import write_data_set, write_shards
from torch.utils.data import DataLoader

from augment.mmseg.checkpoint import save_plain_checkpoints
from augment.mmseg.config import load_config
from augment.mmseg.light_config import set_length, set_size
from augment.mmseg.mix import Forwarded, MixSynthetic, synthetic_pipeline
from augment.mmseg.share import Share
from dpsims.labels import LabelSpace

CONFIGS = Path(__file__).parents[1] / "configs" / "segmenters"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    register_all_modules(init_default_scope=True)
    root = tmp_path_factory.mktemp("data")
    metainfo = Config.fromfile(CONFIGS / "_base_" / "datasets" / "streets.py").metainfo
    space = LabelSpace(metainfo["classes"], tuple(tuple(colour) for colour in metainfo["palette"]))
    write_shards(root / "shards", space)
    return write_data_set(root / "data", space), root / "shards"


class Watch(Hook):
    """Notes each batch's files and the loss, and stops a run after so many iterations, as if it were killed."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.batches, self.losses = stop, [], []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if runner.iter == self.stop:
            raise KeyboardInterrupt
        self.batches.append([sample.img_path.rpartition("/")[2] for sample in data_batch["data_samples"]])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs["loss"].item())

    def synthetic(self) -> list[int]:
        return [sum("tar#" in name for name in batch) for batch in self.batches]


def train(data: tuple[Path, Path], out: Path, *, iterations: int, stop: int | None = None, **mix: object) -> Watch:
    cfg = load_config(CONFIGS / "efficientnet_lite0_fpn_streets_mixed.py", data_root=data[0], shards=data[1])
    set_size(cfg, 64, 64)
    set_length(cfg, iterations)
    cfg.merge_from_dict({"work_dir": str(out), "resume": True, "default_hooks.checkpoint.interval": 1})
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = cfg.default_hooks.checkpoint.save_best = None
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.custom_hooks[0].update(mix)
    save_plain_checkpoints(cfg)
    runner = Runner.from_cfg(cfg)
    watch = Watch(stop)
    runner.register_hook(watch, "LOWEST")
    if stop is None:
        runner.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    return watch


def test_batches_follow_the_schedule_and_go_on_without_a_look_at_the_past(data, tmp_path, monkeypatch):
    """Counted in samples that are read: those of the iterations that are left."""
    schedule = {"share": 1, "schedule": "linear", "end": 0, "until": 4}
    whole = train(data, tmp_path / "whole", iterations=6, **schedule)
    assert whole.synthetic() == [4, 3, 2, 1, 0, 0]

    first = train(data, tmp_path / "stopped", iterations=6, stop=3, **schedule)
    read, looked_at = BaseSegDataset.__getitem__, []
    monkeypatch.setattr(BaseSegDataset, "__getitem__", lambda self, i: looked_at.append(i) or read(self, i))
    rest = train(data, tmp_path / "stopped", iterations=6, **schedule)
    assert first.batches + rest.batches == whole.batches
    assert len(looked_at) == 3 * 4


def test_pretrain_on_synthetic_then_fine_tune_on_real(data, tmp_path):
    watch = train(data, tmp_path, iterations=4, share=1, schedule="step", end=0, until=2)
    assert watch.synthetic() == [4, 4, 0, 0]


def test_a_loss_weight_counts_synthetic_pixels_so_much(data, tmp_path):
    """All synthetic, the loss is that many times as large; all real, it stays."""
    losses = {}
    for share in (0, 1):
        for weight in (1, 0.25):
            out = tmp_path / f"{share}-{weight}"
            losses[share, weight] = train(data, out, iterations=2, share=share, loss_weight=weight).losses[0]
    assert losses[0, 0.25] == pytest.approx(losses[0, 1], rel=1e-5)
    assert losses[1, 0.25] == pytest.approx(losses[1, 1] / 4, rel=1e-5)


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


def test_an_older_loop_that_asks_for_what_it_skips_gets_nothing():
    forwarded = Forwarded(DataLoader(range(10, 14), batch_size=None), 2)
    assert [next(forwarded) for _ in range(4)] == [None, None, 10, 11]
    told = Forwarded(DataLoader(range(10, 14), batch_size=None), 2)
    told.skip_iter(2)
    assert next(told) == 10


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="loss_weight is more than 0, not 0; share=0 leaves synthetic samples out"):
        MixSynthetic("shards", loss_weight=0)
    assert MixSynthetic("shards", share=1, schedule="step", until=3).share == Share(1, "step", 0, 3)
    with pytest.raises(ValueError, match="no head of this model has a loss_decode"):
        MixSynthetic("shards", loss_weight=2).weigh(torch.nn.Linear(1, 1))

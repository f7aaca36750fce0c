"""Checkpoints are plain, and a file that could run code is refused on every way into mmengine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmseg_data import RunsCode

import augment.mmseg
from augment.mmseg.checkpoint import PlainCheckpointHook, load_checkpoint, plain

assert augment.mmseg.__all__  # its import shuts the unpickling


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint that makes a marker file when it is unpickled, and the marker."""
    marker = tmp_path / "code_was_run"
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "meta": RunsCode(marker)}, tmp_path / "hostile.pth")
    return tmp_path / "hostile.pth", marker


def stock_checkpoint() -> dict:
    """What mmengine puts into a checkpoint: log histories, numpy scalars, config texts."""
    hub = MessageHub("of_a_checkpoint_test")
    hub.update_scalar("train/loss", 1.5)
    hub.update_info("best_score", np.float64(41.25))
    hub.update_info("iter", 7)
    hub.update_info("cfg", "a = 1")
    return {
        "meta": {"iter": 8, "seed": np.int64(3), "config": "a = 1", "dataset_meta": {"classes": ("a", "b")}},
        "state_dict": {"weight": torch.arange(3.0)},
        "message_hub": hub.state_dict(),
    }


def test_hostile_file_is_refused_by_name(hostile):
    file, marker = hostile
    with pytest.raises(ValueError, match=rf"refused.*system\).* never unpickled: {file}"):
        load_checkpoint(file)
    assert not marker.exists()
    torch.load(file, weights_only=False)
    assert marker.exists()  # it was hostile indeed


@pytest.mark.parametrize(
    "load",
    [
        lambda file: mmengine_checkpoint.load_checkpoint(torch.nn.Linear(1, 1), str(file)),
        lambda file: mmengine_checkpoint.CheckpointLoader.load_checkpoint(str(file)),
        lambda file: mmengine_checkpoint.load_from_local(str(file), "cpu"),
        lambda file: mmengine_checkpoint.load_from_http(file.as_uri(), model_dir=str(file.parent / "cache")),
        lambda file: mmengine_checkpoint._safe_torch_load(file.open("rb")),
    ],
    ids=["load_checkpoint", "CheckpointLoader", "load_from_local", "load_from_http", "safe_torch_load"],
)
def test_mmengine_has_no_way_to_unpickle_it(hostile, load):
    file, marker = hostile
    with pytest.raises(ValueError, match=r"refused.* never unpickled: .*hostile\.pth"):
        load(file)
    assert not marker.exists()


def test_stock_checkpoint_is_read_without_its_objects(tmp_path):
    torch.save(stock_checkpoint(), tmp_path / "stock.pth")
    with pytest.raises(Exception, match=r"HistoryBuffer|numpy"):
        torch.load(tmp_path / "stock.pth", weights_only=True)
    loaded = load_checkpoint(tmp_path / "stock.pth")
    assert torch.equal(loaded["state_dict"]["weight"], torch.arange(3.0))
    assert loaded["meta"] == {"iter": 8, "seed": 3, "dataset_meta": {"classes": ("a", "b")}}  # no config to run
    assert loaded["message_hub"]["runtime_info"] == {"best_score": 41.25, "iter": 7}
    assert loaded["message_hub"]["log_scalars"] == {}


def test_getattr_in_a_file_gets_at_nothing(tmp_path):
    class Reach:
        def __reduce__(self) -> tuple:
            return getattr, (HistoryBuffer, "__init__")

    torch.save({"state_dict": {"reached": Reach()}}, tmp_path / "reach.pth")
    reached = load_checkpoint(tmp_path / "reach.pth")["state_dict"]["reached"]
    assert not callable(reached) and not vars(reached)


def test_hook_makes_a_checkpoint_plain_and_resumable(tmp_path):
    checkpoint = stock_checkpoint()
    PlainCheckpointHook().before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / "plain.pth")
    loaded = torch.load(tmp_path / "plain.pth", weights_only=True)
    assert loaded["meta"]["seed"] == 3
    hub = MessageHub("of_a_resumed_run")
    hub.load_state_dict(load_checkpoint(tmp_path / "plain.pth")["message_hub"])
    assert hub.get_info("best_score") == 41.25
    assert hub.get_info("iter") == 7


def test_plain_keeps_plain_values_and_their_containers():
    assert plain({"a": (np.float32(0.5), [np.arange(2)]), "b": {1: None}, "c": object()}) == {
        "a": (0.5, [[0, 1]]),
        "b": {1: None},
    }


def test_files_that_are_no_checkpoints_are_named(tmp_path):
    garbage, number, missing = tmp_path / "garbage.pth", tmp_path / "number.pth", tmp_path / "missing.pth"
    garbage.write_bytes(b"not a checkpoint")
    torch.save(3, number)
    for file in (garbage, number):
        with pytest.raises(ValueError, match=str(file)):
            load_checkpoint(file)
    with pytest.raises(FileNotFoundError, match=str(missing)):
        mmengine_checkpoint.load_checkpoint(torch.nn.Linear(1, 1), str(missing))

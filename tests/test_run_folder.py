import json

import pytest
import torch
from tiny_gan import tiny_config

from dpsims.run_folder import RunFolder


@pytest.fixture
def folder(tiny_root, tmp_path) -> RunFolder:
    folder = RunFolder(tiny_config(tiny_root, tmp_path / "run"))
    folder.claim()
    return folder


def state(images_seen: int) -> dict:
    return {"images_seen": images_seen, "G": {"weight": torch.full((1000,), float(images_seen))}}


def test_nothing_saved_yet(folder):
    assert folder.load_checkpoint() is None


def test_the_newest_checkpoint_counts(folder):
    folder.save_checkpoint(state(2))
    folder.save_checkpoint(state(4))
    assert folder.load_checkpoint()["images_seen"] == 4


@pytest.mark.parametrize("fault", ["truncated", "flipped", "empty"])
def test_a_torn_checkpoint_is_skipped_for_the_one_before(folder, fault, capsys):
    folder.save_checkpoint(state(2))
    folder.save_checkpoint(state(4))
    content = bytearray(folder.checkpoint_file.read_bytes())
    middle = content.index(torch.tensor(4.0).numpy().tobytes() * 10) + 8  # inside of the weights
    if fault == "flipped":
        content[middle] ^= 1
    folder.checkpoint_file.write_bytes({"truncated": content[:middle], "flipped": content, "empty": b""}[fault])
    assert folder.load_checkpoint()["images_seen"] == 2
    assert "checkpoint.pt cannot be used" in capsys.readouterr().err


def test_all_torn_is_an_error_and_no_new_start(folder):
    folder.save_checkpoint(state(2))
    folder.checkpoint_file.write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="all 1 checkpoints are torn"):
        folder.load_checkpoint()


def test_a_kill_between_the_two_renames_loses_nothing(folder):
    folder.save_checkpoint(state(2))
    folder.checkpoint_file.rename(folder.previous_file)
    assert folder.load_checkpoint()["images_seen"] == 2


def test_kept_checkpoints_outlive_the_newest(folder):
    folder.save_checkpoint(state(2))
    assert folder.keep_checkpoint(2) == folder.root / "kept" / "000000002"
    folder.save_checkpoint(state(4))
    folder.save_checkpoint(state(6))
    for file in (folder.checkpoint_file, folder.previous_file):
        file.write_bytes(b"")
    assert folder.load_checkpoint()["images_seen"] == 2


def test_code_in_a_checkpoint_is_not_run(folder):
    torch.save({"images_seen": 2, "code": pytest.raises}, folder.checkpoint_file)
    with pytest.raises(ValueError, match="torn"):
        folder.load_checkpoint()


def test_looking_at_a_folder_does_not_make_it(tiny_root, tmp_path):
    RunFolder(tiny_config(tiny_root, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_log_is_rewound_to_the_checkpoint(folder):
    for seen in (2, 4, 6):
        folder.log({"images_seen": seen})
    with open(folder.log_file, "a") as stream:
        stream.write('{"images_se')  # a row cut short by a kill
    folder.rewind_log(4)
    assert [json.loads(line)["images_seen"] for line in folder.log_file.read_text().splitlines()] == [2, 4]


def test_a_torn_checkpoint_never_takes_the_place_of_a_whole_one(folder):
    folder.save_checkpoint(state(2))
    folder.save_checkpoint(state(4))
    folder.checkpoint_file.write_bytes(b"")
    assert folder.load_checkpoint()["images_seen"] == 2
    folder.save_checkpoint(state(6))
    folder.checkpoint_file.unlink()  # as if killed before the last rename
    assert folder.load_checkpoint()["images_seen"] == 2


def test_errors_of_the_machine_are_no_torn_checkpoints(folder, monkeypatch):
    folder.save_checkpoint(state(2))
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        folder.load_checkpoint()

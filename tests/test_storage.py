"""Files appear whole or not at all, on disk and behind URLs; what killed processes leave is swept up."""

import os
import subprocess
import sys

import pytest
from upath import UPath

from augment.storage import HOST, Folder, is_local, new_file, open_folder, sweep, write_text


@pytest.fixture(params=["disk", "memory"])
def folder(request, tmp_path) -> Folder:
    folder = open_folder(str(tmp_path) if request.param == "disk" else f"memory://{tmp_path.name}")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def names(folder: Folder) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_file_appears_when_it_is_whole(folder):
    with new_file(folder / "a.txt") as part:
        part.write_text("half")
        assert "a.txt" not in names(folder)
        part.write_text("whole")
    assert names(folder) == ["a.txt"] and (folder / "a.txt").read_text() == "whole"
    with pytest.raises(RuntimeError), new_file(folder / "a.txt") as part:
        part.write_text("half")
        raise RuntimeError
    assert names(folder) == ["a.txt"] and (folder / "a.txt").read_text() == "whole"
    write_text(folder / "a.txt", "ü")
    assert (folder / "a.txt").read_text(encoding="utf-8") == "ü"


def test_a_file_that_is_deleted_is_given_up(folder):
    write_text(folder / "a.txt", "old")
    with new_file(folder / "a.txt") as part:
        part.write_text("new")
        part.unlink()
    assert names(folder) == ["a.txt"] and (folder / "a.txt").read_text() == "old"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with new_file(tmp_path / "a.txt") as one, new_file(tmp_path / "a.txt") as other:
        assert one != other
        one.write_text("same")
        other.write_text("same")
    assert names(tmp_path) == ["a.txt"]


def test_what_a_dead_process_leaves_is_swept_up(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    parts = [f"x.tar.{HOST}-{dead.pid}-0.part", f"x.tar.{HOST}-{os.getpid()}-0.part", f"x.tar.other-{dead.pid}-0.part"]
    for name in (*parts, "x.tar"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert names(tmp_path) == sorted([*parts[1:], "x.tar"])


def test_folders_by_path_and_url(tmp_path):
    for place in (str(tmp_path), f"file://{tmp_path}"):
        assert open_folder(place) == tmp_path and is_local(open_folder(place))
    assert isinstance(open_folder("memory://x"), UPath) and not is_local(open_folder("memory://x"))
    with pytest.raises(ValueError, match="nonsense://x"):
        open_folder("nonsense://x")

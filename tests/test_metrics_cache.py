"""Cached features: found again by content, never by name, and never half."""

import os
from pathlib import Path

import pytest
import torch

from dpsims.metrics.cache import _LAST, cache_folder, cached_features, content_key


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[Path]:
    monkeypatch.setenv("DPSIMS_CACHE", str(tmp_path / "cache"))
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for index, path in enumerate(paths):
        path.write_bytes(bytes([index]) * 100)
    return paths


class Computation:
    """Gives the same features each time, and counts."""

    def __init__(self) -> None:
        self.runs = 0
        self.features = torch.arange(6.0).view(3, 2)

    def __call__(self) -> torch.Tensor:
        self.runs += 1
        return self.features


def test_features_are_computed_once(files):
    compute = Computation()
    for _ in range(2):
        assert torch.equal(cached_features(files, (32, 64), "net", compute), compute.features)
    assert compute.runs == 1
    renamed = [path.rename(path.with_suffix(".jpeg")) for path in files]
    cached_features(renamed, (32, 64), "net", compute)
    assert compute.runs == 1  # by content
    _LAST.clear()
    assert torch.equal(cached_features(renamed, (32, 64), "net", compute), compute.features) and compute.runs == 1


def test_the_last_features_stay_in_memory_and_no_image_is_hashed_twice(files, monkeypatch):
    compute = Computation()
    cached_features(files, (32, 64), "net", compute)
    with monkeypatch.context() as patch:
        patch.setattr("dpsims.sample.file_sha256", None)
        patch.setattr("dpsims.metrics.cache.read_features", None)
        assert torch.equal(cached_features(files, (32, 64), "net", compute), compute.features)
        content_key(files, (64, 32), "other")
    before = files[0].stat()
    files[0].write_bytes(b"x" * before.st_size)  # other bytes of the same size, a moment later
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    cached_features(files, (32, 64), "net", compute)
    assert compute.runs == 2


def test_a_key_is_of_all_that_decides_features(files):
    keys = [content_key(files, (32, 64), "net") for _ in range(2)]
    keys.append(content_key(files[::-1], (32, 64), "net"))
    keys.append(content_key(files[:2], (32, 64), "net"))
    keys.append(content_key(files, (64, 32), "net"))
    keys.append(content_key(files, (32, 64), "other"))
    files[1].write_bytes(b"changed")
    keys.append(content_key(files, (32, 64), "net"))
    assert keys[0] == keys[1] and len(set(keys)) == 6


@pytest.mark.parametrize("tear", ["cut", "flip", "empty", "fewer"])
def test_a_torn_file_is_computed_again(files, tear):
    compute = Computation()
    cached_features(files, (32, 64), "net", compute)
    (file,) = (cache_folder() / "features").iterdir()
    _LAST.clear()
    whole = bytearray(file.read_bytes())
    if tear == "cut":
        file.write_bytes(whole[:-5])
    elif tear == "flip":
        whole[-1] ^= 1
        file.write_bytes(whole)
    elif tear == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
        compute.features = compute.features[:2]
        cached_features(files, (32, 64), "net", compute)
        compute.runs, compute.features = 1, Computation().features
        _LAST.clear()
    for _ in range(2):
        assert torch.equal(cached_features(files, (32, 64), "net", compute), compute.features)
    assert compute.runs == 2
    assert [path.suffix for path in file.parent.iterdir()] == [".safetensors"]  # no temporary file is left


def test_without_a_place_to_write_the_features_are_still_there(files, monkeypatch):
    monkeypatch.setenv("DPSIMS_CACHE", str(files[0]))  # a file
    compute = Computation()
    with pytest.warns(UserWarning, match="cannot be kept.*DPSIMS_CACHE"):
        assert torch.equal(cached_features(files, (32, 64), "net", compute), compute.features)


def test_the_folder_is_in_the_users_home_by_default(monkeypatch):
    monkeypatch.delenv("DPSIMS_CACHE", raising=False)
    assert cache_folder() == Path.home() / ".cache" / "dpsims-augment"

"""Shards on disk: what tar and webdataset read back, the manifest's offsets, the commit mark, the plan's guard."""

import hashlib
import json
import subprocess
import tarfile
import zlib

import pytest
import webdataset

from augment.record import Record
from augment.shards import (
    Sample,
    committed_shards,
    differences,
    first_failure,
    open_manifest,
    read_manifest,
    read_member,
    read_rows,
    read_stats,
    total_of,
    write_manifest,
    write_shard,
)

DESCRIPTION = {"generator_sha256": "ab" * 32, "plan": {"seed": 0, "samples_per_map": 2}}


def sample(index: int, **changes: object) -> Sample:
    """Contents of all lengths around a tar block of 512 bytes."""
    record = Record(f"00003{index:04d}", 3, f"city/map_{index // 2}", "train", index % 2, seed=2**62 + index)
    members = {"jpg": b"j" * (510 + index), "json": b"{}", "seg.png": bytes([index]) * 512 * index}
    options = {"members": members, "class_pixels": (index, 1), "ignored_pixels": 2} | changes
    return Sample(record, **options)


def failed(index: int) -> Sample:
    return sample(index, status="bad_label", error="ids [99]", members={}, class_pixels=(), ignored_pixels=0)


SAMPLES = [sample(0), sample(1), failed(2), failed(3), sample(4), sample(5)]


def test_stats_by_hand(tmp_path):
    stats = write_shard(tmp_path, 3, iter(SAMPLES), num_classes=2)
    assert stats == read_stats(tmp_path, 3)
    assert stats["planned"] == 6
    assert stats["by_status"] == {"bad_label": 2, "ok": 4}
    assert stats["class_pixels"] == [0 + 1 + 4 + 5, 4]
    assert stats["ignored_pixels"] == 8
    tar, jsonl = tmp_path / "00003.tar", tmp_path / "00003.jsonl"
    assert stats["bytes"] == tar.stat().st_size
    assert stats["sha256"]["tar"] == hashlib.sha256(tar.read_bytes()).hexdigest()
    assert stats["sha256"]["jsonl"] == hashlib.sha256(jsonl.read_bytes()).hexdigest()


def test_rows_tell_what_was_planned_and_where_it_lies(tmp_path):
    write_shard(tmp_path, 3, SAMPLES, num_classes=2)
    rows = read_rows(tmp_path, 3)
    assert [row["key"] for row in rows] == [f"00003{i:04d}" for i in range(6)]
    tar = (tmp_path / "00003.tar").read_bytes()
    for row, planned in zip(rows, SAMPLES, strict=True):
        assert row["seed"] == planned.record.seed
        assert (row["source_key"], row["split"]) == (planned.record.source_key, "train")
        assert row["members"].keys() == planned.members.keys()
        for extension, content in planned.members.items():
            offset, size = row["members"][extension]
            assert tar[offset : offset + size] == content == read_member(tmp_path, row, extension)
            assert row["crc32"][extension] == zlib.crc32(content)
    assert rows[2]["status"] == "bad_label" and rows[2]["error"] == "ids [99]"
    assert first_failure(tmp_path) == rows[2]


def test_tar_and_webdataset_read_the_samples_back(tmp_path):
    write_shard(tmp_path, 3, SAMPLES, num_classes=2)
    tar = tmp_path / "00003.tar"
    good = [s for s in SAMPLES if s.status == "ok"]
    names = [f"{s.record.key}.{extension}" for s in good for extension in ("jpg", "json", "seg.png")]
    assert subprocess.run(["tar", "tf", tar], capture_output=True, text=True, check=True).stdout.split() == names
    read = list(webdataset.WebDataset(str(tar), shardshuffle=False))
    assert [item["__key__"] for item in read] == [s.record.key for s in good]
    for item, made in zip(read, good, strict=True):
        assert {extension: item[extension] for extension in made.members} == made.members


def test_bytes_depend_on_the_samples_alone(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        write_shard(tmp_path / name, 3, SAMPLES, num_classes=2)
    for suffix in ("tar", "jsonl", "stats.json"):
        file = f"00003.{suffix}"
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with tarfile.open(tmp_path / "a" / "00003.tar") as archive:
        assert {(m.mtime, m.uid, m.gid, m.mode) for m in archive} == {(0, 0, 0, 0o444)}


def test_a_shard_of_failures_is_an_empty_tar(tmp_path):
    stats = write_shard(tmp_path, 3, [failed(0), failed(1)], num_classes=2)
    assert stats["by_status"] == {"bad_label": 2} and stats["class_pixels"] == [0, 0]
    assert list(webdataset.WebDataset(str(tmp_path / "00003.tar"), shardshuffle=False, empty_check=False)) == []


def test_nothing_has_a_final_name_before_it_is_whole(tmp_path):
    def breaks():
        yield from SAMPLES[:2]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_shard(tmp_path, 3, breaks(), num_classes=2)
    assert list(tmp_path.iterdir()) == [] == committed_shards(tmp_path)
    write_shard(tmp_path, 3, SAMPLES, num_classes=2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["00003.jsonl", "00003.stats.json", "00003.tar"]
    assert committed_shards(tmp_path) == [3]


def test_a_shard_that_another_process_has_committed_stays(tmp_path):
    stats = write_shard(tmp_path, 3, SAMPLES, num_classes=2)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    other = [sample(0, members={"jpg": b"other", "json": b"{}", "seg.png": b"x"}), *SAMPLES[1:]]
    assert write_shard(tmp_path, 3, other, num_classes=2) == stats
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_totals_are_sums(tmp_path):
    stats = write_shard(tmp_path, 3, SAMPLES, num_classes=2)
    totals = total_of([stats, stats])
    assert totals == {
        "shards": 2,
        "planned": 12,
        "by_status": {"bad_label": 4, "ok": 8},
        "bytes": 2 * stats["bytes"],
        "class_pixels": [20, 8],
        "ignored_pixels": 16,
        "perturbations": {},
    }


def test_the_manifest_guards_its_plan(tmp_path):
    folder = tmp_path / "out"
    open_manifest(folder, DESCRIPTION)
    assert read_manifest(folder) == {**DESCRIPTION, "totals": None}
    write_manifest(folder, DESCRIPTION, totals={"shards": 1})
    before = (folder / "shards.json").read_bytes()
    open_manifest(folder, DESCRIPTION)
    changed = json.loads(json.dumps(DESCRIPTION)) | {"plan": {"seed": 5, "samples_per_map": 2, "new": "x"}}
    with pytest.raises(ValueError, match=r"plan.seed: 0 → 5; plan.new: None → 'x'\)"):
        open_manifest(folder, changed)
    assert (folder / "shards.json").read_bytes() == before


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "00000.tar").touch()
    with pytest.raises(ValueError, match="not empty"):
        open_manifest(tmp_path, DESCRIPTION)
    assert [file.name for file in tmp_path.iterdir()] == ["00000.tar"]
    with pytest.raises(FileNotFoundError, match=r"shards\.json is missing"):
        read_manifest(tmp_path)


def test_a_run_that_another_process_starts_at_the_same_time_is_the_same_run(tmp_path, monkeypatch):
    open_manifest(tmp_path, DESCRIPTION)
    monkeypatch.setattr(type(tmp_path), "exists", lambda path: path.name != "shards.json")  # as it was a moment ago
    open_manifest(tmp_path, DESCRIPTION)
    with pytest.raises(ValueError, match="holds shards of another plan"):
        open_manifest(tmp_path, {"generator_sha256": "0"})


def test_a_run_killed_while_starting_starts_again(tmp_path):
    (tmp_path / "shards.json.host-1-0.part").write_text("{")
    open_manifest(tmp_path, DESCRIPTION)
    assert read_manifest(tmp_path) == {**DESCRIPTION, "totals": None}


def test_differences_name_nested_values():
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "d": 3}) == ["a.c: 2 → 4"]

"""Samples made again: the same bits from the same generator, and a fault where it was another one or another seed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from faulty_shards import edit_manifest, edit_rows, rewrite, swap, write_sound_shards
from run_tool import run_tool
from test_synthesize import SETTINGS, FakeGenerator, make, perturbation_of, plan_of, snapshot_of
from test_synthesize_tool import TINY

from augment.factory import Settings
from augment.shards import read_manifest, read_rows
from augment.synthesize import synthesize
from augment.verify.resynthesize import Resynthesis, check_generator, resynthesize
from augment.verify.walk import verify
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette, encode_label_png
from dpsims.sample import load_generator, save_generator


class OtherGenerator(FakeGenerator):
    """Paints brighter by a twentieth of the range."""

    def decode(self, *inputs: torch.Tensor) -> torch.Tensor:
        return super().decode(*inputs) + 0.1


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write_sound_shards(tmp_path_factory.mktemp("resynthesize"))


@pytest.fixture
def shards(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "shards"))


def again(folder: Path, generator: FakeGenerator | None = None, **options: object) -> Resynthesis:
    snapshot = snapshot_of(generator or FakeGenerator())
    settings = check_generator(folder, snapshot)
    defaults = {"per_shard": 2, "tolerance": 2.0, "seed": 0, "batch_size": 4, "threads": 2}
    return resynthesize(folder, snapshot, settings, device=torch.device("cpu"), **(defaults | options))


def test_the_same_generator_makes_the_same_bits(sound):
    result = again(sound)
    assert result == Resynthesis(compared=6, bit_equal=6)
    assert again(sound, per_shard=100, batch_size=1) == Resynthesis(compared=12, bit_equal=12)  # all that are ok


@pytest.mark.parametrize("settings", [Settings("png", None), Settings("webp", 80), replace(SETTINGS, bf16=True)])
def test_formats_variants_and_precision_are_those_of_the_plan(sound, tmp_path, settings):
    plan = {"samples": [1, 2, 5, 1, 2], "shard_size": 6, "variants": 2}
    make(sound.parent / "labels", tmp_path / "out", settings=settings, plan=plan)
    assert again(tmp_path / "out", per_shard=9) == Resynthesis(compared=10, bit_equal=10)


def test_perturbed_label_maps_are_taken_from_the_shards(sound, tmp_path):
    labels = Path(shutil.copytree(sound.parent / "labels", tmp_path / "labels"))
    (labels / "map_3.png").unlink()
    plan = {"samples": 4, "shard_size": 8, "variants": 2}
    make(labels, tmp_path / "out", plan=plan, perturbation=perturbation_of(labels))
    assert any(row["perturbations"] for row in read_rows(tmp_path / "out", 0))
    assert verify(tmp_path / "out", threads=2).faults == []
    assert again(tmp_path / "out", per_shard=9) == Resynthesis(compared=16, bit_equal=16)


def test_batches_are_those_of_the_run(tmp_path, sound):
    """The batch that holds a chosen sample is made as a whole, with the same label maps, and no other one is."""
    plan = {"samples": [1, 2, 1, 1, 5], "shard_size": 10}
    first, second = FakeGenerator(), FakeGenerator()
    make(sound.parent / "labels", tmp_path / "out", first, plan=plan)
    again(tmp_path / "out", second, per_shard=100)
    assert second.decoded == first.decoded == [4, 4, 1]  # map_3 is bad: it takes a place in its batch, but no pass
    third = FakeGenerator()
    result = again(tmp_path / "out", third, per_shard=1)
    assert result.compared == 1 and third.decoded in ([4], [4, 1])


def test_a_bad_label_map_takes_its_place_in_a_batch_as_one(sound, tmp_path):
    labels = Path(shutil.copytree(sound.parent / "labels", tmp_path / "labels"))
    shutil.copy(labels / "map_0.png", labels / "map_3.png")
    (labels / "map_1.png").write_bytes(b"no image")
    plan = {"samples": [4, 8, 4, 4, 4], "shard_size": 40, "variants": 2}
    first, second = FakeGenerator(), FakeGenerator()
    make(labels, tmp_path / "out", first, plan=plan, batch_size=10)
    again(tmp_path / "out", second, per_shard=100, batch_size=10)
    assert second.decoded == first.decoded == [4, 2, 10]


def test_the_seed_decides_which_samples(sound, monkeypatch):
    keys = []
    monkeypatch.setattr("augment.verify.resynthesize.compare", lambda result, folder, row, *_: keys.append(row["key"]))
    for seed in (0, 0, 1):
        again(sound, seed=seed)
    assert keys[:6] == keys[6:12] != keys[12:]
    assert {key[:5] for key in keys[:6]} == {"00000", "00001", "00002"}


def test_another_generator_is_told_by_its_images(sound):
    result = again(sound, OtherGenerator(), per_shard=100)
    assert result.bit_equal == 0 and len(result.findings) == result.compared == 12
    assert {finding.kind for finding in result.findings} == {"resynthesis"}
    difference, key = result.worst
    assert 8 < difference < 13  # a twentieth of 255, where nothing is clamped
    told = next(finding.message for finding in result.findings if finding.key == key)
    assert f"{difference:.2f} grey levels" in told
    lenient = again(sound, OtherGenerator(), per_shard=100, tolerance=13.0)
    assert lenient.findings == [] and lenient.worst == result.worst


def test_a_forgery_without_a_contradiction_is_told_by_its_images(shards):
    """The label maps of two sources change places in all samples, with every hash: only the generator knows."""

    def forge(members: dict[str, bytes], rows: list[dict]) -> None:
        for i in range(3):
            of_first, of_second = (json.loads(members[f"00000000{k}.json"]) for k in (i, i + 3))
            swap(members, i, i + 3)
            for k, meta, other in ((i, of_first, of_second), (i + 3, of_second, of_first)):
                members[f"00000000{k}.json"] = json.dumps(meta | {"label_sha256": other["label_sha256"]}).encode()

    rewrite(shards, 0, forge)
    assert verify(shards, threads=1).findings == []
    assert len({finding.key for finding in again(shards, per_shard=100).findings}) == 6


def test_the_label_map_and_the_seed_are_those_of_the_sample(shards):
    edit_rows(shards, lambda rows: rows[5].update(seed=1))
    assert {finding.key for finding in again(shards, per_shard=100).findings} == {"000000005"}
    other = encode_label_png(np.zeros((16, 24), np.uint8))
    rewrite(shards, 1, lambda members, rows: members.update({"000010001.seg.png": other}))
    found = {finding.key for seed in range(9) for finding in again(shards, per_shard=1, seed=seed).findings}
    assert found == {"000000005", "000010001"}


def test_broken_files_are_faults_and_broken_rows_are_left_out(shards):
    rewrite(shards, 0, lambda members, rows: members.update({"000000001.jpg": b"x", "000000003.seg.png": b"x"}))
    edit_rows(shards, lambda rows: rows[0].pop("seed"), shard=1)
    (shards / "00002.tar").unlink()
    result = again(shards, per_shard=100)
    told = {finding.key: finding.message for finding in result.findings}
    assert "cannot be compared" in told["000000001"] and "cannot be made again" in told["000000003"]
    assert {key[:5] for key in told} == {"00000"} and result.compared == 3


def test_generators_that_cannot_have_made_them_are_refused(sound, shards):
    with pytest.raises(ValueError, match="takes instances, and shards hold no instance maps"):
        check_generator(sound, snapshot_of(FakeGenerator(), instances=True))
    with pytest.raises(ValueError, match=r"height x width of the shards: \(16, 24\), of the generator: \(16, 32\)"):
        check_generator(sound, snapshot_of(FakeGenerator(), width=32))
    with pytest.raises(ValueError, match="classes of the shards: .*of the generator: "):
        check_generator(sound, snapshot_of(FakeGenerator(), LabelSpace(("sky", "road"), default_palette(2))))
    edit_manifest(shards, lambda manifest: manifest["plan"].pop("bf16"))
    with pytest.raises(ValueError, match="does not say how they were made: 'bf16'"):
        check_generator(shards, snapshot_of(FakeGenerator()))


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    """A run folder and shards that its generator made, by the factory as the tool calls it."""

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("real")
    space = LabelSpace(("sky", "road", "car"), default_palette(3))
    (root / "run").mkdir()
    save_generator(root / "run", Generator(**TINY), TINY, space, {"images_seen": 1000})
    write_sound_shards(root)
    snapshot, plan = load_generator(root / "run"), plan_of(root / "labels")
    synthesize(snapshot, plan, root / "made", SETTINGS, device="cpu", batch_size=8, threads=1)
    return root


@pytest.fixture
def tool(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the tool; gives its exit code and what it printed, (stdout, stderr)."""

    def run(*options: object) -> tuple[int, str, str]:
        return run_tool(monkeypatch, capsys, "verify_shards", *options)

    return run


def test_the_tool_finds_sound_shards_sound(tool, real, tmp_path):
    out = tmp_path / "new" / "verdict.json"
    code, printed, _ = tool(
        real / "made", "--generator", real / "run", "--resynthesize", "2", "--device", "cpu", "--out", out
    )
    assert code == 0 and printed.rstrip().endswith("sound")
    assert "looked at: 12 images in 3 shards" in printed
    assert "made again: 6 images on cpu in fp32, batch size 8: 6 bit-equal\n" in printed
    verdict = json.loads(out.read_text())
    assert verdict["sound"] and verdict["findings"] == [] and verdict["made_again"]["bit_equal"] == 6


def test_the_tool_names_faults_counts_them_and_writes_them(tool, real, shards, tmp_path):
    edit_rows(shards, lambda rows: [row.update(seed=row["seed"] + 1) for row in rows])
    code, printed, _ = tool(shards, "--generator", real / "run", "--out", tmp_path / "verdict.json")
    assert code == 1 and "FAULTS: 13" in printed
    assert "6  seed " in printed and "6  meta " in printed and "1  generator " in printed
    assert printed.count("that of 'map_0', sample") == 3 and "and 6 more; --all" in printed
    assert f"the one that is given is {read_manifest(real / 'made')['generator_sha256'][:12]}" in printed
    assert tool(shards, "--all")[1].count(" seed: the seed is ") == 6
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["counts"] == {"generator": 1, "seed": 6, "meta": 6} and not verdict["sound"]
    assert {"shard": None, "key": None, "kind": "generator", "fault": True}.items() <= verdict["findings"][0].items()
    assert len(verdict["findings"]) == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--resynthesize", "2"], "needs --generator"),
        (["--resynthesize", "-1"], "--resynthesize is at least 0, not -1"),
        (["--threads", "0"], "--threads is at least 1, not 0"),
        (["--tolerance", "nan"], "--tolerance is at least 0, not nan"),
    ],
)
def test_the_tool_refuses_what_makes_no_sense(tool, sound, options, message):
    code, _, printed = tool(sound, *options)
    assert code == 2 and message in printed


def test_findings_are_written_over_nothing_of_the_shards(tool, sound, tmp_path):
    before = (sound / "shards.json").read_bytes()
    code, _, printed = tool(sound, "--out", sound / "shards.json")
    assert code == 2 and "shards.json is to lie outside of the shards" in printed
    assert (sound / "shards.json").read_bytes() == before
    code, printed, said = tool(sound, "--out", tmp_path)
    assert code == 2 and f"--out {tmp_path} is to be a file" in said and "looked at" not in printed


def test_the_tool_refuses_other_folders_and_other_generators(tool, sound, real, tmp_path):
    assert tool(tmp_path)[0] == 2
    code, _, printed = tool(sound, "--generator", real / "run", "--resynthesize", "1", "--device", "cpu")
    assert code == 2 and "height x width of the shards: (16, 24), of the generator: (32, 64)" in printed

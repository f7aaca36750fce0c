"""The factory's truths, with a three-line fake generator."""

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from augment.factory import IMAGE_FORMATS, Settings, encode_image
from augment.perturb.pipeline import Perturbation
from augment.perturb.recipe import Recipe
from augment.plan import Plan
from augment.shards import read_manifest, read_member, read_rows
from augment.sources import find_label_maps
from augment.survey import Reader, survey
from augment.synthesize import Part, synthesize
from dpsims.frame import fit_label_map
from dpsims.instances import centre_offsets
from dpsims.labels import LabelSpace, default_palette, encode_label_png, read_label_map
from dpsims.sample import Snapshot, noise, sample_seed

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))
HEIGHT, WIDTH, Z_DIM = 16, 24, 4
SETTINGS = Settings()


class FakeGenerator(nn.Module):
    """An image is a function of its label map and its z; notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded, self.decoded = 0, []

    def encode(self, label_map: torch.Tensor) -> torch.Tensor:
        self.encoded += len(label_map)
        return label_map.float()

    def decode(self, conditioning: torch.Tensor, z: torch.Tensor, index: torch.Tensor | None = None) -> torch.Tensor:
        self.decoded.append(len(z))
        if index is None:
            assert len(z) % len(conditioning) == 0
            index = torch.arange(len(conditioning)).repeat_interleave(len(z) // len(conditioning))
        maps = conditioning[index]
        return torch.sin(maps[:, None] + z[:, :3, None, None])


class BreakingGenerator(FakeGenerator):
    """Calls `accident` instead of decoding for the `calls`-th time."""

    def __init__(self, calls: int, accident) -> None:
        super().__init__()
        self.calls, self.accident = calls, accident

    def decode(self, *inputs: torch.Tensor) -> torch.Tensor:
        if len(self.decoded) + 1 == self.calls:
            self.accident()
        return super().decode(*inputs)


def snapshot_of(generator: nn.Module, space: LabelSpace = SPACE, **changes: object) -> Snapshot:
    size = {"height": HEIGHT, "width": WIDTH, "z_dim": Z_DIM}
    return Snapshot(generator, space, **(size | {"instances": False, "sha256": "f" * 64, "images_seen": 9} | changes))


def plan_of(
    labels: Path, *, samples: int | list[int] = 3, shard_size: int = 6, seed: int = 5, variants: int = 1
) -> Plan:
    sources = find_label_maps(labels)
    counts = samples if isinstance(samples, list) else [samples] * len(sources)
    return Plan(sources, counts, shard_size=shard_size, seed=seed, variants=variants)


def make(
    labels: Path,
    out: Path,
    generator: nn.Module | None = None,
    settings: Settings = SETTINGS,
    plan: dict | None = None,
    **options,
) -> dict | None:
    snapshot = snapshot_of(generator or FakeGenerator())
    run = {"device": "cpu", "batch_size": 4, "threads": 2} | options
    return synthesize(snapshot, plan_of(labels, **(plan or {})), out, settings, **run)


def tree(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def all_rows(folder: Path) -> list[dict]:
    return [row for shard in range(len(list(folder.glob("*.jsonl")))) for row in read_rows(folder, shard)]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Five label maps, twice the generator's size."""
    folder = tmp_path / "labels"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        label_map = rng.choice(np.array([0, 1, 2, 255], np.uint8), (HEIGHT // 4, WIDTH // 4)).repeat(8, 0).repeat(8, 1)
        (folder / f"map_{i}.png").write_bytes(encode_label_png(label_map))
    return folder


def test_a_sample_is_what_its_record_says(labels, tmp_path):
    totals = make(labels, tmp_path / "out")
    rows = all_rows(tmp_path / "out")
    assert totals["by_status"] == {"ok": 15} and totals["shards"] == 3
    assert read_manifest(tmp_path / "out")["totals"] == totals
    pixels = np.zeros(256, int)
    planned = [(f"map_{i}", k) for i in range(5) for k in range(3)]
    assert [(row["source_key"], row["sample_index"]) for row in rows] == planned
    for row in rows:
        assert row["seed"] == sample_seed(5, row["source_key"], row["sample_index"])
        label_map = fit_label_map(read_label_map(labels / f"{row['source_key']}.png", SPACE), HEIGHT, WIDTH)
        assert np.array_equal(read_label_map(read_member(tmp_path / "out", row, "seg.png"), SPACE), label_map)
        pixels += np.bincount(label_map.ravel(), minlength=256)

        z = noise([row["seed"]], Z_DIM)[0, :3].numpy()
        expected = np.round((np.sin(label_map[..., None] + z) + 1) * 127.5)
        image = np.array(Image.open(io.BytesIO(read_member(tmp_path / "out", row, "jpg"))))
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(image - expected).mean() < 4  # JPEG

        meta = json.loads(read_member(tmp_path / "out", row, "json"))
        assert set(meta["versions"]) == {"dpsims-augment", "torch"}
        assert meta == {name: row[name] for name in ("source_key", "split", "variant", "sample_index", "seed")} | {
            "perturbations": [],
            "generator_sha256": "f" * 64,
            "label_sha256": hashlib.sha256(label_map.tobytes()).hexdigest(),
            "versions": meta["versions"],
        }
    assert totals["class_pixels"] == pixels[:3].tolist() and totals["ignored_pixels"] == pixels[255]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7, 16])
def test_the_batch_does_not_matter_and_a_map_is_encoded_once(labels, tmp_path, batch_size):
    make(labels, tmp_path / "one", batch_size=1, threads=1)
    generator = FakeGenerator()
    make(labels, tmp_path / "many", generator, batch_size=batch_size, threads=3)
    assert tree(tmp_path / "one") == tree(tmp_path / "many")
    assert generator.encoded == 5
    assert sum(generator.decoded) == 15 and max(generator.decoded) <= batch_size


@pytest.mark.parametrize(("samples", "decoded"), [(8, [4, 4] * 5), (5, [4, 1] * 5), (2, [4, 2, 4])])
def test_batches_are_pieces_of_a_map_or_whole_maps(labels, tmp_path, samples, decoded):
    generator = FakeGenerator()
    make(labels, tmp_path / "out", generator, plan={"samples": samples, "shard_size": 3 * samples}, batch_size=4)
    assert generator.decoded == decoded


LONG = {"samples": 40, "shard_size": 40}  # a shard for each label map, ten batches of four
BREAK = (
    38  # the batch that never comes, of the fourth shard: what is under way then is of no earlier one than the third
)


def test_a_run_that_broke_goes_on_to_the_same_bytes(labels, tmp_path):
    make(labels, tmp_path / "whole", plan=LONG)
    whole = tree(tmp_path / "whole")

    def accident():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        make(labels, tmp_path / "out", BreakingGenerator(BREAK, accident), plan=LONG)
    left = tree(tmp_path / "out")
    assert json.loads(left.pop("shards.json"))["totals"] is None
    assert {"00000.stats.json", "00001.stats.json"} <= left.keys() and "00003.stats.json" not in left
    assert left == {name: whole[name] for name in left}  # nothing half-written
    before = {name: (tmp_path / "out" / name).stat() for name in left}

    generator = FakeGenerator()
    make(labels, tmp_path / "out", generator, plan=LONG)
    assert generator.encoded == 5 - len(left) // 3  # the maps of the shards that were missing
    assert tree(tmp_path / "out") == whole
    for name, stat in before.items():
        after = (tmp_path / "out" / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (stat.st_ino, stat.st_mtime_ns)


def test_a_killed_process_goes_on_to_the_same_bytes(labels, tmp_path):
    make(labels, tmp_path / "whole", plan=LONG)
    whole = tree(tmp_path / "whole")
    killed = subprocess.run([sys.executable, __file__, labels, tmp_path / "out"], cwd=Path(__file__).parents[1])
    assert killed.returncode == -signal.SIGKILL
    left = tree(tmp_path / "out")
    assert {"00000.stats.json", "00001.stats.json"} <= left.keys() and "00003.stats.json" not in left
    finished = {name for name in left if not name.endswith(".part")} - {"shards.json"}
    assert all(left[name] == whole[name] for name in finished)
    make(labels, tmp_path / "out", plan=LONG)
    assert tree(tmp_path / "out") == whole


def test_label_maps_with_different_numbers_of_samples(labels, tmp_path):
    plan = {"samples": [1, 4, 2, 5, 1], "shard_size": 7}
    make(labels, tmp_path / "one", plan=plan, batch_size=1)
    generator = FakeGenerator()
    make(labels, tmp_path / "many", generator, plan=plan, batch_size=4)
    assert tree(tmp_path / "one") == tree(tmp_path / "many")
    assert generator.decoded == [1, 4, 2, 4, 1, 1] and generator.encoded == 5
    made = [(row["source_key"], row["sample_index"]) for row in all_rows(tmp_path / "many")]
    assert made == [(f"map_{i}", k) for i, count in enumerate(plan["samples"]) for k in range(count)]


RECIPE = {"things": ["car"], "ops": [{"op": "flip", "p": 0.5}, {"op": "shift", "p": 1.0}, {"op": "drop", "p": 0.5}]}


def perturbation_of(labels: Path, recipe: dict = RECIPE) -> Perturbation:
    recipe = Recipe.from_dict(recipe, SPACE)
    sources, reader = find_label_maps(labels), Reader(SPACE, (HEIGHT, WIDTH), instances=False)
    return survey(sources, reader, recipe, threads=2).perturbation(recipe, reader)


def test_variants_are_perturbed_label_maps_that_their_records_replay(labels, tmp_path):
    perturbation = perturbation_of(labels)
    plan = {"samples": 4, "shard_size": 8, "variants": 2}
    generator = FakeGenerator()
    totals = make(labels, tmp_path / "out", generator, plan=plan, perturbation=perturbation)
    assert generator.encoded == 10 and sum(generator.decoded) == 20  # each variant once for its two samples
    counts: Counter[str] = Counter()
    made = set()
    for row in all_rows(tmp_path / "out"):
        assert row["variant"] == row["sample_index"] // 2
        scene = Reader(SPACE, (HEIGHT, WIDTH), instances=False)(
            next(it for it in find_label_maps(labels) if it.source_key == row["source_key"])
        )
        meta = json.loads(read_member(tmp_path / "out", row, "json"))
        assert [done["op"] for done in meta["perturbations"]] == row["perturbations"]
        label_map = read_label_map(read_member(tmp_path / "out", row, "seg.png"), SPACE)
        np.testing.assert_array_equal(perturbation.replay(scene, meta["perturbations"]).label_map, label_map)
        made.add((row["source_key"], row["variant"], label_map.tobytes()))
        if row["sample_index"] % 2 == 0:
            seed = plan_of(labels, **plan).variant_seed(row["source_key"], row["variant"])
            counts += perturbation.perturb(scene, seed).counts
    assert len(made) == 10 and len({label_map for _, _, label_map in made}) > 5
    assert totals["perturbations"] == dict(sorted(counts.items())) and counts["shift.done"] == 10
    for batch_size in (1, 16):
        make(labels, tmp_path / str(batch_size), plan=plan, perturbation=perturbation, batch_size=batch_size)
        assert tree(tmp_path / str(batch_size)) == tree(tmp_path / "out")

    other = perturbation_of(labels, {**RECIPE, "ops": RECIPE["ops"][:1]})
    with pytest.raises(ValueError, match=r"plan.perturbation.ops: .* → "):
        make(labels, tmp_path / "out", plan=plan, perturbation=other)
    with pytest.raises(ValueError, match=r"plan.perturbation: .* → None"):
        make(labels, tmp_path / "out", plan=plan)
    (labels / "map_1.png").write_bytes(encode_label_png(np.zeros((HEIGHT, WIDTH), np.uint8)))
    with pytest.raises(ValueError, match="plan.perturbation.statistics_sha256"):
        make(labels, tmp_path / "out", plan=plan, perturbation=perturbation_of(labels))


def test_parts_are_every_nth_shard_and_the_last_one_adds_up(labels, tmp_path):
    make(labels, tmp_path / "whole")
    assert make(labels, tmp_path / "out", part=Part(1, 2)) is None
    assert json.loads(tree(tmp_path / "out")["shards.json"])["totals"] is None
    assert {name[:5] for name in tree(tmp_path / "out")} == {"00001", "shard"}
    generator = FakeGenerator()
    assert make(labels, tmp_path / "out", generator, part=Part(0, 2))["by_status"] == {"ok": 15}
    assert generator.encoded == 3 and tree(tmp_path / "out") == tree(tmp_path / "whole")
    with pytest.raises(ValueError, match="part 2 of 2"):
        Part(2, 2)


def test_a_finished_run_makes_nothing_again(labels, tmp_path):
    first = make(labels, tmp_path / "out")
    before = tree(tmp_path / "out")
    generator = FakeGenerator()
    assert make(labels, tmp_path / "out", generator) == first
    assert generator.encoded == 0 and tree(tmp_path / "out") == before


def test_another_plan_is_refused_with_what_changed(labels, tmp_path):
    make(labels, tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="plan.images: 15 → 10; plan.samples_per_map: 3 → 2; .*plan.seed: 5 → 0"):
        make(labels, tmp_path / "out", plan={"samples": 2, "shard_size": 4, "seed": 0})
    (labels / "map_3.png").rename(labels / "other.png")
    with pytest.raises(ValueError, match="label_names_sha256"):
        make(labels, tmp_path / "out")
    assert tree(tmp_path / "out") == before


def test_ids_of_the_files_are_mapped(labels, tmp_path):
    """Files that number car, sky, road as 1, 2, 3, with 0 for nothing, give the shards of the generator's own ids."""
    raw, folder = np.zeros(256, np.uint8), tmp_path / "raw"
    raw[[2, 0, 1]] = 1, 2, 3
    folder.mkdir()
    for file in labels.iterdir():
        (folder / file.name).write_bytes(encode_label_png(raw[np.array(Image.open(file))]))
    settings = replace(SETTINGS, raw_to_id={3: 1, 0: 255, 1: 2, 2: 0})
    make(labels, tmp_path / "own")
    make(folder, tmp_path / "mapped", settings=settings)
    own, mapped = tree(tmp_path / "own"), tree(tmp_path / "mapped")
    plans = [json.loads(files.pop("shards.json")) for files in (own, mapped)]
    assert own == mapped
    assert [plan["plan"].pop("raw_to_id") for plan in plans] == [None, "0:255 1:2 2:0 3:1"]
    assert plans[0] == plans[1]  # the label space is that of the shards
    make(folder, tmp_path / "mapped", settings=settings)  # goes on
    with pytest.raises(ValueError, match="plan.raw_to_id: '0:255 1:2 2:0 3:1' → None"):
        make(folder, tmp_path / "mapped")
    with pytest.raises(ValueError, match="plan.raw_to_id: None → '0:255"):
        make(labels, tmp_path / "own", settings=settings)
    Image.fromarray(np.full((4, 4), 4, np.uint8)).save(folder / "map_0.png")  # which the files have no meaning for
    assert make(folder, tmp_path / "bad", settings=settings)["by_status"] == {"bad_label": 3, "ok": 12}


def test_shards_from_before_the_mapping_go_on_where_there_is_none(labels, tmp_path):
    make(labels, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "shards.json").read_text())
    del manifest["plan"]["raw_to_id"]
    (tmp_path / "out" / "shards.json").write_text(json.dumps(manifest))
    make(labels, tmp_path / "out")
    with pytest.raises(ValueError, match="plan.raw_to_id: None → '1:0'"):
        make(labels, tmp_path / "out", settings=replace(SETTINGS, raw_to_id={1: 0}))


def test_bad_label_maps_are_rows(labels, tmp_path):
    (labels / "map_0.png").write_bytes(b"no image")
    (labels / "map_2.png").write_bytes(encode_label_png(np.full((4, 4), 7, np.uint8)))
    Image.new("RGB", (8, 8)).save(labels / "map_3.png")
    totals = make(labels, tmp_path / "out")
    assert totals["by_status"] == {"bad_label": 9, "ok": 6}
    errors = {row["source_key"]: row["error"] for row in all_rows(tmp_path / "out") if row["status"] == "bad_label"}
    assert "cannot be read" in errors["map_0"]
    assert "ids [7] outside the 3 classes" in errors["map_2"]
    assert "'RGB'" in errors["map_3"]
    assert not any(str(tmp_path) in error for error in errors.values())  # shards tell nothing of the machine
    good = [row["source_key"] for row in all_rows(tmp_path / "out") if row["members"]]
    assert good == ["map_1"] * 3 + ["map_4"] * 3
    make(labels, tmp_path / "again", batch_size=9)
    assert tree(tmp_path / "again") == tree(tmp_path / "out")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE])
def test_what_says_nothing_of_a_label_map_ends_the_run(labels, tmp_path, monkeypatch, number):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dpsims.labels.Image.open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        make(labels, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.stats.json"))


def test_all_label_maps_bad_is_an_error_that_shows_one(labels, tmp_path):
    for file in labels.iterdir():
        file.write_bytes(encode_label_png(np.full((4, 4), 33, np.uint8)))
    for _ in range(2):  # also when all shards are there
        with pytest.raises(ValueError, match=r"none of the 15 samples.*ids \[33\]"):
            make(labels, tmp_path / "out")


def test_an_image_that_is_not_finite_is_a_row(labels, tmp_path):
    class Overflowing(FakeGenerator):
        def decode(self, *inputs: torch.Tensor) -> torch.Tensor:
            images = super().decode(*inputs)
            images[-1, 0, 0, 0] = torch.nan
            return images

    totals = make(labels, tmp_path / "out", Overflowing(), batch_size=3)
    assert totals["by_status"] == {"bad_image": 5, "ok": 10}
    bad = [row for row in all_rows(tmp_path / "out") if row["status"] == "bad_image"]
    assert {row["sample_index"] for row in bad} == {2} and all(row["members"] == {} for row in bad)


@pytest.mark.parametrize(("image_format", "quality"), [("jpg", 95), ("webp", 95), ("png", None)])
def test_image_formats(labels, tmp_path, image_format, quality):
    make(labels, tmp_path / "out", settings=Settings(image_format, quality))
    row = all_rows(tmp_path / "out")[0]
    assert set(row["members"]) == {image_format, "json", "seg.png"}
    with Image.open(io.BytesIO(read_member(tmp_path / "out", row, image_format))) as image:
        assert (image.format, image.size) == (IMAGE_FORMATS[image_format], (WIDTH, HEIGHT))


def test_jpeg_keeps_colour_at_full_resolution_and_png_every_value():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert np.array_equal(Image.open(io.BytesIO(encode_image(image, "png", None))), image)
    layers = Image.open(io.BytesIO(encode_image(image, "jpg", 95))).layer
    assert {(horizontal, vertical) for _, horizontal, vertical, _ in layers} == {(1, 1)}
    assert len(encode_image(image, "jpg", 50)) < len(encode_image(image, "jpg", 95))


@pytest.mark.parametrize(
    "options", [{"image_format": "gif"}, {"quality": 0}, {"quality": None}, {"image_format": "png", "quality": 95}]
)
def test_settings_without_meaning_are_refused(options):
    with pytest.raises(ValueError, match="quality|format"):
        Settings(**options)


class InstanceGenerator(FakeGenerator):
    """Paints the offsets."""

    def encode(self, label_map: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        self.offsets = offsets
        return super().encode(label_map) + offsets[:, 0]


def test_a_generator_of_instances_gets_their_offsets(labels, tmp_path):
    snapshot = snapshot_of(InstanceGenerator(), instances=True)
    run = {"settings": SETTINGS, "device": "cpu", "batch_size": 5, "threads": 1}
    options = {"samples": 1, "shard_size": 5}
    with pytest.raises(ValueError, match=r"instances, which 5 of 5 label maps lack, such as .*map_0.png"):
        synthesize(snapshot, plan_of(labels, **options), tmp_path / "out", **run)

    (tmp_path / "instances").mkdir()
    for i in range(5):
        instances = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint16)
        instances[4:12, 8:16] = 300 + i
        if i == 3:
            instances = instances[1:]
        Image.fromarray(instances).save(tmp_path / "instances" / f"map_{i}.png")
    totals = synthesize(snapshot, plan_of(labels, **options), tmp_path / "out", **run)
    assert totals["by_status"] == {"bad_label": 1, "ok": 4}
    failed = next(row for row in all_rows(tmp_path / "out") if row["status"] != "ok")
    assert failed["error"] == "instances of map_3 is (48, 31), its image is (48, 32) (width, height)"
    small = np.zeros((HEIGHT, WIDTH), np.int64)
    small[2:6, 4:8] = 1
    np.testing.assert_array_equal(snapshot.generator.offsets[0].numpy(), centre_offsets(small))
    meta = json.loads(read_member(tmp_path / "out", all_rows(tmp_path / "out")[0], "json"))
    assert meta["offsets_sha256"] == hashlib.sha256(centre_offsets(small)).hexdigest()


if __name__ == "__main__":  # the process that test_a_killed_process… starts: it dies in the midst of its work
    kill = BreakingGenerator(BREAK, lambda: os.kill(os.getpid(), signal.SIGKILL))
    make(Path(sys.argv[1]), Path(sys.argv[2]), kill, plan=LONG)

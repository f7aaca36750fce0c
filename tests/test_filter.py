"""Filters: rules by hand, decisions by hand, and what is written, whoever writes it and however often."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from filter_shards import HEIGHT, SPACE, WIDTH, ByColour, planted, run, scene, write_planted
from jaxtyping import Float32
from mmseg_data import jpeg

from augment.filter.calibrate import load_calibration
from augment.filter.decide import decide, fake_limit
from augment.filter.neighbours import CHUNK, Neighbours
from augment.filter.rules import ClassLosses, PixelRule, SampleRules, average, reject
from augment.filter.run import SUMMARY, kept_keys, read_decisions
from augment.filter.scorer import Images, LabelMaps
from augment.record import Record
from augment.shards import (
    Sample,
    open_manifest,
    read_member,
    read_rows,
    shard_file,
    total_of,
    write_manifest,
    write_shard,
)
from augment.synthesize import Part
from dpsims.labels import encode_label_png, read_label_map


def losses(*values: list[float | int]) -> Float32[np.ndarray, "h w"]:
    return np.array(values, np.float32)


def labels(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


# Rules ---------------------------------------------------------------------------------------------------------------


def test_freemask_by_hand():
    """h_c over all pixels of the class in all real images; above 1.25 h_c a synthetic pixel becomes 255."""
    real = ClassLosses(3)
    real.add(losses([0.1, 0.3], [1.0, 9.0]), labels([0, 0], [1, 255]))
    real.add(losses([0.2, 0.2], [2.0, 3.0]), labels([0, 0], [1, 1]))
    assert real.pixels.tolist() == [4, 3, 0]
    np.testing.assert_allclose(real.mean(), [0.2, 2.0, np.nan])
    limits = PixelRule(tolerance=1.25).limits(real)
    np.testing.assert_allclose(limits, [0.25, 2.5, np.inf])
    kept = reject(losses([0.24, 0.26, 2.4], [2.6, 99.0, 0.0]), labels([0, 0, 1], [1, 2, 255]), limits)
    assert kept.tolist() == [[0, 255, 1], [255, 2, 255]]  # no real car was seen: nothing is known of its losses


def test_quantiles_are_those_of_the_pixels_but_for_the_width_of_a_bin():
    rng = np.random.default_rng(0)
    values = rng.lognormal(-2, 1.5, (100, 90)).astype(np.float32)
    label_map = rng.integers(0, 2, values.shape, np.uint8)
    real = ClassLosses(3)
    for half in (slice(0, 50), slice(50, 100)):
        real.add(values[half], label_map[half])
    for share in (0.05, 0.5, 0.95):
        exact = [np.quantile(values[label_map == label], share) for label in (0, 1)]
        np.testing.assert_allclose(real.quantile(share)[:2], exact, rtol=0.02)
        passing = [(values[label_map == label] <= real.quantile(share)[label]).mean() for label in (0, 1)]
        assert all(found >= share for found in passing)
    assert np.isnan(real.quantile(0.5)[2]) and PixelRule(quantile=0.5).limits(real)[2] == np.inf


def test_losses_beyond_the_bins_are_counted():
    real = ClassLosses(1)
    real.add(losses([0.0, 0.0], [1e5, 1e5]), labels([0, 0], [0, 0]))
    assert real.quantile(0.5)[0] == pytest.approx(1e-6) and real.quantile(0.6)[0] == np.inf


def test_losses_are_averaged_within_the_class():
    found = average(losses([3, 0, 6, 9], [0, 3, 6, 0]), labels([0, 0, 1, 1], [0, 0, 1, 2]), 3)
    np.testing.assert_allclose(found, [[1.5, 1.5, 7, 7], [1.5, 1.5, 7, 0]], atol=1e-5)
    rng = np.random.default_rng(0)
    values, label_map = rng.random((12, 15)).astype(np.float32), rng.integers(0, 3, (12, 15), np.uint8)
    found = average(values, label_map, 5)
    for y, x in ((0, 0), (6, 7), (11, 3)):
        square = (slice(max(0, y - 2), y + 3), slice(max(0, x - 2), x + 3))
        assert found[y, x] == pytest.approx(values[square][label_map[square] == label_map[y, x]].mean(), rel=1e-4)
    assert average(values, label_map, 1) is values


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PixelRule, {}, "two ways"),
        (PixelRule, {"tolerance": 1.25, "quantile": 0.9}, "two ways"),
        (PixelRule, {"tolerance": 0}, "--tolerance is more than 0, not 0"),
        (PixelRule, {"quantile": 1.0}, "--quantile is more than 0 and less than 1, not 1.0"),
        (PixelRule, {"tolerance": 1, "window": 4}, "--window is an odd number of pixels, not 4"),
        (SampleRules, {"max_rejected": 1.5}, "--max-rejected is a share from 0 to 1, not 1.5"),
        (SampleRules, {"drop_fakest": 1}, "--drop-fakest is a share"),
        (SampleRules, {"min_novelty": -1}, "--min-novelty is at least 0, not -1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


# Decisions -----------------------------------------------------------------------------------------------------------


def row(key: str, source: str = "a", **values: object) -> dict:
    return {
        "key": key,
        "source_key": source,
        "status": "ok",
        "error": None,
        "labelled": 100,
        "rejected": 10,
        "fake": 0.5,
        "novelty": 2.0,
        "nearest_real": "x",
        "siblings": [],
        **values,
    }


def verdicts(rows: list[dict], **rules: float | int) -> dict[str, str | None]:
    limit = fake_limit(rows, rules.get("drop_fakest"))
    return {it["key"]: it["reason"] for it in decide(rows, SampleRules(**rules), limit)}


def test_without_rules_all_are_kept_but_what_cannot_be_used():
    rows = [
        row("0"),
        row("1", status="unreadable", error="torn"),
        row("2", rejected=100),
        row("3", labelled=0, rejected=0),
    ]
    decisions = list(decide(rows, SampleRules()))
    assert [it["reason"] for it in decisions] == [None, "unreadable", "unlabelled", "unlabelled"]
    assert [it["score"] for it in decisions] == [0.9, 0, 0, 0] and [it["keep"] for it in decisions] == [
        True,
        *[False] * 3,
    ]


def test_each_rule_drops_what_it_says():
    rows = [row("0", rejected=30), row("1", rejected=31)]
    assert verdicts(rows, max_rejected=0.3) == {"0": None, "1": "rejected"}
    rows = [row(str(number), fake=fake) for number, fake in enumerate([0.9, 0.1, 0.8, 0.2, 0.3])]
    assert verdicts(rows, drop_fakest=0.4) == {"0": "fake", "1": None, "2": "fake", "3": None, "4": None}
    assert set(verdicts(rows, drop_fakest=0.19).values()) == {None}  # less than one of five
    rows = [row(f"{number:03d}", fake=number / 100) for number in range(100)]
    assert list(verdicts(rows, drop_fakest=0.29).values()).count("fake") == 29
    rows = [row("0", novelty=0.29), row("1", novelty=0.3)]
    assert verdicts(rows, min_novelty=0.3) == {"0": "copy", "1": None}


def test_diversity_asks_only_for_samples_that_are_kept():
    """0 is dropped; 1 is as near to it as can be, and stays; 2 is near to 1; 3 is far from 1. b's are others."""
    rows = [
        row("0", novelty=0.0),
        row("1", siblings=[0.0]),
        row("2", siblings=[9.0, 0.4]),
        row("3", siblings=[0.1, 0.5, 0.1]),
    ]
    rows += [row("4", "b"), row("5", "b", siblings=[0.2])]
    found = verdicts(rows, min_novelty=1, min_diversity=0.5)
    assert found == {"0": "copy", "1": None, "2": "alike", "3": None, "4": None, "5": "alike"}


def test_unreadable_samples_are_no_siblings():
    rows = [row("0"), row("1", status="unreadable", error="torn"), row("2", siblings=[0.1])]
    assert verdicts(rows, min_diversity=0.5) == {"0": None, "1": "unreadable", "2": "alike"}


def test_rules_for_what_was_not_measured_are_refused():
    with pytest.raises(ValueError, match="--drop-fakest needs --scorer discriminator"):
        list(decide([row("0", fake=None)], SampleRules(drop_fakest=0.1)))
    with pytest.raises(ValueError, match="--min-novelty and --min-diversity need features"):
        list(decide([row("0", novelty=None)], SampleRules(min_diversity=0.1)))


def test_neighbours_by_hand():
    """On a circle: 0°, 10° and 90°. The nearest neighbours are 10°, 10° and 80° away."""
    angles = np.radians([0, 10, 90])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = Neighbours.of(["zero", "ten", "ninety"], features)
    assert found.typical == pytest.approx(1 - np.cos(np.radians(10)), rel=1e-4)
    (distance, name), (same, itself) = found.nearest(
        np.array([[np.cos(np.radians(70)), np.sin(np.radians(70))], [1, 0]], np.float32)
    )
    assert name == "ninety" and distance == pytest.approx((1 - np.cos(np.radians(20))) / found.typical, rel=1e-3)
    assert itself == "zero" and same == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="the 2 real images are too few or too alike"):
        Neighbours.of(["a", "b"], features[[0, 0]])


def test_distances_of_many_real_images_are_taken_in_parts():
    """Without each image's own, wherever a part begins."""
    features = np.random.default_rng(0).normal(size=(2 * CHUNK + 3, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosines = features @ features.T - 3 * np.eye(len(features))
    found = Neighbours.of([str(number) for number in range(len(features))], features)
    assert found.typical == pytest.approx(np.median(1 - cosines.max(axis=1)), rel=1e-3)


# Whole shards --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_planted(tmp_path_factory.mktemp("shards"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_planted_regions_are_rejected_and_nothing_else(shards, tmp_path):
    summary = run(shards, tmp_path, ByColour())
    for shard in range(3):
        before = {row["key"]: row for row in read_rows(shards, shard) if row["status"] == "ok"}
        for row in read_rows(tmp_path, shard):
            key = row["key"]
            was = read_label_map(read_member(shards, before[key], "seg.png"), SPACE, source=key)
            now = read_label_map(read_member(tmp_path, row | {"shard": shard}, "seg.png"), SPACE, source=key)
            expected = was.copy()
            expected[planted(int(key[-1]))] = 255
            assert np.array_equal(now, expected)
            assert (row["labelled"], row["rejected"]) == (120, 16 * (int(key[-1]) % 2))
    totals = summary["totals"]
    assert totals["samples"] == totals["kept"] == 11 and sum(totals["rejected_pixels"].values()) == 6 * 16
    assert summary["classes"] == list(SPACE.classes) and summary["real"]["images"] == 5
    for name, limit in summary["limits"].items():
        assert limit == pytest.approx(3 * summary["hardness"][name])
    assert kept_keys(tmp_path, shards) == {row["key"] for row in read_decisions(tmp_path)}


def test_the_same_bytes_by_parts_by_batches_of_one_and_after_a_stop(shards, tmp_path):
    run(shards, tmp_path / "whole", ByColour())
    assert run(shards, tmp_path / "parts", ByColour(), part=Part(1, 2)) is None
    assert run(shards, tmp_path / "parts", ByColour(), part=Part(0, 2), batch_size=1) is not None
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    for name in ("00001.stats.json", "filter.json", "decisions.jsonl"):
        (tmp_path / "parts" / name).unlink()
    (tmp_path / "parts" / "00001.tar").write_bytes(b"torn")
    scorer = ByColour()
    run(shards, tmp_path / "parts", scorer)
    assert scorer.looked == 3  # the one shard; real images are not looked at again
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_shard_that_another_process_has_filtered_meanwhile_stays(shards, tmp_path):
    """As after the same command in two windows: a stop between two files of the second would tear what was whole."""
    run(shards, tmp_path / "whole", ByColour())
    whole, marks = contents(tmp_path / "whole"), {"tar": b"\n", "jsonl": b"", "stats.json": b"\n"}
    marked = {f"00000.{name}": whole[f"00000.{name}"] + mark for name, mark in marks.items()}

    class Overtaken(ByColour):
        def score(self, images: Images, label_maps: LabelMaps) -> tuple[np.ndarray, np.ndarray]:
            if self.looked == 5:  # real images
                for name, content in marked.items():
                    (tmp_path / "out" / name).write_bytes(content)
            return super().score(images, label_maps)

    assert run(shards, tmp_path / "out", Overtaken())["totals"]["samples"] == 11
    assert contents(tmp_path / "out") == whole | marked


def test_other_rules_for_samples_need_no_second_look_but_other_limits_another_folder(shards, tmp_path):
    run(shards, tmp_path, ByColour())
    scorer = ByColour()
    summary = run(shards, tmp_path, scorer, SampleRules(max_rejected=0.1))
    assert scorer.looked == 0 and summary["totals"]["dropped"] == {"rejected": 6} and summary["totals"]["kept"] == 5
    assert len(kept_keys(tmp_path, shards)) == 5
    with pytest.raises(ValueError, match=r"holds a filter of other settings \(tolerance: 3 → 4\)"):
        run(shards, tmp_path, scorer, rule=PixelRule(tolerance=4))
    assert load_calibration(tmp_path, json.loads((tmp_path / SUMMARY).read_text())["settings"]).images == 5


def test_a_bad_sample_is_a_counted_row(shards, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    bad = next(row for row in read_rows(copy, 2) if row["key"].endswith("1"))
    tar = shard_file(copy, 2, "tar")
    content = bytearray(tar.read_bytes())
    content[bad["members"]["png"][0] + 40] ^= 1
    tar.write_bytes(content)
    summary = run(copy, tmp_path / "out", ByColour())
    assert summary["totals"]["dropped"] == {"unreadable": 1} and summary["totals"]["kept"] == 10
    decision = next(it for it in read_decisions(tmp_path / "out") if it["key"] == bad["key"])
    assert decision["error"] == "png: the checksum is not that of the row" and not decision["keep"]
    assert json.loads((tmp_path / "out" / "00002.stats.json").read_text())["by_status"] == {"ok": 3, "unreadable": 1}


@pytest.mark.parametrize(("broken", "named"), [("reals", "real_3"), ("samples", "00001")])
def test_losses_that_are_not_finite_end_the_filter(shards, tmp_path, broken, named):
    """As of a network whose training went astray: no limit would be known, and no pixel rejected."""

    class Astray(ByColour):
        def score(self, images: Images, label_maps: LabelMaps) -> tuple[np.ndarray, np.ndarray]:
            first, (losses, fake) = self.looked, super().score(images, label_maps)
            seen = np.arange(first, self.looked)
            losses[seen == (3 if broken == "reals" else 10)] = np.nan
            return losses, fake

    with pytest.raises(ValueError, match=f"{named}.* loss is not finite"):
        run(shards, tmp_path, Astray())
    assert not (tmp_path / SUMMARY).exists()


def test_distances_are_those_of_the_features(shards, tmp_path):
    run(shards, tmp_path, ByColour())
    rows = read_rows(tmp_path, 0)
    assert [len(row["siblings"]) for row in rows] == [0, 1, 0, 1]  # two samples of each of two sources
    assert all(row["novelty"] > 0 and row["nearest_real"].startswith("real_") for row in rows)


def test_shards_are_not_written_into(shards, tmp_path):
    before = contents(shards)
    with pytest.raises(ValueError, match="--out .* holds shards, which stay as they are"):
        run(shards, shards, ByColour())
    assert contents(shards) == before


def test_unfinished_shards_and_unfinished_filters_are_refused(shards, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    manifest = json.loads((copy / "shards.json").read_text())
    (copy / "shards.json").write_text(json.dumps(manifest | {"totals": None}))
    with pytest.raises(ValueError, match="--shards .* are not finished"):
        run(copy, tmp_path / "out", ByColour())
    with pytest.raises(ValueError, match=r"holds no finished filter: filter\.json is missing"):
        kept_keys(tmp_path / "out", shards)
    run(shards, tmp_path / "out", ByColour())
    (copy / "shards.json").write_text(json.dumps(manifest | {"generator_sha256": "1" * 64}))
    with pytest.raises(ValueError, match="is of other shards than those in"):
        kept_keys(tmp_path / "out", copy)


def test_jpegs_are_read_too(tmp_path):
    rng = np.random.default_rng(0)
    image, label_map = scene(rng)
    plan = {"height": HEIGHT, "width": WIDTH}
    description = {"label_space": SPACE.to_meta(), "generator_sha256": "0" * 64, "plan": plan}
    open_manifest(tmp_path / "shards", description)
    members = {"jpg": jpeg(image), "seg.png": encode_label_png(label_map), "json": b"{}"}
    stats = write_shard(
        tmp_path / "shards",
        0,
        [Sample(Record("000000000", 0, "a", None, 0, 0), members=members, class_pixels=(0,) * 3)],
        3,
    )
    write_manifest(tmp_path / "shards", description, total_of([stats]))
    assert run(tmp_path / "shards", tmp_path / "out", ByColour())["totals"]["samples"] == 1

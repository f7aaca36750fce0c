"""The plan: seeds that one can check by hand, whole label maps per shard, variants, and no memory for samples."""

import hashlib
import tracemalloc
from itertools import chain
from pathlib import Path

import pytest

from augment.plan import Plan
from augment.record import Record
from augment.sources import LabelFile
from dpsims.sample import sample_seed


def label_files(count: int) -> list[LabelFile]:
    return [LabelFile(f"map_{i:02d}", None, Path(f"map_{i:02d}.png")) for i in range(count)]


def by_shard(plan: Plan) -> list[list[Record]]:
    shards = range(plan.num_shards)
    return [[r for index in plan.sources_of(shard) for r in plan.records(shard, index)] for shard in shards]


def test_a_seed_is_63_bits_of_a_hash_of_what_it_names():
    digest = hashlib.sha256(b"7/city/frame_1/3").hexdigest()
    assert sample_seed(7, "city/frame_1", 3) == int(digest[:16], 16) // 2
    assert sample_seed(0, "a", 0) == 7501225599165244262  # pinned: shards of old plans can be made again
    assert 0 <= sample_seed(-1, "a", 0) < 2**63


def test_seeds_do_not_depend_on_order_shards_or_counts():
    seeds = {}
    for files, count, size in ((label_files(7), 4, 8), (label_files(7)[::-1], 3, 12), (label_files(7)[2:5], 4, 4)):
        for record in chain(*by_shard(Plan(files, [count] * len(files), shard_size=size, seed=1))):
            name = (record.source_key, record.sample_index)
            assert seeds.setdefault(name, record.seed) == record.seed
    assert len(set(seeds.values())) == 7 * 4


def test_plan_by_hand():
    plan = Plan(label_files(3), [2, 2, 2], shard_size=5, seed=0)
    planned = [[(r.key, r.shard, r.source_key, r.sample_index) for r in records] for records in by_shard(plan)]
    assert planned == [
        [
            ("000000000", 0, "map_00", 0),
            ("000000001", 0, "map_00", 1),
            ("000000002", 0, "map_01", 0),
            ("000000003", 0, "map_01", 1),
        ],
        [("000010000", 1, "map_02", 0), ("000010001", 1, "map_02", 1)],
    ]
    assert len(plan) == 6 and plan.num_shards == 2 and [plan.samples_of(shard) for shard in (0, 1)] == [4, 2]


def test_label_maps_with_different_numbers_of_samples():
    plan = Plan(label_files(4), [1, 4, 5, 2], shard_size=5, seed=0)
    planned = [[(r.key, r.source_key, r.sample_index) for r in records] for records in by_shard(plan)]
    assert [len(records) for records in planned] == [5, 5, 2] == [plan.samples_of(shard) for shard in range(3)]
    assert planned[0] == [("000000000", "map_00", 0)] + [(f"00000000{k + 1}", "map_01", k) for k in range(4)]
    assert planned[2] == [("000020000", "map_03", 0), ("000020001", "map_03", 1)]
    assert len(plan) == 12


def test_samples_are_spread_over_the_variants_of_their_label_map():
    plan = Plan(label_files(3), [5, 2, 1], shard_size=8, seed=0, variants=3)
    variants = [[r.variant for r in plan.records(0, index)] for index in range(3)]
    assert variants == [[0, 0, 1, 1, 2], [0, 1], [0]]
    seeds = {plan.variant_seed(name, variant) for name in ("a", "b") for variant in range(3)}
    assert len(seeds) == 6 and not seeds & {sample_seed(0, name, k) for name in ("a", "b") for k in range(9)}


def test_keys_have_room():
    records = list(chain(*by_shard(Plan(label_files(5), [2500] * 5, shard_size=10000, seed=0))))
    assert len({record.key for record in records}) == 12500
    assert {len(record.key) for record in records} == {9}
    with pytest.raises(ValueError, match="--shard-size 10001 is at most 10000"):
        Plan(label_files(5), [1] * 5, shard_size=10001, seed=0)
    with pytest.raises(ValueError, match="--shard-size 7 .* at least the 8 samples of a label map"):
        Plan(label_files(2), [1, 8], shard_size=7, seed=0)
    with pytest.raises(ValueError, match="at least 1 sample, not 0"):
        Plan(label_files(2), [1, 0], shard_size=7, seed=0)
    with pytest.raises(ValueError, match="--variants is at least 1"):
        Plan(label_files(2), [1, 1], shard_size=7, seed=0, variants=0)


def test_a_plan_of_millions_holds_no_records():
    files = label_files(50)
    tracemalloc.start()
    plan = Plan(files, [10000] * 50, shard_size=10000, seed=0)
    assert len(plan) == 500_000 and plan.num_shards == 50
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()

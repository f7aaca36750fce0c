"""The ratio sampler keeps its ratio, deals the draws out to ranks, and resumes where it was."""

from itertools import islice

import pytest
from torch.utils.data import ConcatDataset

from augment.mmseg import sampler as sampler_module
from augment.mmseg.sampler import BLOCK, RatioSampler

PARTS = ConcatDataset([range(10), range(100, 350)])  # 10 real, 250 synthetic


def draw(sampler: RatioSampler, count: int) -> list[int]:
    return list(islice(iter(sampler), count))


@pytest.mark.parametrize(("ratios", "synthetic"), [([1, 1], 420), ([1, 3], 630), ([1, 2.5], 600), ([1, 0], 0)])
def test_each_block_holds_the_parts_in_their_ratio(ratios, synthetic):
    draws = draw(RatioSampler(PARTS, ratios, seed=0), 3 * BLOCK)
    for start in range(0, 3 * BLOCK, BLOCK):
        assert sum(index >= 10 for index in draws[start : start + BLOCK]) == synthetic


def test_shares_that_do_not_divide_a_block_are_rounded_to_it():
    assert sampler_module._shares([1, 1, 0.1]) == [400, 400, 40]
    assert sum(sampler_module._shares([3, 7, 1])) == BLOCK


def test_batches_are_mixed():
    draws = draw(RatioSampler(PARTS, [1, 1], seed=0), 800)
    batches = [draws[start : start + 8] for start in range(0, 800, 8)]
    assert sum(0 < sum(index >= 10 for index in batch) < 8 for batch in batches) > 95  # 2 in 256 would be of one kind


def test_every_sample_of_a_part_comes_once_per_pass():
    draws = draw(RatioSampler(PARTS, [1, 1], seed=3), 2000)
    real = [index for index in draws if index < 10]
    synthetic = [index for index in draws if index >= 10]
    assert [sorted(real[i : i + 10]) for i in range(0, 500, 10)] == [list(range(10))] * 50
    assert sorted(synthetic[:250]) == sorted(synthetic[250:500]) == list(range(10, 260))
    assert synthetic[:250] != synthetic[250:500]
    assert real[:10] != real[10:20]


def test_the_seed_decides():
    first = draw(RatioSampler(PARTS, [1, 1], seed=1), 100)
    assert draw(RatioSampler(PARTS, [1, 1], seed=1), 100) == first
    assert draw(RatioSampler(PARTS, [1, 1], seed=2), 100) != first


def test_ranks_interleave_to_the_sequence_of_one(monkeypatch):
    alone = draw(RatioSampler(PARTS, [1, 3], seed=5), 999)
    ranks = []
    for rank in range(3):
        monkeypatch.setattr(sampler_module, "get_dist_info", lambda rank=rank: (rank, 3))
        ranks.append(draw(RatioSampler(PARTS, [1, 3], seed=5), 333))
    assert [index for group in zip(*ranks, strict=True) for index in group] == alone


@pytest.mark.parametrize("position", [0, 1, 8, BLOCK - 1, 2 * BLOCK + 5])
def test_skip_continues_the_sequence(position):
    sequence = draw(RatioSampler(PARTS, [1, 1], seed=0), 3 * BLOCK)
    resumed = RatioSampler(PARTS, [1, 1], seed=0)
    resumed.skip(position)
    assert draw(resumed, 3 * BLOCK - position) == sequence[position:]


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ([1], "ratios .* for 2 parts"),
        ([0, 0], "must be positive"),
        ([1, -1], "must be positive"),
    ],
)
def test_wrong_ratios_are_named(ratios, message):
    with pytest.raises(ValueError, match=message):
        RatioSampler(PARTS, ratios, seed=0)


def test_an_empty_part_cannot_be_drawn_from():
    parts = ConcatDataset([range(10), []])
    with pytest.raises(ValueError, match=r"the parts hold \[10, 0\] samples"):
        RatioSampler(parts, [1, 1], seed=0)
    assert max(draw(RatioSampler(parts, [1, 0], seed=0), 50)) < 10

"""Every batch has its share, ranks share one sequence, and a training that goes on looks at nothing again."""

from fractions import Fraction
from itertools import islice

import pytest

from augment.mmseg.sampler import MixedBatchSampler
from augment.mmseg.share import Share

SIZES = (10, 250)  # real, synthetic
SHARES = [
    Share(0.5),
    Share(0.75),
    Share(0.3),
    Share(0.1, "linear", 0.9, until=40),
    Share(1, "linear", 0, until=33),
    Share(1, "step", 0, until=50),
]


def sampler(share: Share, batch_size: int = 8, **options) -> MixedBatchSampler:
    return MixedBatchSampler(SIZES, share, batch_size, **{"seed": 0} | options)


def draw(of: MixedBatchSampler, count: int) -> list[list[int]]:
    return list(islice(iter(of), count))


def synthetic(batch: list[int]) -> int:
    return sum(index >= SIZES[0] for index in batch)


@pytest.mark.parametrize("share", SHARES, ids=str)
def test_the_sum_before_an_iteration_is_that_of_its_shares(share):
    for iteration in (0, 1, 2, 33, 40, 41, 50, 51, 77):
        assert share.before(iteration) == sum((share.at(i) for i in range(iteration)), Fraction())


def test_schedules_by_hand():
    assert [Share(0.1).at(i) for i in (0, 10**6)] == [Fraction(1, 10)] * 2
    assert [Share(1, "linear", 0, until=4).at(i) for i in range(6)] == [1, Fraction(3, 4), Fraction(1, 2), 0.25, 0, 0]
    assert [Share(1, "step", 0.5, until=2).at(i) for i in range(4)] == [1, 1, 0.5, 0.5]


@pytest.mark.parametrize(("share", "expected"), [(0.5, 4), (0.75, 6), (0, 0), (1, 8)])
def test_a_share_that_a_batch_can_have_is_that_of_every_batch(share, expected):
    assert {synthetic(batch) for batch in draw(sampler(Share(share)), 500)} == {expected}


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("share", SHARES, ids=str)
def test_the_schedule_is_followed_to_the_sample(share, world_size):
    ranks = [draw(sampler(share, rank=rank, world_size=world_size), 120) for rank in range(world_size)]
    drawn = 0
    for iteration in range(120):
        for rank in range(world_size):
            batch = ranks[rank][iteration]
            assert len(batch) == 8 and abs(synthetic(batch) - 8 * share.at(iteration)) < 1
            drawn += synthetic(batch)
        assert abs(drawn - 8 * world_size * share.before(iteration + 1)) <= Fraction(1, 2)


def test_every_sample_of_a_part_comes_once_per_pass_over_all_ranks():
    ranks = [draw(sampler(Share(0.5), rank=rank, world_size=2), 200) for rank in range(2)]
    draws = [index for batches in zip(*ranks, strict=True) for batch in batches for index in batch]
    real = [index for index in draws if index < 10]
    others = [index for index in draws if index >= 10]
    assert [sorted(real[i : i + 10]) for i in range(0, 500, 10)] == [list(range(10))] * 50
    assert sorted(others[:250]) == sorted(others[250:500]) == list(range(10, 260))
    assert others[:250] != others[250:500] and real[:10] != real[10:20]


def test_the_seed_decides():
    first = draw(sampler(Share(0.5), seed=1), 20)
    assert draw(sampler(Share(0.5), seed=1), 20) == first
    assert draw(sampler(Share(0.5), seed=2), 20) != first


@pytest.mark.parametrize("share", SHARES, ids=str)
def test_it_goes_on_where_it_was(share):
    whole = draw(sampler(share, rank=1, world_size=2), 90)
    resumed = sampler(share, rank=1, world_size=2)
    resumed.start = 61
    assert draw(resumed, 29) == whole[61:]


def test_to_go_on_costs_the_same_at_any_iteration():
    """Counted in passes that are shuffled: two parts, of which a batch may see the end of a pass."""
    for start in (100, 100_000):
        resumed = sampler(Share(0.5))
        resumed.start = start
        draw(resumed, 1)
        assert 2 <= resumed._order.cache_info().misses <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 1.5}, "a share of synthetic samples is 0 to 1: start=1.5"),
        ({"start": 0.5, "schedule": "cosine"}, "schedule is one of constant, linear, step, not 'cosine'"),
        ({"start": 0.5, "schedule": "linear"}, "needs the iteration until which it goes: until=None"),
        ({"start": 0.5, "schedule": "step", "end": -1, "until": 3}, "is 0 to 1: end=-1"),
    ],
)
def test_shares_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Share(**options)


def test_an_empty_part_may_only_be_left_out():
    with pytest.raises(ValueError, match="up to 50% of the samples are to be synthetic, and there are none"):
        MixedBatchSampler((10, 0), Share(0.5), 8, seed=0)
    with pytest.raises(ValueError, match="up to 100% of the samples are to be real, and there are none"):
        MixedBatchSampler((0, 10), Share(1, "step", 0, until=5), 8, seed=0)
    assert len(draw(MixedBatchSampler((10, 0), Share(0), 4, seed=0), 3)) == 3

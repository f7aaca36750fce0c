from itertools import islice

import numpy as np
import pytest

from dpsims.sampling import StreamSampler, balanced_weights


def test_balanced_weights_by_hand():
    presence = np.array([[1, 0], [1, 0], [1, 0], [1, 1]], bool)  # f = (1, 1/4)
    np.testing.assert_allclose(balanced_weights(presence), np.array([1, 1, 1, 2]) / 5)


def test_an_image_without_classes_can_still_be_drawn():
    weights = balanced_weights(np.array([[1], [0]], bool))
    np.testing.assert_allclose(weights, [0.5, 0.5])


def test_any_start_continues_the_same_stream():
    for weights in (None, np.array([0.1, 0.2, 0.7])):
        whole = list(islice(StreamSampler(3, weights=weights, seed=4, start=0), 20))
        for start in (1, 3, 7):
            assert list(islice(StreamSampler(3, weights=weights, seed=4, start=start), 5)) == whole[start : start + 5]
        assert [position for _, position in whole] == list(range(20))


def test_uniform_passes_are_permutations_that_differ():
    stream = [index for index, _ in islice(StreamSampler(6, weights=None, seed=0, start=0), 18)]
    passes = [stream[i : i + 6] for i in (0, 6, 12)]
    assert all(sorted(part) == list(range(6)) for part in passes) and passes[0] != passes[1]


def test_weighted_draws_have_the_weights():
    weights = np.array([0.1, 0.2, 0.7])
    drawn = [index for index, _ in islice(StreamSampler(3, weights=weights, seed=0, start=0), 6000)]
    np.testing.assert_allclose(np.bincount(drawn) / 6000, weights, atol=0.03)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_the_stream_from_any_batch_on(ranks):
    """Rank r takes the r-th slice of each joint batch, whatever the number of ranks was before."""
    whole = list(islice(StreamSampler(5, weights=None, seed=1, start=0), 32))
    streams = [
        iter(StreamSampler(5, weights=None, seed=1, start=8, batch_size=8, rank=rank, ranks=ranks))
        for rank in range(ranks)
    ]
    joint = [item for _ in range(3) for stream in streams for item in islice(stream, 8 // ranks)]
    assert joint == whole[8:]

"""Differences between arms, by hand; and the sentences, which may not promise more than the seeds hold."""

import json

import pytest
from scipy.stats import t, ttest_rel

from augment.report.scores import compare, headline, holm, mean_of, read_scores, sentence


def gain_of(*differences: float):
    return compare(dict.fromkeys(range(len(differences)), 40.0), {s: 40.0 + d for s, d in enumerate(differences)})


def test_two_seeds_by_hand():
    gain = compare({0: 40.0, 1: 42.0}, {1: 45.0, 0: 41.0})
    assert gain.seeds == (0, 1)
    assert (gain.baseline, gain.other, gain.differences) == ((40.0, 42.0), (41.0, 45.0), (1.0, 3.0))
    assert gain.mean == 2.0
    # the standard deviation is √2, its error √2 / √2 = 1, and t of one degree of freedom 12.706
    assert gain.interval == pytest.approx((2 - 12.706, 2 + 12.706), abs=1e-3)
    assert not gain.settled


def test_three_seeds_by_hand():
    assert gain_of(1, 2, 3).interval == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)


def test_intervals_and_p_values_are_those_of_scipy():
    real, mixed = [40.0, 42.5, 41.0, 43.0], [41.0, 42.0, 43.0, 44.5]
    gain = compare(dict(enumerate(real)), dict(enumerate(mixed)))
    reference = ttest_rel(mixed, real)
    assert gain.p == pytest.approx(reference.pvalue)
    assert gain.interval == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert gain.interval[1] - gain.mean == pytest.approx(t.ppf(0.975, 3) * gain.mean / reference.statistic)


def test_without_a_spread_there_is_no_test():
    for differences in ((5.0,), (5.0, 5.0), (0.7, 0.7, 0.7), (0.0, 0.0, 0.0), (0.02, 0.02, 0.01)):
        gain = compare(dict.fromkeys(range(len(differences)), 40.3), {s: 40.3 + d for s, d in enumerate(differences)})
        assert gain.p is None and gain.interval is None and not gain.settled
        assert "cannot tell from chance" in sentence(gain, "A", "B", 16)


def test_holm_by_hand():
    # 0.01 of three tests, 0.02 of the two that are left, 0.5 of one
    assert holm({"a": 0.5, "b": 0.01, "c": 0.02}) == pytest.approx({"a": 0.5, "b": 0.03, "c": 0.04})
    # 3 × 0.02 = 0.06 is more than 2 × 0.025 = 0.05: the later one is not below the earlier one
    assert holm({"a": 0.02, "b": 0.025, "c": 0.9}) == pytest.approx({"a": 0.06, "b": 0.06, "c": 0.9})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.01, "b": None, "c": None}) == {"a": pytest.approx(0.03), "b": None, "c": None}
    assert holm({"a": 0.04}) == {"a": 0.04}


@pytest.mark.parametrize(
    ("differences", "settled"),
    [
        ((5.0,), False),
        ((5.0, 5.0), False),  # equal, but two
        ((1.0, 2.0, 3.0), False),  # the interval is −0.48 to 4.48
        ((2.0, 2.1, 2.2), True),
        ((-2.0, -2.1, -2.2), True),
        ((0.0, 0.0, 0.0), False),
        ((5.0, 5.0, 5.0), False),  # no spread to tell chance by
    ],
)
def test_what_settles_a_difference(differences, settled):
    assert gain_of(*differences).settled is settled
    assert ("not settled" in headline(gain_of(*differences))) is not settled


def test_sentences_hold_every_seed_and_the_doubt():
    two = sentence(compare({0: 44.26, 1: 42.92}, {0: 42.42, 1: 40.2}), "A", "B", 16)
    assert two == (
        "On 16 held-out images the segmenter's mean IoU is 43.6 % with A and 41.3 % with B: −2.3 points, "
        "which 2 seeds cannot tell from chance – seed 0: 44.26 → 42.42, −1.84; seed 1: 42.92 → 40.20, −2.72."
    )
    assert "which one seed cannot tell from chance – seed 0" in sentence(gain_of(1), "A", "B", 16)
    assert "cannot tell from chance (95 % interval: −0.5 to +4.5)" in sentence(gain_of(1, 2, 3), "A", "B", 16)
    settled = sentence(gain_of(2.0, 2.1, 2.2), "A", "B", 16)
    assert "+2.1 points, with a 95 % interval of +1.9 to +2.3 over 3 seeds –" in settled and "chance" not in settled


def test_means_leave_out_what_is_missing():
    assert mean_of([1.0, None, 3.0]) == 2.0
    assert mean_of([None]) is None


def test_a_seed_that_one_arm_lacks_is_named(tmp_path):
    for name in ("real-seed0", "mixed-seed0", "mixed-seed1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "test.json").write_text(json.dumps({"mIoU": 1.0, "IoU": {}, "images": 1}))
    with pytest.raises(ValueError, match=r"real-seed1/test\.json is missing; the other arms have seed 1"):
        read_scores(tmp_path)

import numpy as np
import pytest

from augment.budget import allot, meet, parse_targets, read_counts, weigh
from dpsims.labels import LabelSpace, default_palette

SPACE = LabelSpace(("sky", "road", "car", "sign"), default_palette(4))
PRESENCE = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], bool)


def test_images_by_largest_remainder():
    assert allot(np.array([0.5, 0.3, 0.2]), 10) == [5, 3, 2]
    assert allot(np.array([1.0, 1, 1]), 5) == [2, 2, 1]
    assert allot(np.array([0.46, 0.34, 0.2]), 5) == [2, 2, 1]  # 2.3, 1.7, 1.0
    rng = np.random.default_rng(0)
    for budget in (1, 7, 1000):
        weights = rng.random(20)
        counts = np.array(allot(weights, budget))
        assert counts.sum() == budget and np.abs(counts - weights / weights.sum() * budget).max() < 1


def test_rounding_does_not_undo_a_target():
    presence = np.array([[True, False], [True, False], [True, True], [True, True]])
    assert meet([4, 4, 2, 0], presence, {1: 0.5}, 10) == [2, 3, 3, 2]  # from those with most to those with fewest
    assert meet([4, 4, 2, 0], presence, {1: 0.15}, 10) == [4, 4, 2, 0]
    assert meet([5, 5], np.array([[True, False], [False, True]]), {0: 0.5, 1: 0.5}, 10) == [5, 5]


def test_without_targets_the_weights_are_those_of_training():
    # Shares of maps with sky 1, road 3/4, car 1/2, sign 1/4; the rarest of each map: road, car, sky, sign.
    expected = np.array([0.75, 0.5, 1, 0.25]) ** -0.5
    np.testing.assert_allclose(weigh(PRESENCE, {}, SPACE), expected / expected.sum())


def test_targets_are_met_and_what_they_do_not_touch_keeps_its_proportion():
    free = weigh(PRESENCE, {}, SPACE)
    weights = weigh(PRESENCE, {3: 0.6}, SPACE)
    assert weights[3] == pytest.approx(0.6) and weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights[:3] / weights[:3].sum(), free[:3] / free[:3].sum())
    both = weigh(PRESENCE, {3: 0.5, 2: 0.9}, SPACE)
    assert both[3] >= 0.5 - 1e-5 and both[1] + both[3] >= 0.9 - 1e-5
    np.testing.assert_allclose(weigh(PRESENCE, {0: 0.3, 2: 0.1}, SPACE), free)  # there already


def test_several_targets_weigh_up_no_more_than_they_take_in_whatever_order():
    """Where a target comes with another one there is nothing to weigh up: the maps without that stay alike."""
    presence = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]], bool)
    free = weigh(presence, {}, SPACE)
    expected = [0.6, *(0.4 * free[1:] / free[1:].sum())]  # by road alone; sky is then in 77 %
    for targets in ({0: 0.7, 1: 0.6}, {1: 0.6, 0: 0.7}):
        np.testing.assert_allclose(weigh(presence, targets, SPACE), expected, atol=1e-5)


def test_of_all_weights_that_meet_the_targets_these_are_the_nearest():
    """By the conditions of Karush, Kuhn and Tucker: log(w / free) is a sum of a number of each target that holds w."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        presence = rng.random((40, 4)) < 0.4
        presence[:4] |= np.eye(4, dtype=bool)
        targets = {label: rng.uniform(0.3, 0.7) for label in range(3)}
        weights, free = weigh(presence, targets, SPACE), weigh(presence, {}, SPACE)
        design = np.column_stack([np.ones(len(presence)), presence[:, list(targets)]])
        (_, *numbers), residual, *_ = np.linalg.lstsq(design, np.log(weights / free), rcond=None)
        assert residual < 1e-12
        for label, number in zip(targets, numbers, strict=True):
            slack = weights[presence[:, label]].sum() - targets[label]
            assert number > -1e-5 and slack > -1e-5 and number * slack < 1e-5


def test_targets_that_cannot_be():
    with pytest.raises(ValueError, match="no label map holds 'sign'"):
        weigh(PRESENCE[:3], {3: 0.1}, SPACE)
    apart = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], bool)
    with pytest.raises(ValueError, match="cannot meet all targets together; at best sky .* of 80.0%, road .* of 70.0%"):
        weigh(apart, {0: 0.8, 1: 0.7}, SPACE)
    with pytest.raises(ValueError, match="at best sky 100.0% of 100.0%, road 0.0% of 70.0%"):
        weigh(apart, {0: 1.0, 1: 0.7}, SPACE)


def test_targets_as_they_are_written():
    assert parse_targets(["car=500", "sign=12.5%"], SPACE, 1000) == {2: 0.5, 3: 0.125}
    for text in ("bus=5", "car", "car=-1", "car=x", "=5"):
        with pytest.raises(ValueError, match="is CLASS=IMAGES or CLASS=SHARE%, with a class of sky, road, car, sign"):
            parse_targets([text], SPACE, 10)
    for text in ("car=11", "car=101%", "car=0"):
        with pytest.raises(ValueError, match="at most the budget of 10 images"):
            parse_targets([text], SPACE, 10)


def test_counts_from_a_file(tmp_path):
    file = tmp_path / "counts.json"
    file.write_text('{"b": 3, "a": 0}')
    assert read_counts(file, ["a", "b", "c"]) == [0, 3, 0]
    file.write_text('{"rule": "hardness", "most": 20, "counts": {"b": 3, "a": 0}}')
    assert read_counts(file, ["a", "b", "c"]) == [0, 3, 0]
    file.write_text('{"counts": 4}')  # is the name of a label map here
    assert read_counts(file, ["a", "counts"]) == [0, 4]
    file.write_text('{"b": 3, "a": 0}')
    with pytest.raises(ValueError, match="names 1 label maps that are not there, such as 'b'"):
        read_counts(file, ["a", "c"])
    for text, message in (
        ("[1]", "holds no object"),
        ('{"counts": {"a": "1"}}', "holds no object"),
        ('{"a": -1}', "holds no object"),
        ("{", "neither a number nor"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_counts(file, ["a"])
    with pytest.raises(ValueError, match="neither a number nor a JSON file"):
        read_counts(tmp_path / "none", ["a"])

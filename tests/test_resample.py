"""Images of each label map by hardness and by gaps, against cases counted by hand."""

import json
import math

import numpy as np
import pytest

from augment.resample import gap_counts, gap_weights, hardness_counts, map_hardness, read_gaps, read_hardness
from dpsims.labels import LabelSpace, default_palette

SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))


def test_a_map_is_as_hard_as_its_pixels_on_average():
    pixels = np.array([[6, 2, 0], [0, 5, 5], [0, 0, 9], [0, 0, 0]])
    np.testing.assert_allclose(map_hardness(pixels, np.array([0.1, 0.5, 2])), [(0.6 + 1) / 8, 1.25, 2, 0])
    # A class without a hardness does not count: neither above nor below the line.
    np.testing.assert_allclose(map_hardness(pixels, np.array([0.1, 0.5, np.nan])), [0.2, 0.5, 0, 0])


def test_counts_rise_with_the_rank():
    # Ranks 1, 2, 3, 4 of 4: 1 + 5, 1 + 10, 1 + 15, and 20 at most.
    assert hardness_counts(np.array([0.4, 0.1, 0.3, 0.2]), 20) == [20, 6, 16, 11]
    # Halves to even: 6 · (1, 2, 3, 4) / 4 is 1.5, 3, 4.5 and 6, which is 2, 3, 4 and 6.
    assert hardness_counts(np.array([0.1, 0.2, 0.3, 0.4]), 6) == [3, 4, 5, 6]
    assert hardness_counts(np.array([0.5, 0.1]), 1) == [1, 1]
    assert hardness_counts(np.array([0.5]), 20) == [20]


def test_of_equally_hard_maps_the_first_is_the_easiest():
    assert hardness_counts(np.array([1.0, 0.0, 1, 0, 1]), 5) == [4, 2, 5, 3, 5]


def test_counts_are_those_of_freemasks_loop():
    hardness = np.random.default_rng(0).integers(0, 200, 367) / 100
    for most in (1, 7, 20):
        expected = [0] * len(hardness)
        by_hardness = sorted(enumerate(hardness), key=lambda place: place[1])
        for place, (index, _) in enumerate(by_hardness):
            expected[index] = min(1 + round((place + 1) / len(hardness) * most), most)
        assert hardness_counts(hardness, most) == expected


def test_images_go_where_the_classes_with_gaps_are():
    # Shares: sky 1, 1/2, 1/2, 0 (2 in all); road 0, 1/2, 1/4, 0 (3/4); car 0, 0, 1/4, 0 (1/4). The last is all ignored.
    pixels = np.array([[8, 0, 0], [4, 4, 0], [2, 1, 1], [0, 0, 0]])
    weights = gap_weights(pixels, np.array([0.1, 0.3, 0.6]))
    sky, road, car = 0.1, 0.3, 0.6
    expected = [sky / 2, sky / 4 + road * 2 / 3, sky / 4 + road / 3 + car, 0]  # 0.05, 0.225, 0.725
    np.testing.assert_allclose(weights, 4 * np.array(expected))
    np.testing.assert_allclose(gap_weights(10 * pixels, 0.5 * np.array([0.1, 0.3, 0.6])), weights)
    assert gap_counts(weights, 40) == [2, 9, 29, 0]
    assert sum(gap_counts(weights, 7)) == 7


def test_no_map_gets_more_than_the_most():
    weights = np.array([1.0, 2, 5, 0, 32])  # of 40: the last is full, then of the other 30 the third
    assert gap_counts(weights, 40, 100) == [1, 2, 5, 0, 32]
    assert gap_counts(weights, 40, 16) == [3, 6, 15, 0, 16]
    assert gap_counts(weights, 40, 13) == [5, 9, 13, 0, 13]  # 14 in the proportion of 1 to 2: 4.7 and 9.3
    assert gap_counts(weights, 40, 10) == [10, 10, 10, 0, 10]
    uneven = np.random.default_rng(0).random(30)
    for images in (60, 89, 90):
        counts = gap_counts(uneven, images, 3)
        assert sum(counts) == images and max(counts) == 3
    with pytest.raises(ValueError, match="--images 41 is more than --most 10 of each of the 4 label maps"):
        gap_counts(weights, 41, 10)


def test_a_class_without_an_iou_does_not_count():
    pixels = np.array([[4, 0, 0], [2, 0, 2], [0, 0, 4]])
    weights = gap_weights(pixels, np.array([0.3, 0.9, np.nan]))  # the class in the middle is in no label map
    np.testing.assert_allclose(weights, [2, 1, 0])
    with pytest.raises(ValueError, match="no label map holds a class whose IoU is known and below 100 %"):
        gap_weights(pixels, np.array([0.0, 0.9, np.nan]))


def test_files_by_the_names_of_their_classes(tmp_path):
    file = tmp_path / "filter.json"
    file.write_text(json.dumps({"hardness": {"car": 1.5, "bus": 9, "road": None, "sky": 0}}))
    np.testing.assert_equal(read_hardness(file, SPACE), [0, np.nan, 1.5])
    file.write_text(json.dumps({"split": "val", "IoU": {"sky": 95.5, "road": None, "car": 40}}))
    np.testing.assert_allclose(read_gaps(file, SPACE), [0.045, np.nan, 0.6])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "has no 'hardness' of classes"),
        ({"IoU": {}}, "has no 'hardness' of classes"),
        ({"hardness": {"sky": 1, "car": 1}}, "lacks 1 of the 3 classes, such as 'road'"),
        ({"hardness": {"sky": 1, "road": -1, "car": 1}}, "of 'road' is -1, not a number of 0 or more or null"),
        ({"hardness": {"sky": 1, "road": math.inf, "car": 1}}, "of 'road' is inf"),
        ({"hardness": {"sky": 1, "road": "2", "car": 1}}, "of 'road' is '2'"),
        ({"hardness": {"sky": None, "road": None, "car": None}}, "the hardness of every class is null"),
    ],
)
def test_hardness_that_cannot_be(content, message, tmp_path):
    file = tmp_path / "filter.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_hardness(file, SPACE)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"split": "test"}, "is of the test split: budgets are made from scores on the val split"),
        ({"split": None}, "does not say of which split it is"),
        ({"also_test": True}, "is of images on which the segmenter's config also tests"),
        ({"IoU": {"sky": 90, "road": 101, "car": 1}}, "the IoU of 'road' is 101, not a number of 0 to 100 or null"),
    ],
)
def test_scores_that_may_not_be(changed, message, tmp_path):
    file = tmp_path / "val.json"
    file.write_text(json.dumps({"split": "val", "IoU": {"sky": 90, "road": 80, "car": 20}, **changed}))
    with pytest.raises(ValueError, match=message):
        read_gaps(file, SPACE)

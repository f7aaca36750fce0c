"""Truths by hand about operations on the whole frame, on boundaries and at seams."""

from dataclasses import replace

import numpy as np
import pytest
from perturb_scenes import CAR, ROAD, RULES, SKY, TREE, context_of, street

from augment.perturb.boundary import Dilate, Erode, Jitter
from augment.perturb.context import Context
from augment.perturb.geometry import Crop, Flip, Shift
from augment.perturb.scene import Refused, Scene
from augment.perturb.seam import Seam, seam_columns
from augment.perturb.smooth import spline_weights

SIZE = (32, 48)


@pytest.fixture(scope="module")
def context() -> Context:
    return context_of([street((14, 4, 20, 12))], replace(RULES, min_area=0.0))


def with_columns(scene: Scene) -> Scene:
    """Instances that number the columns, to see where they go."""
    return Scene(scene.label_map, np.tile(np.arange(SIZE[1], dtype=np.int32), (SIZE[0], 1)))


def test_flip(context):
    flipped = Flip.apply(with_columns(street((14, 4, 20, 12))), {}, context)
    np.testing.assert_array_equal(flipped.label_map, street((14, 36, 20, 44)).label_map)
    assert flipped.instances[0].tolist() == list(range(47, -1, -1))


def test_crop_enlarges_a_corner(context):
    scene = street((14, 4, 20, 12))
    crop = Crop.apply(scene, {"zoom": 2.0, "position": [0.0, 0.0]}, context)
    np.testing.assert_array_equal(crop.label_map, np.kron(scene.label_map[:16, :24], np.ones((2, 2), np.uint8)))
    crop = Crop.apply(scene, {"zoom": 2.0, "position": [1.0, 1.0]}, context)
    np.testing.assert_array_equal(crop.label_map, np.kron(scene.label_map[16:, 24:], np.ones((2, 2), np.uint8)))
    whole = Crop.apply(scene, {"zoom": 1.0, "position": [0.3, 0.9]}, context)
    np.testing.assert_array_equal(whole.label_map, scene.label_map)


def test_shift_mirrors_the_sides_and_continues_the_edges(context):
    shifted = Shift.apply(with_columns(street((14, 4, 20, 12))), {"rows": 3, "columns": 2}, context)
    assert shifted.instances[0].tolist() == [1, 0, *range(46)]
    np.testing.assert_array_equal(shifted.label_map, street((17, 6, 23, 14), horizon=15).label_map)
    back = Shift.apply(with_columns(street()), {"rows": -1, "columns": -2}, context)
    assert back.instances[0].tolist() == [*range(2, 48), 47, 46]
    np.testing.assert_array_equal(back.label_map, street(horizon=11).label_map)


def test_splines_are_smooth_and_sum_to_one():
    weights = spline_weights(20, 6.5)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights @ np.arange(weights.shape[1]), 1 + np.arange(20) / 6.5)  # a line stays one


def test_jitter_moves_boundaries_by_about_its_amplitude(context):
    scene = street(size=(100, 300), horizon=50)
    heights = []
    for seed in range(12):
        bent = Jitter.apply(scene, {"seed": seed, "amplitude": 2.0, "spacing": 12.0}, context).label_map
        assert set(np.unique(bent)) == {SKY, ROAD}
        heights.append((bent == SKY).sum(axis=0) - 50)
    assert np.std(heights) == pytest.approx(2, rel=0.2) and np.abs(np.diff(heights)).max() <= 3
    still = Jitter.apply(scene, {"seed": 5, "amplitude": 0.0, "spacing": 12.0}, context)
    np.testing.assert_array_equal(still.label_map, scene.label_map)


def test_one_region_grows_and_shrinks(context):
    scene = street((14, 4, 20, 12), (14, 30, 20, 38))
    larger = Dilate.apply(scene, {"pixel": [16, 6], "radius": 1}, context).label_map
    expected = street((14, 4, 20, 12), (14, 30, 20, 38), (13, 4, 21, 12), (14, 3, 20, 13)).label_map
    np.testing.assert_array_equal(larger, expected)  # a disc of radius 1 is a plus sign
    smaller = Erode.apply(scene, {"pixel": [16, 6], "radius": 2}, context).label_map
    np.testing.assert_array_equal(smaller, street((16, 6, 18, 10), (14, 30, 20, 38)).label_map)


def test_ground_does_not_grow_over_things_and_nothing_over_ignored_pixels(context):
    scene = street((12, 4, 20, 12))
    scene.label_map[12, 20:] = 255
    grown = Dilate.apply(scene, {"pixel": [0, 0], "radius": 2}, context).label_map
    np.testing.assert_array_equal(grown == CAR, scene.label_map == CAR)
    np.testing.assert_array_equal(grown == 255, scene.label_map == 255)
    assert (grown[12:14, 14:18] == SKY).all()


def test_thin_regions_neither_grow_nor_shrink():
    context = context_of([street()])
    scene = street()
    scene.label_map[2:30, 20] = TREE
    reasons = set()
    for seed in range(20):
        try:
            parameters = Dilate().draw(scene, np.random.default_rng(seed), context)
            assert scene.label_map[tuple(parameters["pixel"])] != TREE
        except Refused as refused:
            reasons.add(refused.reason)
    assert reasons == {"thin"}


def test_a_seam_joins_two_halves_and_numbers_instances_anew(context):
    other = Scene(street((14, 30, 20, 40)).label_map, (street((14, 30, 20, 40)).label_map == CAR).astype(np.int32) * 4)
    both = context_of({"other": other}, replace(RULES, min_area=0.0))
    scene = Scene(street((14, 4, 20, 12)).label_map, (street((14, 4, 20, 12)).label_map == CAR).astype(np.int32) * 7)
    record = {"source_key": "other", "kept": "left", "knots": [24.0] * 6}
    joined = Seam.apply(scene, record, both)
    np.testing.assert_array_equal(joined.label_map, street((14, 4, 20, 12), (14, 30, 20, 40)).label_map)
    assert set(np.unique(joined.instances)) == {0, 7, 11}
    kept_right = Seam.apply(scene, {**record, "kept": "right"}, both)
    np.testing.assert_array_equal(kept_right.label_map, street().label_map)


def test_a_seam_is_where_both_maps_agree_and_cuts_no_thing():
    training = {"high": street(horizon=4), "right": street((14, 20, 22, 26), horizon=12)}
    context = context_of(training)
    scene = street((14, 28, 20, 34), horizon=12)
    for seed in range(10):
        seam = Seam(curve=0.01, candidates=2)
        parameters = seam.draw(scene, np.random.default_rng(seed), context)
        assert parameters["source_key"] == "right"
        columns = seam_columns(32, np.array(parameters["knots"]))
        assert 14 <= columns.min() and columns.max() <= 34
        rows = np.arange(14, 20)
        assert (scene.label_map[rows, columns[rows]] == training["right"].label_map[rows, columns[rows]]).all()
    with pytest.raises(Refused, match="agreement"):
        Seam(min_agreement=0.9).draw(scene, np.random.default_rng(0), context_of({"high": training["high"]}))

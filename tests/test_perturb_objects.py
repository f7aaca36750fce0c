"""Truths by hand about objects: finding them, holes, places, scales, what is in front, what goes along."""

from dataclasses import replace

import numpy as np
import pytest
from perturb_scenes import CAR, CLASSES, ROAD, RULES, SKY, TREE, VAN, context_of, street

from augment.perturb.context import Context
from augment.perturb.crumbs import swept
from augment.perturb.fill import fill
from augment.perturb.moving import Drop, Move, Scale, Swap
from augment.perturb.pasting import Paste
from augment.perturb.place import choose_place, coverage
from augment.perturb.scene import Refused, Scene
from augment.perturb.sprite import Sprite, put, resized, take_out, with_carried
from dpsims.labels import IGNORE_INDEX

ALL = (0.0, 1.0)
FREE = replace(RULES, position_range=ALL, height_range=ALL, donor_heights=ALL)


def scene_of(rows: list[str], instances: list[str] | None = None) -> Scene:
    """Letters: s(ky), r(oad), c(ar), v(an), t(ree), . (ignored); digits are instances."""
    ids = {"s": SKY, "r": ROAD, "c": CAR, "v": VAN, "t": TREE, ".": IGNORE_INDEX}
    numbers = None if instances is None else np.array([[int(digit) for digit in row] for row in instances], np.int32)
    return Scene(np.array([[ids[letter] for letter in row] for row in rows], np.uint8), numbers)


def boxes(scene: Scene, class_id: int) -> list[tuple[int, int, int, int]]:
    return [found.box for found in scene.objects(class_id)]


@pytest.fixture(scope="module")
def context() -> Context:
    return context_of([street((10, 5, 16, 15)), street((14, 20, 26, 40), kind=VAN)], FREE)


def test_objects_are_regions_with_corners_or_instances_of_one_class():
    rows = ["crrcc", "rcrcc", "rrrvv"]
    assert boxes(scene_of(rows), CAR) == [(0, 0, 2, 2), (0, 3, 2, 5)]
    assert boxes(scene_of(rows), TREE) == []
    cut = scene_of(rows, ["10078", "01078", "00088"])
    assert boxes(cut, CAR) == [(0, 0, 2, 2), (0, 3, 2, 4), (0, 4, 2, 5)]  # 8 is a car and a van: one object of each
    assert boxes(cut, VAN) == [(2, 3, 3, 5)]
    assert boxes(scene_of(["cc"], ["00"]), CAR) == []  # things of no instance are no objects
    assert cut.object_at(1, 1).pixel == (0, 0) and cut.object_at(0, 1) is None


def test_support_is_what_is_under_the_lowest_pixels():
    scene = scene_of(["ssss", "sccs", "strr"])
    assert scene.support(scene.objects(CAR)[0]) in (TREE, ROAD)
    scene = scene_of(["scccs", "strrs", "sssss"])
    assert scene.support(scene.objects(CAR)[0]) == ROAD
    scene = scene_of(["ss", "sc"])
    assert scene.support(scene.objects(CAR)[0]) == IGNORE_INDEX and not scene.whole(scene.objects(CAR)[0])


def test_a_hole_takes_the_nearest_source_and_no_instance():
    scene = scene_of(["sssss", "scccs", "rcccr", "rr.rr"], ["00000", "01110", "01110", "00000"])
    hole = scene.label_map == CAR
    filled = fill(scene, hole, ~hole & (scene.label_map != IGNORE_INDEX))
    expected = scene_of(["sssss", "sssss", "rrsrr", "rr.rr"])  # the pixel in the middle is nearer to the sky: 2 < √5
    np.testing.assert_array_equal(filled.label_map[[0, 1, 3]], expected.label_map[[0, 1, 3]])
    assert filled.label_map[2].tolist()[::4] == [ROAD, ROAD] and filled.label_map[2, 1] == ROAD
    assert not filled.instances.any()
    with pytest.raises(Refused, match="filling"):
        fill(scene, hole, np.zeros_like(hole))


def test_a_hole_is_filled_from_far_away_too():
    label_map = np.full((3, 90), CAR, np.uint8)
    label_map[:, 0], label_map[:, -1] = SKY, ROAD
    hole = label_map == CAR
    filled = fill(Scene(label_map), hole, ~hole).label_map
    assert (filled[:, :44] == SKY).all() and (filled[:, 46:] == ROAD).all()


def test_a_dropped_car_leaves_road_and_sky_and_takes_its_dark_fringe_along(context):
    scene = street((8, 10, 18, 20))
    scene.label_map[18, 10:20] = IGNORE_INDEX
    dropped = Drop.apply(scene, {"class": "car", "pixel": [8, 10]}, context)
    np.testing.assert_array_equal(dropped.label_map == SKY, street().label_map == SKY)
    assert set(np.unique(dropped.label_map)) == {SKY, ROAD}


def test_what_stood_among_ignored_pixels_leaves_ignored_pixels(context):
    scene = street((14, 16, 20, 24))
    ignored = np.zeros((32, 48), bool)
    ignored[4:30, 6:34] = True
    scene.label_map[ignored & (scene.label_map != CAR)] = IGNORE_INDEX
    dropped = Drop.apply(scene, {"class": "car", "pixel": [14, 16]}, context).label_map
    np.testing.assert_array_equal(dropped, np.where(ignored, IGNORE_INDEX, street().label_map))


def test_a_pasted_car_is_scaled_by_the_height_that_is_usual_at_its_place():
    # Cars whose height doubles from bottom 16 to bottom 24 of 32: the horizon is at 8.
    training = [street((12, 4, 16, 10)), street((16, 20, 24, 32)), street((14, 4, 18, 10)), street((11, 6, 15, 11))]
    training += [street((12, 30, 16, 36))] * 8 + [street((16, 30, 24, 42))] * 8
    context = context_of(training, FREE)
    thing = context.thing(CAR)
    ratio = thing.usual_height(24 / 32) / thing.usual_height(16 / 32)
    assert ratio == pytest.approx(2, rel=0.03)
    donor = training[0].objects(CAR)[0]
    sprite = Sprite.of([donor])
    rows = set()
    for seed in range(30):
        to = choose_place(street(), sprite, np.random.default_rng(seed), context, scale_range=(0.33, 3.0))
        expected = 4 * thing.usual_height(to[2] / 32) / thing.usual_height(16 / 32)
        assert to[2] - to[0] == round(expected) and 15 <= to[2] <= 24
        assert street().label_map[to[2], max(0, to[1])] == ROAD
        rows.add(to[2])
    assert {16, 24} <= rows
    for seed in range(5):
        to = choose_place(street(), sprite, np.random.default_rng(seed), context, scale_range=(1.0, 1.0))
        assert (to[2], to[2] - to[0], to[3] - to[1]) == (16, 4, 6)


def test_a_pasted_box_is_where_its_record_says_and_what_is_nearer_stays_in_front():
    donor = street((14, 4, 20, 12))
    context = context_of({"donor": donor}, FREE)
    scene = Scene(street((16, 20, 26, 30), kind=VAN).label_map, np.zeros((32, 48), np.int32))
    scene.instances[16:26, 20:30] = 5
    record = {"class": "car", "source_key": "donor", "pixel": [14, 4], "mirrored": True, "to": [12, 16, 24, 32]}
    pasted = Paste.apply(scene, record, context)
    expected = scene.label_map.copy()
    expected[12:24, 16:32] = CAR
    expected[16:26, 20:30] = VAN
    np.testing.assert_array_equal(pasted.label_map, expected)
    np.testing.assert_array_equal(pasted.instances[expected == CAR], 6)
    further = Paste.apply(scene, {**record, "to": [12, 16, 26, 32]}, context)  # as near: the new one is in front
    assert (further.label_map[12:26, 16:32] == CAR).all()


def test_what_is_half_outside_at_the_side_is_cut():
    context = context_of({"donor": street((14, 4, 20, 12))}, FREE)
    record = {"class": "car", "source_key": "donor", "pixel": [14, 4], "mirrored": False, "to": [14, -4, 20, 4]}
    pasted = Paste.apply(street(), record, context)
    assert (pasted.label_map[14:20, :4] == CAR).all() and (pasted.label_map == CAR).sum() == 24


def test_no_place_on_what_the_class_never_stood_on(context):
    sprite = Sprite.of([street((10, 5, 16, 15)).objects(CAR)[0]])
    with pytest.raises(Refused, match="support"):
        choose_place(street(horizon=32), sprite, np.random.default_rng(0), context, scale_range=(0.5, 2.0))


def test_an_object_scales_about_the_middle_of_its_bottom(context):
    scene = street((14, 10, 20, 18))
    parameters = Scale(scale_range=(1.5, 1.5)).draw(scene, np.random.default_rng(0), context)
    assert parameters == {"class": "car", "pixel": [14, 10], "to": [11, 8, 20, 20]}
    scaled = Scale.apply(scene, parameters, context)
    np.testing.assert_array_equal(scaled.label_map, street((11, 8, 20, 20)).label_map)


def test_a_moved_object_leaves_no_trace(context):
    scene = street((10, 10, 18, 16))
    moved = Move.apply(scene, {"class": "car", "pixel": [10, 10], "to": [16, 30, 26, 42]}, context)
    np.testing.assert_array_equal(moved.label_map, street((16, 30, 26, 42)).label_map)


def test_a_swap_changes_the_class_in_the_same_pixels(context):
    scene = street((14, 10, 20, 18))
    parameters = Swap(groups=(("car", "van"),)).draw(scene, np.random.default_rng(0), context)
    assert parameters == {"class": "car", "to_class": "van", "pixel": [14, 10], "to": [14, 10, 20, 18]}
    swapped = Swap.apply(scene, parameters, context)
    np.testing.assert_array_equal(swapped.label_map, street((14, 10, 20, 18), kind=VAN).label_map)


def test_a_carrier_takes_its_rider_along_but_not_what_it_hides():
    def pair(left: int) -> Scene:  # a van on a car, as riders are on bicycles
        scene = street((16, left, 22, left + 8))
        scene.label_map[10:16, left + 2 : left + 6] = VAN
        return scene

    context = context_of([pair(4), pair(20), pair(30)], FREE)
    assert context.carries == {(CAR, VAN)} and VAN not in context.supports and CAR in context.supports
    scene = pair(6)
    group, hidden = with_carried(scene, scene.objects(CAR)[0], context)
    assert [found.class_id for found in group] == [CAR, VAN] and not hidden
    moved = Move.apply(scene, {"class": "car", "pixel": [16, 6], "to": [18, 20, 30, 36]}, context)
    assert (moved.label_map[18:30, 20:36] == CAR).all() and (moved.label_map[6:18, 24:32] == VAN).all()
    assert (moved.label_map != ROAD)[12:, :16].sum() == 0

    alone = context_of([street((16, 4, 22, 12))] * 9 + [street((14, 4, 22, 12), kind=VAN)] * 9, FREE)
    group, hidden = with_carried(scene, scene.objects(CAR)[0], alone)
    assert [found.class_id for found in hidden] == [VAN] and len(group) == 1
    with pytest.raises(Refused, match="hides"):
        Move(classes=("car",)).draw(scene, np.random.default_rng(0), alone)
    assert set(np.unique(Drop.apply(scene, {"class": "car", "pixel": [16, 6]}, alone).label_map)) == {SKY, ROAD}


def test_rare_classes_come_first_by_the_root_of_their_share():
    training = [street((14, 4, 20, 12))] * 16 + [street((14, 4, 20, 12), kind=VAN)]
    context = context_of(training, replace(FREE, donor_heights=ALL))
    draws = {boost: [] for boost in (None, "rare")}
    for boost, classes in draws.items():
        for seed in range(400):
            try:
                classes.append(Paste(boost=boost).draw(street(), np.random.default_rng(seed), context)["class"])
            except Refused:
                pass
    # f = 16/17 and 1/17: the odds of a van are 4 to 1 with the boost, 1 to 16 as they come.
    assert np.mean([name == "van" for name in draws["rare"]]) == pytest.approx(0.8, abs=0.06)
    assert np.mean([name == "van" for name in draws[None]]) == pytest.approx(1 / 17, abs=0.04)


def test_resizing_keeps_corners_of_boxes_and_the_numbers_inside():
    numbers = np.array([[1, 1], [2, 2]], np.int32)
    np.testing.assert_array_equal(resized(numbers, 4, 2), [[1, 1], [1, 1], [2, 2], [2, 2]])
    assert resized(numbers, 2, 2) is numbers
    assert resized(np.eye(3, dtype=np.int32), 1, 1).shape == (1, 1)


def test_coverage_counts_the_pixels_inside_the_frame():
    np.testing.assert_allclose(coverage(np.array([1, 1, 0, 0]) > 0, 3), [1, 2 / 3, 1 / 3, 0])


def test_crumbs_go_but_what_was_small_before_stays():
    context = context_of([street((14, 4, 20, 12))], replace(FREE, min_area=9 / (32 * 48)))
    before = street((14, 4, 24, 20))
    before.label_map[28, 40] = CAR  # a speck of the training data
    after = before.label_map.copy()
    after[14:24, 6:18] = VAN  # hides all of the car but strips of 20 pixels …
    after[20:24, 4:20] = VAN  # … and then 12 of each
    after[14:17, 4:6] = VAN  # the left one has 6 pixels left: a crumb
    swept_map = swept(before, Scene(after), context).label_map
    assert (swept_map[17:20, 4:6] != CAR).all() and (swept_map[14:20, 18:20] == CAR).all()
    assert swept_map[28, 40] == CAR


def test_taking_out_what_covers_all_is_refused(context):
    scene = Scene(np.full((32, 48), CAR, np.uint8))
    with pytest.raises(Refused, match="filling"):
        take_out(scene, list(scene.objects(CAR)), context)
    sprite = Sprite.of(list(scene.objects(CAR)))
    assert put(scene, sprite, (0, 60, 32, 108), context)[1:] == (0, 32 * 48) and CLASSES[CAR] == "car"

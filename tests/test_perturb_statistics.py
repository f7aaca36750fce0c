"""Statistics, fits, rules and donors by hand."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from perturb_scenes import CAR, RULES, SKY, SPACE, THINGS, VAN, context_of, fresh, street

from augment.perturb.donors import Donors
from augment.perturb.scene import Refused, Scene
from augment.perturb.statistics import Statistics, centre, fit_horizon, standing, summarize
from augment.perturb.validity import check

SIZE = (32, 48)


def summary(scene: Scene):
    return summarize(scene, things=THINGS, num_classes=5, min_pixels=6)


def test_a_summary_lists_classes_centres_and_objects():
    scene = street((14, 4, 20, 12), (25, 40, 27, 42))
    found = summary(scene)
    assert found.pixels == [12 * 48, 20 * 48 - 52, 52, 0, 0]
    assert found.objects == [[CAR, 14, 4, 14, 4, 20, 12, 48, 1]]  # the other one has 4 pixels
    assert found.centres[SKY] == pytest.approx(6 / 32) and found.centres.keys() == {0, 1, 2}
    assert centre(scene, CAR) == pytest.approx((48 * 17 + 4 * 26) / 52 / 32)


def test_counts_of_images_and_pairs():
    maps = [street(), street((14, 4, 20, 12)), street((14, 4, 20, 12), kind=VAN), street((15, 0, 20, 12), kind=VAN)]
    statistics = Statistics.of(map(summary, maps), SPACE, THINGS, SIZE)
    assert (statistics.images, statistics.presence) == (4, [4, 4, 1, 2, 0])
    np.testing.assert_allclose(statistics.share, [1, 1, 0.25, 0.5, 0])
    assert statistics.together[CAR] == [1, 1, 1, 0, 0] and statistics.together[VAN] == [2, 2, 0, 2, 0]
    assert statistics.pixels[VAN] == 48 + 60
    assert statistics.things["van"].count == 1  # the other one touches the edge
    assert "tree" not in statistics.centres
    with pytest.raises(ValueError, match="no label maps"):
        Statistics.of([], SPACE, THINGS, SIZE)


def test_where_objects_stand_and_how_tall_they_are():
    # Bottoms 14, 16, …, 30 of 32 and heights of half the way to a horizon at 10, with one that is far off.
    bottoms = list(range(14, 31, 2)) * 2
    maps = [street((bottom - (bottom - 10) // 2, 10, bottom, 20)) for bottom in bottoms]
    maps.append(street((4, 10, 30, 20)))
    car = Statistics.of(map(summary, maps), SPACE, THINGS, SIZE).things["car"]
    assert car.count == 19
    assert (car.bottom_at(0.0), car.bottom_at(1.0)) == (14 / 32, 30 / 32) and car.bottom_at(0.5) == pytest.approx(
        22 / 32
    )
    assert (car.horizon, car.growth) == pytest.approx((10 / 32, 0.5), rel=0.03)
    assert [car.usual_height(bottom / 32) * 32 for bottom in (14, 22, 30)] == pytest.approx([2, 6, 10], rel=0.03)
    assert car.residual_at(1.0) == pytest.approx(np.log(2.6), abs=0.05) and abs(car.residual_at(0.9)) < 0.05
    assert car.support == [0, 1, 0, 0, 0]


def test_the_horizon_of_few_objects_is_that_of_all_things():
    cars = [street((bottom - (bottom - 8) // 2, 10, bottom, 20)) for bottom in range(16, 31)]
    vans = [street((12, 10, 20, 20), kind=VAN), street((10, 10, 28, 20), kind=VAN)]
    things = Statistics.of(map(summary, cars + vans), SPACE, THINGS, SIZE).things
    assert things["van"].horizon == pytest.approx(things["car"].horizon, abs=0.03)
    assert things["van"].usual_height(20 / 32) > 1.5 * things["car"].usual_height(20 / 32)
    ends = things["van"].residual_at(0.0), things["van"].residual_at(1.0)
    assert ends == pytest.approx((-np.log(2), np.log(2)), abs=1e-5)


def test_the_horizon_is_far_where_height_does_not_depend_on_place():
    x = np.linspace(0.2, 0.8, 40)
    one = np.zeros(40, int)
    assert fit_horizon(x, np.full(40, -2.0), one) < -9
    assert fit_horizon(x[:1], np.array([-2.0]), one[:1]) < -9
    heights = np.log(0.3 * (x - 0.1))
    heights[::5] += 2  # a minority is far off
    assert fit_horizon(x, heights, one) == pytest.approx(0.1, abs=0.02)


def test_what_stands_on_a_thing_is_not_in_full_view():
    scene = street((14, 4, 20, 12), (20, 4, 26, 12))
    scene.label_map[20:26, 4:12] = VAN
    objects = np.array(summary(scene).objects)
    assert standing(objects, THINGS, SIZE).tolist() == [False, True]
    assert Statistics.of([summary(scene)], SPACE, THINGS, SIZE).carriers == {"car": ["van"]}
    half = [summary(scene), summary(street((14, 4, 20, 12)))]
    assert Statistics.of(half, SPACE, THINGS, SIZE).carriers == {}  # one of two cars may just be behind a van


def test_statistics_are_plain_json_with_a_digest():
    maps = [street((14, 4, 20, 12)), street((15, 9, 22, 20), kind=VAN)]
    statistics = Statistics.of(map(summary, maps), SPACE, THINGS, SIZE)
    again = Statistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    assert again == statistics and again.digest == statistics.digest
    assert Statistics.of(map(summary, maps[:1]), SPACE, THINGS, SIZE).digest != statistics.digest


@pytest.mark.parametrize(
    ("parameters", "after", "reason"),
    [
        ({}, street((14, 4, 20, 12), kind=4), "together"),  # no tree was ever seen
        ({}, street((14, 4, 20, 12), kind=7), "ids"),
        ({"class": "car", "to": [15, 4, 21, 12]}, street((15, 4, 21, 12)), "position"),
        ({"class": "car", "to": [6, 4, 20, 12]}, street((6, 4, 20, 12)), "height"),
        ({}, street((14, 4, 20, 12), horizon=20), "centre"),
    ],
)
def test_each_rule_refuses_what_breaks_it(parameters, after, reason):
    context = context_of([street((14, 4, 20, 12))] * 12, RULES)
    check(street(), street((14, 4, 20, 12)), {"class": "car", "to": [14, 4, 20, 12]}, context)
    with pytest.raises(Refused, match=reason):
        check(street(), after, parameters, context)


def test_two_classes_may_meet_where_enough_training_maps_hold_both():
    both = street((14, 4, 20, 12))
    both.label_map[14:20, 30:40] = VAN
    maps = [both, street((14, 4, 20, 12)), street((14, 30, 20, 40), kind=VAN)]
    before = street((14, 4, 20, 12))
    check(before, both, {}, context_of(maps))
    with pytest.raises(Refused, match="together"):
        check(before, both, {}, context_of(maps, replace(RULES, min_images=2)))
    check(both, street((14, 4, 22, 12)), {}, context_of(maps, replace(RULES, min_images=2)))  # they met before


def test_donors_are_loaded_once_and_only_so_many_are_kept():
    loaded = []

    def load(key: str) -> Scene:
        loaded.append(key)
        return street(size=(250, 400))  # 0.9 MB with what is remembered of it

    donors = Donors(load, {"a": [[CAR, 14, 4, 14, 4, 20, 12, 48, 1]], "b": [], "c": []}, megabytes=2)
    first = donors.scene("a")
    assert donors.scene("a") is first and loaded == ["a"]
    donors.scene("b"), donors.scene("a"), donors.scene("c")  # b was used longest ago
    assert donors.scene("a") is first and loaded == ["a", "b", "c"]
    donors.scene("b")
    assert loaded == ["a", "b", "c", "b"]
    assert donors.keys == ["a", "b", "c"] and donors.key_of(0) == "a" and donors.objects.shape == (1, 9)


def test_threads_share_donors():
    donors = Donors(lambda key: fresh(street(horizon=int(key))), {str(i): [] for i in range(8)}, megabytes=0)
    wrong = []

    def ask(seed: int) -> None:
        for key in np.random.default_rng(seed).integers(0, 8, 200):
            if (donors.scene(str(key)).label_map == SKY).sum() != key * 48:
                wrong.append(key)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong

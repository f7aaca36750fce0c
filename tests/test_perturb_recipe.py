"""Recipes, presets and the pipeline that redraws, counts and records."""

import json
from pathlib import Path

import numpy as np
import pytest
from perturb_scenes import CAR, CLASSES, SPACE, VAN, context_of, fresh, street

from augment.perturb.context import Rules
from augment.perturb.donors import Donors
from augment.perturb.pipeline import Perturbation
from augment.perturb.recipe import Recipe, load_perturbation, preset_names
from augment.perturb.scene import Scene
from augment.perturb.statistics import Statistics, summarize
from dpsims.labels import LabelSpace, default_palette, find_label_space

CAMVID = "sky building pole road pavement tree sign_symbol fence car pedestrian bicyclist".split()


def perturbation_of(ops: list[dict], training: list[Scene], **rules) -> Perturbation:
    recipe = Recipe.from_dict({"things": ["car", "van"], "rules": {"min_area": 0.004, **rules}, "ops": ops}, SPACE)
    context = context_of(training, recipe.rules)
    return Perturbation(recipe, SPACE, context.statistics, context.donors)


def random_streets(classes: list[str], things: list[str]) -> list[Scene]:
    """Every class in a band of its own, things in boxes on them."""
    scenes = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        ground = [i for i, name in enumerate(classes) if name not in things]
        label_map = np.repeat(rng.permutation(ground).astype(np.uint8), 96 // len(ground) + 1)[:96, None]
        label_map = np.tile(label_map, (1, 128))
        for name in things:
            bottom, left = rng.integers(40, 90), rng.integers(5, 100)
            label_map[bottom - rng.integers(8, 30) : bottom, left : left + rng.integers(6, 20)] = classes.index(name)
        scenes.append(Scene(label_map))
    return scenes


@pytest.mark.parametrize("name", ["light", "objects", "rare", "strong", "camvid", "cityscapes"])
def test_every_preset_loads_runs_and_replays(name):
    assert name in preset_names()
    if name == "cityscapes":
        space = find_label_space("cityscapes", Path())
    else:
        named = None if name in ("light", "camvid") else ("car", "pedestrian")
        space = LabelSpace(tuple(CAMVID), default_palette(11), things=named)
    recipe = Recipe.from_dict(load_perturbation(name), space)
    training = random_streets(list(space.classes), list(recipe.things))
    size, ids = training[0].size, recipe.thing_ids(space)
    summaries = {
        str(i): summarize(scene, things=ids, num_classes=space.num_classes, min_pixels=recipe.rules.min_pixels(size))
        for i, scene in enumerate(training)
    }
    statistics = Statistics.of(summaries.values(), space, ids, size)
    donors = Donors(lambda key: training[int(key)], {key: summary.objects for key, summary in summaries.items()})
    perturbation = Perturbation(recipe, space, statistics, donors)
    done: set[str] = set()
    for seed in range(12):
        scene = training[seed % 4]
        perturbed = perturbation.perturb(fresh(scene), seed)
        done |= {record["op"] for record in perturbed.records}
        replayed = perturbation.replay(fresh(scene), json.loads(json.dumps(perturbed.records)))
        np.testing.assert_array_equal(replayed.label_map, perturbed.scene.label_map)
    if name == "light":
        assert not recipe.things and done == {"flip", "crop", "shift", "jitter", "dilate", "erode"}
    else:
        assert {"flip", "paste"} <= done


def test_all_presets_are_tested():
    assert preset_names() == ["camvid", "cityscapes", "light", "objects", "rare", "strong"]


def test_a_file_is_read_and_faults_are_named(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("ops: [{op: flip, p: 1}]")
    assert load_perturbation(file) == {"ops": [{"op": "flip", "p": 1}]}
    file.write_text("ops: [")
    with pytest.raises(ValueError, match=r"mine.yaml cannot be read as YAML"):
        load_perturbation(file)
    file.write_text("- flip")
    with pytest.raises(ValueError, match=r"mine.yaml holds no keys"):
        load_perturbation(file)
    with pytest.raises(ValueError, match=r"cannot be read"):
        load_perturbation(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match=r"no perturbation is called 'strnog', did you mean strong\?"):
        load_perturbation("strnog")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "ops is a list"),
        ({"ops": [], "thing": []}, "unknown key thing, did you mean things?"),
        ({"ops": ["flip"]}, "ops[0] is to be like {op: flip, p: 0.5}, not 'flip'"),
        ({"ops": [{"op": "flp"}]}, "ops[0].op: no operation is called 'flp', did you mean flip?"),
        ({"ops": [{"op": "flip"}, {"op": "flip", "q": 1}]}, "unknown key ops[1].q"),
        ({"ops": [{"op": "flip", "p": 2}]}, "ops[0].p is from 0 to 1, not 2 (flip)"),
        ({"ops": [{"op": "flip", "p": "often"}]}, "ops[0].p is a number such as 0.5, not 'often' (flip)"),
        ({"ops": [{"op": "crop", "zoom_range": [1]}]}, "ops[0].zoom_range is a list of 2 numbers, not [1] (crop)"),
        ({"ops": [{"op": "crop", "zoom_range": [1.5, 1]}]}, "ops[0].zoom_range is two numbers in order, from 1 to 10"),
        ({"ops": [{"op": "seam", "candidates": 1.5}]}, "ops[0].candidates is a whole number, not 1.5"),
        ({"ops": [{"op": "paste", "boost": "often"}]}, "ops[0].boost is rare or null, not 'often'"),
        ({"ops": [{"op": "drop", "classes": "car"}]}, "ops[0].classes is a list of names, not 'car'"),
        ({"ops": [{"op": "drop", "classes": ["road"]}]}, "ops[0].classes (drop): no thing is called 'road'"),
        ({"ops": [{"op": "swap"}]}, "ops[0].groups has no value"),
        ({"ops": [{"op": "swap", "groups": [["car"]]}]}, "groups is lists of two or more classes"),
        ({"ops": [{"op": "swap", "groups": [["car", "vans"]]}]}, "no thing is called 'vans', did you mean van?"),
        ({"ops": [{"op": "flip"}], "things": ["cars"]}, "things: no class is called 'cars', did you mean car?"),
        ({"ops": [{"op": "flip"}], "rules": {"redraw": 1}}, "unknown key rules.redraw, did you mean redraws?"),
        ({"ops": [{"op": "flip"}], "rules": {"min_visible": 3}}, "rules.min_visible is from 0 to 1, not 3"),
        ({"ops": [{"op": "flip"}], "rules": 5}, "rules is to hold keys, not 5"),
    ],
)
def test_a_wrong_recipe_is_an_error_that_names_the_key(values, message):
    space = LabelSpace(CLASSES, default_palette(5), things=("car", "van"))
    with pytest.raises(ValueError) as caught:
        Recipe.from_dict(values, space)
    assert message in str(caught.value)


def test_things_are_needed_before_any_work_and_come_from_the_label_space():
    values = {"ops": [{"op": "flip"}, {"op": "move"}]}
    with pytest.raises(ValueError, match=r"ops\[1\] is move, which works on objects.*things: \[car, …\].*meta.json"):
        Recipe.from_dict(values, SPACE)
    named = LabelSpace(CLASSES, default_palette(5), things=("van",))
    assert Recipe.from_dict(values, named).thing_ids(named) == (VAN,)
    assert Recipe.from_dict({**values, "things": ["car"]}, named).thing_ids(named) == (CAR,)
    assert Recipe.from_dict({"ops": [{"op": "flip"}]}, SPACE).things == ()


def test_a_recipe_is_plain_json_with_a_digest_of_defaults_too():
    values = {"things": ["car", "van"], "ops": [{"op": "swap", "groups": [["car", "van"]]}, {"op": "paste", "p": 1}]}
    recipe = Recipe.from_dict(values, SPACE)
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())), SPACE)
    assert again == recipe and again.digest == recipe.digest
    explicit = {**values, "rules": {"redraws": Rules().redraws}}
    assert Recipe.from_dict(explicit, SPACE).digest == recipe.digest
    assert Recipe.from_dict({**values, "rules": {"redraws": 1}}, SPACE).digest != recipe.digest


def test_a_forbidden_meeting_is_redrawn_counted_and_left_out():
    # Vans never met cars: to swap one of two cars would let them meet, each time that it is drawn.
    training = [street((14, 4, 20, 12), (14, 30, 20, 38)), street((14, 4, 20, 12), kind=VAN)] * 6
    perturbation = perturbation_of([{"op": "swap", "p": 1, "groups": [["car", "van"]]}], training, redraws=3)
    perturbed = perturbation.perturb(training[0], 0)
    assert perturbed.counts == {"swap.redrawn.together": 4, "swap.left_out": 1} and perturbed.records == []
    assert perturbed.scene is training[0]
    alone = perturbation.perturb(street((14, 4, 20, 12)), 0)  # a car alone may become a van
    assert alone.counts == {"swap.done": 1} and (alone.scene.label_map != CAR).all()
    nothing = perturbation.perturb(street(), 0)
    assert nothing.counts == {"swap.nothing": 1} and not nothing.records


def test_an_operation_keeps_its_random_numbers_when_others_come_after_it():
    training = [street((14, 4, 20, 12)), street((16, 20, 24, 30))]
    paste = {"op": "paste", "p": 1}
    short = perturbation_of([paste], training).perturb(training[0], 3)
    long = perturbation_of([paste, {"op": "flip", "p": 1}], training).perturb(training[0], 3)
    assert len(short.records) == 1 and long.records == [*short.records, {"op": "flip"}]
    others = {json.dumps(perturbation_of([paste], training).perturb(training[0], seed).records) for seed in range(8)}
    assert len(others) > 4


def test_an_operation_is_tried_with_its_probability():
    perturbation = perturbation_of([{"op": "flip", "p": 0.25}], [street()])
    counts = sum(perturbation.perturb(street(), seed).counts["flip.done"] for seed in range(400))
    assert counts == pytest.approx(100, abs=30)


def test_donors_of_another_size_are_named():
    perturbation = perturbation_of([{"op": "paste", "p": 1}], [street((14, 4, 20, 12))])
    donors = Donors(lambda key: street(size=(16, 16)), {"a": perturbation.context.donors.objects.tolist()})
    other = Perturbation(perturbation.recipe, SPACE, perturbation.context.statistics, donors)
    with pytest.raises(ValueError, match=r"the label map 'a' is \(16, 16\), not \(32, 48\) \(height, width\)"):
        other.perturb(street(), 0)

"""Over random maps: every operation keeps shape and dtype, invents no id, is a function of its generator, and its
recorded parameters replay it exactly."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perturb_scenes import CLASSES, SPACE, context_of, fresh, street

from augment.perturb.context import Context, Rules
from augment.perturb.pipeline import Perturbation
from augment.perturb.recipe import OPERATIONS, Recipe
from augment.perturb.scene import Refused, Scene
from dpsims.labels import IGNORE_INDEX

ALL = (0.0, 1.0)
GENTLE = Rules(min_area=0.01, donor_heights=ALL, height_range=ALL, position_range=ALL, min_visible=0.1)
EASY = {
    "jitter": {"amplitude_range": (0.03, 0.05)},
    "seam": {"min_agreement": 0.0},
    "swap": {"groups": (("car", "van"),)},
}
few = settings(max_examples=40, deadline=None, derandomize=True)


def operation_of(name: str):
    return OPERATIONS[name](p=1.0, **EASY.get(name, {}))


@st.composite
def scenes(draw: st.DrawFn, size: tuple[int, int], with_instances: bool) -> Scene:
    """Blocks of random classes, a street with random things, one class alone, or nothing but ignored pixels."""
    height, width = size
    kind = draw(st.sampled_from(("street", "street", "street", "street", "blocks", "one", "ignored")))
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    ids = np.array([*range(len(CLASSES)), IGNORE_INDEX], np.uint8)
    if kind == "ignored":
        label_map = np.full(size, IGNORE_INDEX, np.uint8)
    elif kind == "one":
        label_map = np.full(size, rng.integers(len(CLASSES)), np.uint8)
    elif kind == "blocks":
        block = int(rng.integers(1, 6))
        coarse = rng.choice(ids, (height // block + 1, width // block + 1))
        label_map = np.kron(coarse, np.ones((block, block), np.uint8))[:height, :width]
    else:
        label_map = street(size=size, horizon=height // 3).label_map.copy()
        for _ in range(rng.integers(1, 6)):
            bottom, left = rng.integers(height // 3, height + 1), rng.integers(0, width)
            tall, wide = rng.integers(1, max(2, height // 3)), rng.integers(1, max(2, width // 3))
            label_map[max(0, bottom - tall) : bottom, left : left + wide] = rng.choice([2, 3])
        label_map[rng.random(size) < rng.choice([0, 0, 0.02])] = IGNORE_INDEX
    if not with_instances:
        return fresh(Scene(label_map))
    instances = np.zeros(size, np.int32)
    things = (label_map == 2) | (label_map == 3)
    instances[things] = 1000 + np.indices(size)[1][things] // 6  # one car cut at columns, others joined
    return fresh(Scene(label_map, instances))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Scene, list[Scene]]:
    """A scene and training maps of its size."""
    size = draw(st.sampled_from(((1, 1), (2, 9), (11, 1), (16, 24), *[(32, 44)] * 6)))
    with_instances = draw(st.booleans())
    training = [draw(scenes(size, with_instances)) for _ in range(draw(st.integers(1, 3)))]
    return draw(scenes(size, with_instances)), training


def content(scene: Scene) -> tuple:
    instances = scene.instances
    return scene.label_map.tobytes(), None if instances is None else instances.tobytes()


def ids_of(scene: Scene) -> set[int]:
    return set(np.unique(scene.label_map).tolist())


def assert_sound(before: Scene, after: Scene, training: list[Scene], swaps: bool) -> None:
    for old, new in ((before.label_map, after.label_map), (before.instances, after.instances)):
        assert (old is None) == (new is None)
        assert old is None or (old.shape, old.dtype) == (new.shape, new.dtype)
    known = ids_of(before).union(*map(ids_of, training)) | ({2, 3} if swaps else set())
    assert ids_of(after) <= known


@pytest.mark.parametrize("name", OPERATIONS)
@few
@given(case=cases(), seed=st.integers(0, 2**63 - 1))
def test_an_operation_is_sound_drawn_by_its_generator_and_replayed_by_its_parameters(name, case, seed):
    scene, training = case
    operation = operation_of(name)

    def draw(scene: Scene, rng: np.random.Generator, context: Context) -> dict | str | None:
        try:
            return operation.draw(scene, rng, context)
        except Refused as refused:
            return refused.reason

    context, other = context_of(training, GENTLE), context_of(list(map(fresh, training)), GENTLE)
    rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
    for _ in range(4):
        parameters = draw(scene, rng, context)
        assert parameters == draw(fresh(scene), same, other)
        if not isinstance(parameters, dict):
            continue
        try:
            after = operation.apply(scene, parameters, context)
        except Refused:
            continue
        assert_sound(scene, after, training, name == "swap")
        recorded = json.loads(json.dumps(parameters))
        assert content(operation.apply(fresh(scene), recorded, other)) == content(after)


@few
@given(case=cases(), seed=st.integers(0, 2**63 - 1))
def test_a_perturbation_is_a_function_of_its_seed_and_its_records_replay_it(case, seed):
    scene, training = case
    recipe = Recipe((CLASSES[2], CLASSES[3]), GENTLE, tuple((name, operation_of(name)) for name in OPERATIONS))
    context, other = context_of(training, GENTLE), context_of(list(map(fresh, training)), GENTLE)
    perturbation = Perturbation(recipe, SPACE, context.statistics, context.donors)
    again = Perturbation(recipe, SPACE, other.statistics, other.donors)
    done, same = perturbation.perturb(scene, seed), again.perturb(fresh(scene), seed)
    assert content(done.scene) == content(same.scene)
    assert (done.records, done.counts) == (same.records, same.counts)
    assert_sound(scene, done.scene, training, swaps=True)
    assert content(again.replay(fresh(scene), json.loads(json.dumps(done.records)))) == content(done.scene)
    counted = [name for name in OPERATIONS for _ in range(done.counts[f"{name}.done"])]
    assert [record["op"] for record in done.records] == counted


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_does_something_to_a_street(name):
    training = [street((14, 5, 20, 13)), street((16, 20, 24, 30), kind=3), street((13, 30, 18, 38), (20, 4, 29, 16))]
    context = context_of(training, replace(GENTLE, min_area=0.002))
    operation, scene = operation_of(name), street((15, 30, 22, 40), (14, 8, 20, 16), horizon=13)
    changed = 0
    for seed in range(20):
        try:
            parameters = operation.draw(scene, np.random.default_rng(seed), context)
            changed += content(operation.apply(scene, parameters, context)) != content(scene)
        except Refused:
            pass
    assert changed >= 10

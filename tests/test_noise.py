import torch

from dpsims import noise as draw
from dpsims.noise import StepRandom


def test_a_samples_numbers_depend_on_its_position_alone():
    one, other = StepRandom(seed=3, images_seen=0), StepRandom(seed=3, images_seen=64)
    assert torch.equal(one.z([5, 6, 7], 16, draw.G_Z)[1], other.z([6], 16, draw.G_Z)[0])
    assert torch.equal(one.uniform([5, 6], 4, draw.LABELMIX)[1], other.uniform([6], 4, draw.LABELMIX)[0])


def test_purposes_positions_and_seeds_differ():
    random = StepRandom(seed=3, images_seen=0)
    drawn = [
        random.z([5], 16, draw.G_Z),
        random.z([5], 16, draw.D_Z),
        random.z([6], 16, draw.G_Z),
        StepRandom(seed=4, images_seen=0).z([5], 16, draw.G_Z),
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def test_shared_numbers_depend_on_the_step():
    numbers = [torch.rand(3, generator=StepRandom(0, seen).shared(draw.PATCHES)) for seen in (0, 0, 8)]
    assert torch.equal(numbers[0], numbers[1]) and not torch.equal(numbers[0], numbers[2])

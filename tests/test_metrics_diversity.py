"""The distance on feature pyramids, and the pairs it is taken of, by hand."""

import pytest
import torch

from dpsims.backbone import Backbone
from dpsims.metrics.diversity import BackboneDistance, feature_distance, pair_distances


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(2, 3, 3, 64, 80) in [-1, 1]: three versions of each of two images."""
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(2, 1, 3, 64, 80, generator=generator)
    return (2 * base - 1 + 0.4 * torch.randn(2, 3, 3, 64, 80, generator=generator)).clamp(-1, 1)


def test_feature_distance_by_hand():
    # One level of 1x2 pixels and two channels, one of a single pixel and three channels.
    one = [torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]]), torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)]
    other = [torch.tensor([[[[6.0, 5.0]], [[8.0, 0.0]]]]), torch.tensor([-2.0, 0.0, 0.0]).view(1, 3, 1, 1)]
    # Pixel 1: the same direction, 0. Pixel 2: at right angles, 2. Mean 1. The other level: opposite, 4.
    assert feature_distance(one, other).tolist() == pytest.approx([(1 + 4) / 2])
    assert feature_distance(one, one).tolist() == [0]


def test_a_distance_in_the_eyes_of_a_backbone(images):
    torch.manual_seed(0)
    backbone = Backbone("resnet18", pretrained=False, image_size=(64, 80))
    distance = BackboneDistance(backbone)
    assert distance.name == "Diversity/resnet18"
    one, other = images[:, 0], images[:, 1]
    assert torch.equal(distance(one, other), feature_distance(backbone(one), backbone(other)))
    assert torch.equal(distance(one, one), torch.zeros(2))


def test_pairs_are_those_of_one_label_map(images):
    def pixel_distance(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one - other).abs().mean(dim=(1, 2, 3))

    truth = []
    for a, b, c in images:
        truth.append(sum((x - y).abs().mean().item() for x, y in ((a, b), (a, c), (b, c))) / 3)
    for batch_size in (1, 4, 100):
        assert pair_distances(pixel_distance, images, batch_size).tolist() == pytest.approx(truth, rel=1e-5)

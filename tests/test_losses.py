import math

import pytest
import torch
import torch.nn.functional as F

from dpsims.backbone import Backbone
from dpsims.contrastive import PatchContrast
from dpsims.losses import (
    class_pixels,
    class_weights,
    diversity_loss,
    fake_loss,
    info_nce,
    labelled_loss,
    labelmix_loss,
    mean_distance,
    r1_penalty,
)

# Two images of 1x2 pixels, two classes; one pixel ignored.
LABELS = torch.tensor([[[0, 0]], [[1, 255]]])


def logits_of(probabilities: list) -> torch.Tensor:
    """(N, H, W, C+1) softmax values → logits (N, C+1, H, W)."""
    return torch.tensor(probabilities).log().permute(0, 3, 1, 2)


LOGITS = logits_of([[[[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]]], [[[0.5, 0.25, 0.25], [0.6, 0.2, 0.2]]]])


def weights_of(label_map: torch.Tensor, num_classes: int) -> torch.Tensor:
    return class_weights(class_pixels(label_map, num_classes), label_map.numel())


def test_class_weights_by_hand():
    assert class_pixels(LABELS, 3).tolist() == [2, 1, 0]
    weights = weights_of(LABELS, 3)  # 4 pixels; class 0 has 2, class 1 has 1, class 2 is absent
    torch.testing.assert_close(weights, torch.tensor([4 / (2 * 2), 4 / (1 * 2), 0.0]))
    assert (weights[0] * 2 + weights[1] * 1) / 4 == 1


def test_weighted_focal_by_hand():
    expected = -(1.0 * 0.5**2 * math.log(0.5) + 1.0 * 0.2**2 * math.log(0.8) + 2.0 * 0.75**2 * math.log(0.25)) / 4
    loss = labelled_loss(LOGITS, LABELS, weights_of(LABELS, 2), gamma=2.0)
    torch.testing.assert_close(loss, torch.tensor(expected))


def test_unweighted_focal_by_hand():
    expected = -(0.5 * math.log(0.5) + 0.2 * math.log(0.8) + 0.75 * math.log(0.25)) / 4
    torch.testing.assert_close(labelled_loss(LOGITS, LABELS, None, gamma=1.0), torch.tensor(expected))


def test_fake_focal_by_hand():
    expected = -sum((1 - p) ** 2 * math.log(p) for p in (0.2, 0.1, 0.5, 0.6)) / 4
    torch.testing.assert_close(fake_loss(LOGITS, gamma=2.0), torch.tensor(expected))


def test_fake_focal_leaves_out_what_is_not_valid():
    valid = torch.tensor([[[True, False]], [[False, True]]])
    expected = -sum((1 - p) ** 2 * math.log(p) for p in (0.2, 0.6)) / 4
    torch.testing.assert_close(fake_loss(LOGITS, 2.0, valid), torch.tensor(expected))


def test_labelmix_by_hand():
    real, fake = torch.zeros(1, 2, 1, 2), torch.ones(1, 2, 1, 2)
    mask = torch.tensor([[[True, False]]])  # D of the mix should be 0, 1
    mixed = torch.tensor([[[[0.5, 1.0]], [[0.0, 3.0]]]])
    torch.testing.assert_close(labelmix_loss(mixed, real, fake, mask), torch.tensor((0.25 + 0 + 0 + 4) / 4))


def test_r1_by_hand():
    """Logits linear in the image: the gradient is a constant that one can write down."""
    real = torch.zeros(2, 3, 1, 2, requires_grad=True)
    red = real[:, :1]
    logits = torch.cat([-red, 3 * red, 5 * red], dim=1)  # fake, class 0, class 1
    # Image 1: two pixels of class 0, evidence 4 red each, halved by the mean. Image 2: one of class 1, evidence 6 red.
    expected = ((2**2 + 2**2) + 6**2) / 2 / 2
    penalty = r1_penalty(logits, LABELS, real)
    torch.testing.assert_close(penalty, torch.tensor(float(expected)))


def test_gamma_0_is_weighted_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 6, 4, 5), torch.randint(0, 5, (2, 4, 5))
    labels[0, 0] = 255
    weights = weights_of(labels, 5)
    target = torch.where(labels == 255, -100, labels + 1)
    reference = F.cross_entropy(logits, target, F.pad(weights, (1, 0)), reduction="sum") / labels.numel()
    torch.testing.assert_close(labelled_loss(logits, labels, weights, gamma=0.0), reference)
    torch.testing.assert_close(fake_loss(logits, 0.0), F.cross_entropy(logits, torch.zeros_like(labels)))


def test_focal_gradient_is_finite_where_p_is_1():
    logits = torch.tensor([100.0, 0.0]).view(1, 2, 1, 1).requires_grad_()
    fake_loss(logits, gamma=0.5).backward()
    assert logits.grad.isfinite().all()


def test_info_nce_by_hand():
    anchor = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])  # lengths do not count
    positive = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    tau = 0.5
    first = -math.log(math.exp(1 / tau) / (2 * math.exp(1 / tau)))  # both places match alike
    second = -math.log(1 / 2)
    torch.testing.assert_close(info_nce(anchor, positive, tau), torch.tensor((first + second) / 2))


def test_info_nce_prefers_the_same_place():
    torch.manual_seed(0)
    patches = torch.randn(2, 8, 16)
    assert info_nce(patches, patches, 0.3) < info_nce(patches, patches.roll(1, dims=1), 0.3)


def test_diversity_hinge_by_hand():
    z_1, z_2 = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 5.0]])  # unit: distance 1
    features_1, features_2 = torch.zeros(2, 1, 1, 4), torch.zeros(2, 1, 1, 4)
    features_2[0] = 3.0  # ratio 3 > τ: no loss
    features_2[1, ..., 0] = 2.0  # ratio 0.5: hinge 1.5
    loss = diversity_loss(features_1, features_2, z_1, z_2, tau=2.0)
    torch.testing.assert_close(loss, torch.tensor(0.75))


def test_tau_over_pairs_that_differ_by_hand():
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # mean |Δz|: 1, 1, 1
    features = torch.tensor([0.0, 1.0, 4.0]).view(3, 1, 1, 1).expand(3, 2, 3, 1)
    torch.testing.assert_close(mean_distance(features, z), torch.tensor((1.0 + 4.0 + 3.0) / 3))


def test_mean_distance_of_one_image_is_a_mistake():
    with pytest.raises(AssertionError):
        mean_distance(torch.zeros(1, 1, 1, 1), torch.ones(1, 2))


def test_patch_contrast_prefers_the_real_image_and_trains_the_projectors_only():
    torch.manual_seed(0)
    network = Backbone("tf_efficientnet_lite0", pretrained=True, image_size=(64, 64), strides=(4, 8))
    contrast = PatchContrast(network, embedding_dim=16, num_patches=20, temperature=0.3)
    real = torch.rand(2, 3, 64, 64) * 2 - 1
    fake = torch.zeros_like(real).requires_grad_()
    rng = torch.Generator()
    loss = contrast(fake, real, rng.manual_seed(0))
    loss.backward()
    assert contrast(real, real, rng.manual_seed(0)) < loss
    assert fake.grad.abs().sum() > 0
    assert all(p.grad is not None for p in contrast.projectors.parameters())
    assert all(p.grad is None for p in network.parameters())

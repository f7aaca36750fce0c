"""The losses of DP-SIMS as functions of logits, label maps and features (equations: README, "The method").

Logits are (N, C+1, H, W) with the class "fake" first; label maps are (N, H, W) with 255 = ignore. All are computed
in fp32, whatever the nets ran in.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dpsims.labels import IGNORE_INDEX

FAKE = 0


def class_pixels(label_map: Int[Tensor, "n h w"], num_classes: int) -> Int[Tensor, " c"]:
    """Pixels of each class."""
    return torch.bincount(label_map.flatten(), minlength=256)[:num_classes]


def class_weights(pixels: Int[Tensor, " c"], total: int) -> Float[Tensor, " c"]:
    """Inverse pixel frequency α_c = total / (pixels of c · classes present); 0 for absent classes.

    Over the `total` pixels of the batch that was counted, ignored ones included, the weights average to 1 where all
    are labelled (OASIS).
    """
    present = (pixels > 0).sum().clamp(min=1)
    return torch.where(pixels > 0, total / (pixels.clamp(min=1) * present), 0.0)


def labelled_loss(
    logits: Float[Tensor, "n d h w"], label_map: Int[Tensor, "n h w"], weights: Float[Tensor, " c"] | None, gamma: float
) -> Float[Tensor, ""]:
    """Weighted focal loss towards each pixel's class: D on real images, and G through D.

    -1/(N·H·W) Σ α_c (1 - p_c)^γ log p_c, with c the pixel's class and p the softmax over C+1. Ignored pixels weigh 0.
    With γ = 0 it is OASIS' weighted cross-entropy; `weights=None` weighs all classes 1.
    """
    known = label_map != IGNORE_INDEX  # (N, H, W)
    target = torch.where(known, label_map + 1, FAKE)  # class k is at k+1
    loss = _focal(logits, target, gamma)  # (N, H, W)
    alpha = known.float() if weights is None else F.pad(weights, (1, 0))[target]  # 0 where unknown
    return (alpha * loss).mean()


def fake_loss(
    logits: Float[Tensor, "n d h w"], gamma: float, valid: Bool[Tensor, "n h w"] | None = None
) -> Float[Tensor, ""]:
    """Focal loss towards "fake" at every pixel, without class weights: D on generated images.

    Args:
        valid: leave out the pixels where this is False (those that an augmentation has blanked).
    """
    target = torch.full_like(logits[:, 0], FAKE, dtype=torch.long)
    loss = _focal(logits, target, gamma)  # (N, H, W)
    return loss.mean() if valid is None else (loss * valid).mean()


def _focal(logits: Tensor, target: Tensor, gamma: float) -> Tensor:
    """-(1 - p)^γ log p of the target class (Lin et al. 2017, eq. 4): (N, D, H, W), (N, H, W) → (N, H, W)."""
    cross_entropy = F.cross_entropy(logits.float(), target, reduction="none")  # -log p
    if gamma == 0:
        return cross_entropy
    return (1 - torch.exp(-cross_entropy)).clamp(min=1e-8) ** gamma * cross_entropy


def labelmix_loss(
    mixed_logits: Float[Tensor, "n d h w"],
    real_logits: Float[Tensor, "n d h w"],
    fake_logits: Float[Tensor, "n d h w"],
    from_real: Bool[Tensor, "n h w"],
) -> Float[Tensor, ""]:
    """LabelMix (Schönfeld et al. 2021, OASIS): D of a mix of real and fake = the same mix of D(real) and D(fake)."""
    expected = torch.where(from_real.unsqueeze(1), real_logits, fake_logits)
    return F.mse_loss(mixed_logits.float(), expected.float())


def r1_penalty(
    logits: Float[Tensor, "n d h w"], label_map: Int[Tensor, "n h w"], real: Float[Tensor, "n 3 h w"]
) -> Float[Tensor, ""]:
    """R1 (Mescheder et al. 2018), ½ E ‖∇ₓ s‖², for the N+1 loss: s is the mean over an image's labelled pixels of
    logit(its class) - logit(fake), D's evidence that the image is real.
    """
    known = label_map != IGNORE_INDEX  # (N, H, W)
    target = torch.where(known, label_map + 1, FAKE).unsqueeze(1)
    evidence = (logits.float().gather(1, target) - logits.float()[:, FAKE : FAKE + 1]).squeeze(1)  # 0 where unknown
    score = evidence.sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)  # (N,)
    (gradient,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean() / 2


def info_nce(anchor: Float[Tensor, "n p e"], positive: Float[Tensor, "n p e"], temperature: float) -> Float[Tensor, ""]:
    """InfoNCE over P places of each image (Park et al. 2020, CUT): place i of `anchor` should match place i of
    `positive`, against the other places of that same image. Embeddings are put on the unit sphere here.
    """
    anchor, positive = F.normalize(anchor.float(), dim=-1), F.normalize(positive.float(), dim=-1)
    similarity = anchor @ positive.transpose(1, 2) / temperature  # (N, P, P)
    target = torch.arange(anchor.shape[1], device=anchor.device).expand(len(anchor), -1)  # (N, P)
    return F.cross_entropy(similarity.flatten(0, 1), target.flatten())


def diversity_loss(
    features_1: Float[Tensor, "n c H W"],
    features_2: Float[Tensor, "n c H W"],
    z_1: Float[Tensor, "n z"],
    z_2: Float[Tensor, "n z"],
    tau: float,
) -> Float[Tensor, ""]:
    """Hinge max(0, τ - ‖f₁ - f₂‖₁ / ‖z₁ - z₂‖₁), the mean over N pairs of samples of one label map each.

    Norms are means over elements, here and in `mean_distance`: the equation's sums would differ by one constant that
    depends on the image size, and so would the meaning of λ_div. z is on the unit sphere.
    """
    z_1, z_2 = F.normalize(z_1, dim=1), F.normalize(z_2, dim=1)
    distance = (features_1.float() - features_2.float()).abs().flatten(1).mean(1)  # (N,)
    return F.relu(tau - distance / (z_1 - z_2).abs().mean(1)).mean()


def mean_distance(features: Float[Tensor, "n c H W"], z: Float[Tensor, "n z"]) -> Float[Tensor, ""]:
    """Mean of ‖f_i - f_j‖₁ / ‖z_i - z_j‖₁ over i ≠ j of a batch (eq. 7, where i = j would be 0/0)."""
    assert len(features) > 1, "eq. 7 needs two images in a batch"
    features, z = features.float().flatten(1), F.normalize(z, dim=1)
    distances = torch.cdist(features, features, p=1) / features.shape[1]  # (N, N)
    z_distances = torch.cdist(z, z, p=1) / z.shape[1]
    pairs = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (distances[pairs] / z_distances[pairs]).mean()

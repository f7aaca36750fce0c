"""How far apart images of one label map lie, over pairs of z (Table S9), and that distance on any feature pyramid."""

from collections.abc import Callable
from itertools import combinations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dpsims.backbone import Backbone


def feature_distance(
    features_1: list[Float[Tensor, "n _ _ _"]], features_2: list[Float[Tensor, "n _ _ _"]]
) -> Float[Tensor, " n"]:
    """LPIPS with unit weights: channels to unit length, squared difference, mean over space, mean over levels. 0..4."""
    levels = []
    for one, other in zip(features_1, features_2, strict=True):
        difference = F.normalize(one, dim=1) - F.normalize(other, dim=1)  # (N, C, h, w)
        levels.append(difference.square().sum(dim=1).mean(dim=(1, 2)))
    return torch.stack(levels).mean(dim=0)


class BackboneDistance(nn.Module):
    """`feature_distance` of images in [-1, 1], in the eyes of a frozen network: needs no weights of its own."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.name = f"Diversity/{backbone.net.pretrained_cfg['architecture']}"

    @torch.no_grad()
    def forward(self, images_1: Float[Tensor, "n 3 h w"], images_2: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        return feature_distance(self.backbone(images_1), self.backbone(images_2))


def pair_distances(
    distance: Callable[[Tensor, Tensor], Tensor], images: Float[Tensor, "m k 3 h w"], batch_size: int
) -> Float[Tensor, " m"]:
    """The mean distance over all pairs of the K images of each of M label maps."""
    count, samples = images.shape[:2]
    pairs = [(m, i, j) for m in range(count) for i, j in combinations(range(samples), 2)]
    found = []
    for start in range(0, len(pairs), batch_size):
        m, i, j = torch.tensor(pairs[start : start + batch_size], device=images.device).T
        found.append(distance(images[m, i], images[m, j]))
    return torch.cat(found).view(count, -1).mean(dim=1)

"""How far apart images of one label map lie: LPIPS over pairs of z (Table S9), and the same on any feature pyramid."""

import textwrap
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision.models import WeightsEnum

from dpsims.backbone import Backbone
from dpsims.pretrained import read_weights

LPIPS_NETS = ("alex", "vgg")


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


class Lpips(nn.Module):
    """LPIPS of images in [-1, 1] (Zhang et al. 2018), by torchmetrics, which ships its heads.

    Args:
        net: alex or vgg.
        weights: torchvision's ImageNet weights of AlexNet or VGG16 as a local file; without one from where torch keeps
            its downloads ($TORCH_HOME), or from the network.
    """

    def __init__(self, net: str, weights: str | None = None) -> None:
        super().__init__()
        if net not in LPIPS_NETS:
            raise ValueError(f"LPIPS works on {' or '.join(LPIPS_NETS)}, not {net!r}")
        self.name = f"LPIPS/{net}"
        state = read_backbone(net, weights)
        # torchmetrics' public class knows no local file, and its function builds the network at every call.
        self.net = _NoTrainLpips(net=net, pnet_rand=True)
        places = {key: f"features.{key.split('.', 1)[1]}" for key in self.net.net.state_dict()}  # slice1.0.weight
        missing = sorted(set(places.values()) - state.keys())
        if missing:
            raise ValueError(f"{weights} lacks {len(missing)} of the weights of LPIPS' {net}, such as {missing[0]}")
        try:
            self.net.net.load_state_dict({key: state[place] for key, place in places.items()})
        except RuntimeError as error:
            reason = textwrap.shorten(str(error), 200)
            raise ValueError(f"{weights} does not hold the weights of LPIPS' {net}: {reason}") from error

    @torch.no_grad()
    def forward(self, images_1: Float[Tensor, "n 3 h w"], images_2: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        return self.net(images_1, images_2).flatten()


def lpips_at_hand(net: str) -> bool:
    """Whether `Lpips(net)` needs no network."""
    return (Path(torch.hub.get_dir()) / "checkpoints" / _torchvision_weights(net).url.rpartition("/")[2]).is_file()


def read_backbone(net: str, weights: str | None) -> dict[str, Tensor]:
    """torchvision's AlexNet or VGG16 as tensors, by its names."""
    if weights is not None:
        return read_weights(weights)
    entry = _torchvision_weights(net)
    try:
        return entry.get_state_dict(map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        name = entry.url.rpartition("/")[2]
        raise ValueError(
            f"the weights of LPIPS' {net} cannot be downloaded ({error}). Without network, give {name} of torchvision "
            "as a local file, or put it into $TORCH_HOME/hub/checkpoints"
        ) from error


def _torchvision_weights(net: str) -> WeightsEnum:
    models = torchvision.models
    return {"alex": models.AlexNet_Weights, "vgg": models.VGG16_Weights}[net].IMAGENET1K_V1


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

"""LPIPS, the distance of Table S9, by torchmetrics on weights that are read as tensors only."""

import textwrap
from pathlib import Path

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchvision.models import WeightsEnum

from dpsims.pretrained import read_weights

LPIPS_NETS = ("alex", "vgg")


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

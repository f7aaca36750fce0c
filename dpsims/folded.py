"""The generator's layers in eval mode, as plain weights: spectral norm, batch norms and gates are constants there.

All is folded in float64; the weights are float32.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dpsims.generator import PyramidBlock
from dpsims.layers import SPADE, Modulation, SPADEResBlock


def affine(norm: nn.BatchNorm2d) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """a and b of a·x + b, which a batch norm is in eval mode."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    return (scale * norm.weight, shift * norm.weight + norm.bias) if norm.affine else (scale, shift)


def weights(layer: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight, spectral norm applied, and bias."""
    return layer.weight.double(), layer.bias.double()


def pointwise(layer: nn.Conv2d) -> tuple[Float[Tensor, "o i"], Float[Tensor, " o"]]:
    """Those of a 1x1 convolution, as a linear layer has them."""
    weight, bias = weights(layer)
    return weight.flatten(1), bias


def before_norm(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Float[Tensor, "o i k k"], Float[Tensor, " o"]]:
    """Those of a convolution and the batch norm behind it."""
    (weight, bias), (scale, shift) = weights(layer), affine(norm)
    return weight * scale.view(-1, 1, 1, 1), bias * scale + shift


def plain_conv(weight: Float[Tensor, "o i k k"], bias: Float[Tensor, " o"], stride: int = 1) -> nn.Conv2d:
    outputs, inputs, size, _ = weight.shape
    options = {"stride": stride, "padding": size // 2, "device": weight.device}
    return _filled(nn.utils.skip_init(nn.Conv2d, inputs, outputs, size, **options), weight, bias)


def plain_linear(weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]) -> nn.Linear:
    outputs, inputs = weight.shape
    return _filled(nn.utils.skip_init(nn.Linear, inputs, outputs, device=weight.device), weight, bias)


def _filled(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> nn.Module:
    """For layers of skip_init: initial values would be drawn from the global random state."""
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer.requires_grad_(False)


class ClassConv(nn.Module):
    """A 3x3 convolution over the one-hot map of ids, and over instance offsets, without a one-hot map.

    For each of a pixel's nine neighbours the convolution picks the column of its weights that belongs to the
    neighbour's class, and adds the nine up. So these columns are the rows of a table, 9·(C+1) of them. The row of an
    ignored neighbour, or of one outside, is zeros; the centre's rows hold the bias.

    Args:
        weight: (K, C or C+2, 3, 3), the offsets' channels last.
        num_classes: C.
    """

    def __init__(self, weight: Float[Tensor, "k i 3 3"], bias: Float[Tensor, " k"], num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        table = weight[:, :num_classes].permute(2, 3, 1, 0).flatten(0, 1)  # (9, C, K)
        table = F.pad(table, (0, 0, 0, 1))  # (9, C+1, K)
        table[4] += bias
        self.register_buffer("table", table.flatten(0, 1).float())  # (9·(C+1), K)
        first_rows = torch.arange(9, dtype=torch.int32, device=weight.device) * (num_classes + 1)
        self.register_buffer("first_rows", first_rows)  # (9)
        of_offsets = weight[:, num_classes:]  # (K, 0 or 2, 3, 3)
        self.offsets = plain_conv(of_offsets, torch.zeros_like(bias)) if of_offsets.shape[1] else None

    def forward(
        self, label_map: Int[Tensor, "m h w"], offsets: Float[Tensor, "m 2 h w"] | None = None
    ) -> Float[Tensor, "m k h w"]:
        ids = label_map.int().clamp(max=self.num_classes)  # 255 → C
        ids = F.pad(ids, (1, 1, 1, 1), value=self.num_classes)  # (M, h+2, w+2)
        rows = ids.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3) + self.first_rows  # (M, h, w, 9)
        x = F.embedding_bag(rows.flatten(0, 2), self.table, mode="sum")  # (M·h·w, K)
        x = x.unflatten(0, label_map.shape).permute(0, 3, 1, 2)  # (M, K, h, w), channels last
        return x if self.offsets is None else x + self.offsets(offsets.to(x.dtype))


class FoldedPyramidBlock(nn.Module):
    """`PyramidBlock` behind its first convolution and norm. Pixels lie in rows, so 1x1 convolutions are linear layers.

    What a cross-attention multiplies each pixel by before and after its softmax goes to the side of the few tokens:

        softmax((Wq x + bq)·k / √d) = softmax(x·(Wqᵀk / √d) + bq·k / √d)      Wo Σ p v = Σ p (Wo v)

    A bias of k adds the same to the scores of all tokens, which the softmax does not see.
    """

    def __init__(self, block: PyramidBlock) -> None:
        super().__init__()
        noise, attention = block.cross_attention, block.self_attention
        (query, query_bias), (out, out_bias) = pointwise(noise.query), pointwise(noise.out)  # (c/2, C), (C, c/2)
        (key, _), (value, value_bias) = weights(noise.key), weights(noise.value)  # (c/2, d)
        key = key / math.sqrt(len(key))
        scale, shift = affine(block.norm_1)  # of x + η·out
        out, out_bias = out * (noise.gate * scale).unsqueeze(1), out_bias * noise.gate * scale + shift
        of_tokens = [query.T @ key, query_bias.unsqueeze(0) @ key, out @ value]  # each (·, d)
        bias = torch.cat([key.new_zeros(len(scale) + 1), out @ value_bias + out_bias])  # the p of a pixel sum to 1
        self.tokens = plain_linear(torch.cat(of_tokens), bias)  # d → C + 1 + C
        self.register_buffer("scale", scale.float())

        self.qkv = plain_linear(*pointwise(attention.qkv))
        out, out_bias = pointwise(attention.out)
        self.attention_out = plain_linear(out * attention.gate, out_bias * attention.gate)
        (out, out_bias), (scale, shift) = pointwise(block.conv_out), affine(block.norm_2)
        self.out = plain_linear(out * scale, out_bias + out @ shift)

    def forward(self, x: Float[Tensor, "n c h w"], tokens: Float[Tensor, "n t e"]) -> Float[Tensor, "n c h w"]:
        """Args: tokens: the noise's, after `self.tokens`."""
        size, channels = x.shape[-2:], x.shape[1]
        x = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, hw, C)
        key, score, value = tokens.to(x.dtype).split([channels, 1, channels], dim=2)  # each (N, T, ·)
        p = torch.baddbmm(score.mT, x, key.mT).softmax(dim=2)  # (N, hw, T)
        x = F.gelu(torch.baddbmm(x * self.scale, p, value))  # (N, hw, C)
        y = F.scaled_dot_product_attention(*self.qkv(x).chunk(3, dim=2))  # (N, hw, c/2)
        x = self.out(F.gelu(x + self.attention_out(y)))  # (N, hw, C)
        return x.unflatten(1, size).permute(0, 3, 1, 2)  # (N, C, h, w), channels last


class FoldedSPADE(nn.Module):
    """(1 + γ)·(a·x + b) + β as x·G + B, G = a·(1 + γ) and B = β + b·(1 + γ): convolutions, as γ and β are."""

    def __init__(self, spade: SPADE) -> None:
        super().__init__()
        scale, shift = affine(spade.norm)
        (gamma, gamma_bias), (beta, beta_bias) = weights(spade.gamma), weights(spade.beta)
        self.shared = plain_conv(*weights(spade.shared))
        self.scale = plain_conv(gamma * scale.view(-1, 1, 1, 1), (1 + gamma_bias) * scale)
        self.shift = plain_conv(beta + gamma * shift.view(-1, 1, 1, 1), beta_bias + (1 + gamma_bias) * shift)

    def modulation(self, cond: Float[Tensor, "m k h w"]) -> Modulation:
        hidden = F.relu_(self.shared(cond))  # (M, hidden, h, w)
        return self.scale(hidden), self.shift(hidden)  # (M, C, h, w) each


def modulate(x: Float[Tensor, "n c h w"], modulation: Modulation) -> Float[Tensor, "n c h w"]:
    """x·G + B. With M conditionings and N = M·K inputs, input i takes G and B of conditioning i // K."""
    scale, shift = modulation
    if len(scale) == len(x):
        return torch.addcmul(shift, x, scale)
    x = x.unflatten(0, (len(scale), -1))  # (M, K, C, h, w)
    return torch.addcmul(shift.unsqueeze(1), x, scale.unsqueeze(1)).flatten(0, 1)  # (N, C, h, w)


class FoldedResBlock(nn.Module):
    """`SPADEResBlock`."""

    def __init__(self, block: SPADEResBlock) -> None:
        super().__init__()
        norms = [block.norm_0, block.norm_1] + ([block.norm_skip] if block.learned_skip else [])
        self.norms = nn.ModuleList(FoldedSPADE(norm) for norm in norms)
        self.conv_0, self.conv_1 = plain_conv(*weights(block.conv_0)), plain_conv(*weights(block.conv_1))
        self.conv_skip = plain_conv(*weights(block.conv_skip)) if block.learned_skip else None

    def modulations(self, cond: Float[Tensor, "m k h w"]) -> list[Modulation]:
        return [norm.modulation(cond) for norm in self.norms]

    def forward(self, x: Float[Tensor, "n c h w"], modulations: list[Modulation]) -> Float[Tensor, "n d h w"]:
        skip = self.conv_skip(modulate(x, modulations[2])) if self.conv_skip else x  # (N, D, h, w)
        x = self.conv_0(F.leaky_relu_(modulate(x, modulations[0]), 0.2))  # (N, min(C, D), h, w)
        x = self.conv_1(F.leaky_relu_(modulate(x, modulations[1]), 0.2))  # (N, D, h, w)
        return x.add_(skip)

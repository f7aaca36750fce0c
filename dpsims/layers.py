"""The blocks that generator and discriminator share: spectral norm, attention and SPADE."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

Modulation = tuple[Tensor, Tensor]  # γ and β, each (M, C, h, w)


def conv(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A "same" convolution under spectral norm, as all convolutions of G and D are (supplement, A.1)."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)
    return spectral_norm(_initialise(layer))


def linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer under spectral norm."""
    return spectral_norm(_initialise(nn.Linear(in_features, out_features)))


def _initialise(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Spectral norm fixes the scale, so only the direction counts: Glorot-uniform weights, zero biases."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def settle_weights(*nets: nn.Module, gradient: bool) -> None:
    """Compute the spectral-normalised weights of nets once for all calls of a pass, within `parametrize.cached()`.

    In fp32 also under autocast: σ is a product of vectors. In training mode this is the pass's one power iteration.
    """
    for net in nets:
        device = next(net.parameters()).device.type
        with torch.set_grad_enabled(gradient), torch.autocast(device, enabled=False):
            for layer in net.modules():
                if parametrize.is_parametrized(layer, "weight"):
                    _ = layer.weight


class ConvBlock(nn.Sequential):
    """Table S2, "Conv block": Conv2d(3), BN, GELU, Conv2d(1)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            conv(in_channels, out_channels),
            nn.BatchNorm2d(out_channels),
            nn.GELU(),
            conv(out_channels, out_channels, 1),
        )


class CrossAttention(nn.Module):
    """Noise injection (Fig. S1): x + η · softmax(Q Kᵀ / √d) V, with Q from the features, K and V from noise tokens.

    The inner width d is half the features' ("channel divider 2"). η is a learned scalar (its start is not stated in
    the supplement).
    """

    def __init__(self, channels: int, token_dim: int, *, gate_init: float) -> None:
        super().__init__()
        inner = channels // 2
        self.query = conv(channels, inner, 1)
        self.key = linear(token_dim, inner)
        self.value = linear(token_dim, inner)
        self.out = conv(inner, channels, 1)
        self.gate = nn.Parameter(torch.tensor(float(gate_init)))

    def forward(self, x: Float[Tensor, "n c h w"], tokens: Float[Tensor, "n t d"]) -> Float[Tensor, "n c h w"]:
        q = self.query(x).flatten(2).transpose(1, 2)  # (N, hw, c/2)
        k, v = self.key(tokens), self.value(tokens)  # (N, T, c/2)
        y = F.scaled_dot_product_attention(q, k, v)  # (N, hw, c/2)
        y = y.transpose(1, 2).unflatten(2, x.shape[-2:])  # (N, c/2, h, w)
        return x + self.gate * self.out(y)


class SelfAttention(nn.Module):
    """x + η · softmax(Q Kᵀ / √d) V over all positions of x, η a learned scalar from 0 (Zhang et al. 2019, SAGAN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.qkv = conv(channels, 3 * inner, 1)
        self.out = conv(inner, channels, 1)
        self.gate = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        q, k, v = self.qkv(x).flatten(2).transpose(1, 2).chunk(3, dim=-1)  # each (N, hw, c/2)
        y = F.scaled_dot_product_attention(q, k, v)  # (N, hw, c/2)
        y = y.transpose(1, 2).unflatten(2, x.shape[-2:])  # (N, c/2, h, w)
        return x + self.gate * self.out(y)


class SPADE(nn.Module):
    """Spatially-adaptive normalisation (Park et al. 2019, eq. 1): conditioning maps set scale and shift per pixel.

    It works in two steps, because one label map serves many samples: `modulation` makes γ and β from the conditioning,
    `forward` applies them. With M conditionings and N = M·K inputs, input i takes γ and β of conditioning i // K.
    """

    def __init__(self, channels: int, cond_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = conv(cond_channels, hidden_channels)
        self.gamma = conv(hidden_channels, channels)
        self.beta = conv(hidden_channels, channels)

    def modulation(self, cond: Float[Tensor, "m k h w"]) -> Modulation:
        hidden = F.relu(self.shared(cond))  # (M, hidden, h, w)
        return self.gamma(hidden), self.beta(hidden)  # (M, C, h, w) each

    def forward(self, x: Float[Tensor, "n c h w"], modulation: Modulation) -> Float[Tensor, "n c h w"]:
        gamma, beta = modulation
        x = self.norm(x)
        if len(gamma) == len(x):  # in training; besides, views of batches of one break torch's batch norm (see tests)
            return x * (1 + gamma) + beta
        x = x.unflatten(0, (len(gamma), -1))  # (M, K, C, h, w)
        return (x * (1 + gamma.unsqueeze(1)) + beta.unsqueeze(1)).flatten(0, 1)  # (N, C, h, w)


class SPADEResBlock(nn.Module):
    """Residual block of the image path (Table S2: SPADE, leaky ReLU, Conv2d(3)), with a learned skip as in OASIS."""

    def __init__(self, in_channels: int, out_channels: int, cond_channels: int, hidden_channels: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.norm_0 = SPADE(in_channels, cond_channels, hidden_channels)
        self.conv_0 = conv(in_channels, middle)
        self.norm_1 = SPADE(middle, cond_channels, hidden_channels)
        self.conv_1 = conv(middle, out_channels)
        self.learned_skip = in_channels != out_channels
        if self.learned_skip:
            self.norm_skip = SPADE(in_channels, cond_channels, hidden_channels)
            self.conv_skip = conv(in_channels, out_channels, 1)

    def modulations(self, cond: Float[Tensor, "m k h w"]) -> list[Modulation]:
        norms = [self.norm_0, self.norm_1] + ([self.norm_skip] if self.learned_skip else [])
        return [norm.modulation(cond) for norm in norms]

    def forward(self, x: Float[Tensor, "n c h w"], modulations: list[Modulation]) -> Float[Tensor, "n d h w"]:
        skip = self.conv_skip(self.norm_skip(x, modulations[2])) if self.learned_skip else x  # (N, D, h, w)
        x = self.conv_0(F.leaky_relu(self.norm_0(x, modulations[0]), 0.2))  # (N, min(C, D), h, w)
        x = self.conv_1(F.leaky_relu(self.norm_1(x, modulations[1]), 0.2))  # (N, D, h, w)
        return skip + x

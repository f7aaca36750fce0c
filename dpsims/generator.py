"""The DP-SIMS generator: a label-map encoder whose pyramid conditions a SPADE image path (supplement A.1, Table S2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dpsims.labels import onehot
from dpsims.layers import ConvBlock, CrossAttention, Modulation, SelfAttention, SPADEResBlock, conv, linear

CHANNEL_DEPTHS = (16, 16, 16, 8, 4, 2, 1)  # times the channel base of 64: [1024, 1024, 1024, 512, 256, 128, 64]
STRIDE = 32  # of the image path's start; six blocks, five times upsampled


@dataclass(frozen=True)
class Conditioning:
    """What z cannot reach: computed once per label map by `encode`, used by `decode` for each of its samples.

    Attributes:
        start: (M, 16·base, H/32, W/32), the image path's start.
        stem: (M, ·, h, w), input of the encoder's first level that sees z.
        modulations: per image-path block of the levels above, its γ and β.
    """

    start: Tensor
    stem: Tensor
    modulations: dict[int, list[Modulation]]


class NoiseMapping(nn.Module):
    """z, put on the unit sphere, → T tokens w for the cross-attention.

    The supplement states the sizes of z and w alone. Several tokens, because the softmax over a single one is constant
    and z would act alike on every pixel; layer norm, because spectral norm would leave unit z next to no amplitude.
    """

    def __init__(self, z_dim: int, w_dim: int, tokens: int) -> None:
        super().__init__()
        self.hidden = linear(z_dim, w_dim)
        self.out = linear(w_dim, tokens * w_dim)
        self.tokens, self.w_dim = tokens, w_dim

    def forward(self, z: Float[Tensor, "n z"]) -> Float[Tensor, "n t w"]:
        z = F.normalize(z, dim=1)  # z / ‖z‖₂
        w = self.out(F.leaky_relu(self.hidden(z), 0.2))  # (N, T·w)
        return F.layer_norm(w.unflatten(1, (self.tokens, self.w_dim)), (self.w_dim,))  # (N, T, w)


class PyramidBlock(nn.Module):
    """Table S2: Conv2d(3), BN, GELU, CrossAttention, BN, GELU, SelfAttention, GELU, BN, Conv2d(1)."""

    def __init__(self, in_channels: int, channels: int, w_dim: int, *, gate_init: float) -> None:
        super().__init__()
        self.conv_in = conv(in_channels, channels)
        self.norm_0 = nn.BatchNorm2d(channels)
        self.cross_attention = CrossAttention(channels, w_dim, gate_init=gate_init)
        self.norm_1 = nn.BatchNorm2d(channels)
        self.self_attention = SelfAttention(channels)
        self.norm_2 = nn.BatchNorm2d(channels)
        self.conv_out = conv(channels, channels, 1)

    def forward(self, x: Float[Tensor, "n c h w"], w: Float[Tensor, "n t d"]) -> Float[Tensor, "n k h w"]:
        x = F.gelu(self.norm_0(self.conv_in(x)))  # (N, K, h, w)
        x = F.gelu(self.norm_1(self.cross_attention(x, w)))
        x = self.norm_2(F.gelu(self.self_attention(x)))
        return self.conv_out(x)


class Generator(nn.Module):
    """Label map (and instance offsets) and noise → image, in about [-1, 1] (no tanh at the output).

    `forward` is `encode`, then `decode`; synthesis encodes a label map once and decodes it with many z.

    Args:
        num_classes: C.
        height, width: image size in pixels, multiples of 32.
        channel_base: the image path's narrowest width; the others are 2 to 16 times that (64 in the paper).
        cond_channels: width of every pyramid level (64 in the paper).
        spade_hidden: width between the conditioning and γ, β (128 in SPADE and OASIS).
        z_dim, w_dim: size of the noise and of its tokens (64 and 256 in the paper).
        noise_tokens: number of tokens (not stated in the supplement).
        attention_size: levels whose shorter side is at most this many pixels attend, and see z (64 in the paper).
        gate_init: start of the noise gates η (not stated in the supplement).
        instances: take two channels with each pixel's offset to its instance's centre.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        height: int,
        width: int,
        channel_base: int = 64,
        cond_channels: int = 64,
        spade_hidden: int = 128,
        z_dim: int = 64,
        w_dim: int = 256,
        noise_tokens: int = 8,
        attention_size: int = 64,
        gate_init: float = 0.0,
        instances: bool = False,
    ) -> None:
        super().__init__()
        if height % STRIDE or width % STRIDE or height <= 0 or width <= 0:
            raise ValueError(f"image size must be a multiple of {STRIDE}: height={height}, width={width}")
        self.num_classes, self.instances, self.z_dim = num_classes, instances, z_dim
        self.height, self.width = height, width
        in_channels = num_classes + (2 if instances else 0)
        channels = [depth * channel_base for depth in CHANNEL_DEPTHS]
        num_blocks = len(channels) - 1

        # Label-map encoder, level i at stride 2**i. Levels 0..self.free-1 do not see z.
        short_sides = [min(height, width) >> level for level in range(num_blocks)]
        self.free = sum(side > attention_size for side in short_sides)
        widths = [in_channels] + [cond_channels] * (num_blocks - 1)
        self.levels = nn.ModuleList(
            ConvBlock(widths[level], cond_channels)
            if level < self.free
            else PyramidBlock(widths[level], cond_channels, w_dim, gate_init=gate_init)
            for level in range(num_blocks)
        )
        self.downs = nn.ModuleList(conv(cond_channels, cond_channels, stride=2) for _ in range(num_blocks - 1))
        self.mapping = NoiseMapping(z_dim, w_dim, noise_tokens)

        # Image path, block j at the resolution of encoder level num_blocks - 1 - j.
        self.start = conv(in_channels, channels[0])
        self.blocks = nn.ModuleList(
            SPADEResBlock(channels[j], channels[j + 1], cond_channels, spade_hidden) for j in range(num_blocks)
        )
        self.to_rgb = conv(channels[-1], 3)

    def forward(
        self,
        label_map: Int[Tensor, "m H W"],
        z: Float[Tensor, "n z"],
        offsets: Float[Tensor, "m 2 H W"] | None = None,
    ) -> Float[Tensor, "n 3 H W"]:
        return self.decode(self.encode(label_map, offsets), z)

    def encode(self, label_map: Int[Tensor, "m H W"], offsets: Float[Tensor, "m 2 H W"] | None = None) -> Conditioning:
        """(M, H, W) ids, 255 = ignore, and offsets in [-1, 1] → what all samples of these maps share."""
        assert (offsets is not None) == self.instances, "instance offsets go with a generator made for them"
        x = onehot(label_map, self.num_classes)  # (M, C, H, W)
        if offsets is not None:
            x = torch.cat([x, offsets], dim=1)  # (M, C+2, H, W)
        start = self.start(x[..., STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE])  # (M, 16·base, H/32, W/32)

        modulations = {}
        for level in range(self.free):
            x = self.levels[level](x)  # (M, K, h, w)
            block = self._block_at(level)
            modulations[block] = self.blocks[block].modulations(x)
            x = self.downs[level](x)  # (M, K, h/2, w/2)
        return Conditioning(start, x, modulations)

    def decode(self, conditioning: Conditioning, z: Float[Tensor, "n z"]) -> Float[Tensor, "n 3 H W"]:
        """K samples for each of M label maps: z holds N = M·K rows, those of the first map first."""
        return self.to_image(self.decode_features(conditioning, z))

    def decode_features(self, conditioning: Conditioning, z: Float[Tensor, "n z"]) -> Float[Tensor, "n b H W"]:
        """`decode` up to the penultimate layer, (N, base, H, W): the space of the diversity loss."""
        samples = len(z) // len(conditioning.start)
        w = self.mapping(z)  # (N, T, w)
        x = conditioning.stem.repeat_interleave(samples, dim=0)  # (N, K, h, w)
        modulations = dict(conditioning.modulations)
        for level in range(self.free, len(self.levels)):
            x = self.levels[level](x, w)  # (N, K, h, w)
            block = self._block_at(level)
            modulations[block] = self.blocks[block].modulations(x)
            if level < len(self.downs):
                x = self.downs[level](x)  # (N, K, h/2, w/2)

        x = conditioning.start.repeat_interleave(samples, dim=0)  # (N, 16·base, H/32, W/32)
        for j, block in enumerate(self.blocks):
            if j > 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, modulations[j])  # (N, channels[j+1], h, w)
        return F.leaky_relu(x, 0.2)  # (N, base, H, W)

    def to_image(self, features: Float[Tensor, "n b H W"]) -> Float[Tensor, "n 3 H W"]:
        with torch.autocast(features.device.type, enabled=False):  # bf16 would leave 8 bits for the image
            return self.to_rgb(features.float())

    def class_layers(self) -> list[str]:
        """Names of the layers whose inputs are the classes (and the instance offsets behind them)."""
        first = "0" if isinstance(self.levels[0], ConvBlock) else "conv_in"
        return ["start", f"levels.0.{first}"]

    def _block_at(self, level: int) -> int:
        return len(self.blocks) - 1 - level

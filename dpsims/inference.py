"""The generator as a graph for mass synthesis: the same images from folded weights, several times as fast."""

import itertools
from collections.abc import Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dpsims.folded import ClassConv, FoldedPyramidBlock, FoldedResBlock, before_norm, plain_conv, plain_linear, weights
from dpsims.generator import STRIDE, Conditioning, Generator
from dpsims.layers import ConvBlock, Modulation

# Bytes of a block's input at once. On a CPU the caches hold that much, and memory of this size is used again; larger
# tensors would be new pages each time, which the system clears first.
PIECE = {"cpu": 2**23, "cuda": 2**30}


def inference_graph(generator: nn.Module, *, bf16: bool) -> nn.Module:
    """What `InferenceGenerator` makes of a `Generator`; another module with `encode` and `decode` stays as it is."""
    if not isinstance(generator, Generator):
        return generator
    return InferenceGenerator(generator, torch.bfloat16 if bf16 else torch.float32)


class InferenceGenerator(nn.Module):
    """What a `Generator` in eval mode paints, with folded weights of its own and without gradients.

    Images are equal to the training graph's to 1e-4 in float32 (2e-6 seen). In bfloat16 the mean difference from those
    of float32 is below 0.02 standard deviations (0.013 seen), about that of the training graph under autocast or less.
    An image does not depend on the others of its batch, but for rounding.

    Args:
        generator: in eval mode; stays as it is.
        dtype: of weights and features; the noise mapping and the RGB layer stay in float32. bfloat16 needs no autocast.
            float32 works under autocast, too, which then casts the weights anew for each call.
    """

    def __init__(self, generator: Generator, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        assert not generator.training, "in training mode norms are no constants"
        self.num_classes, self.instances, self.z_dim = generator.num_classes, generator.instances, generator.z_dim
        self.height, self.width, self.free = generator.height, generator.width, generator.free
        firsts, levels = [], []  # of each level, its first convolution with the norm, and what follows
        for level in generator.levels:
            if isinstance(level, ConvBlock):
                conv, norm, _, last = level
                levels.append(plain_conv(*weights(last)))
            else:
                conv, norm = level.conv_in, level.norm_0
                levels.append(FoldedPyramidBlock(level))
            firsts.append(before_norm(conv, norm))
        first, *others = firsts
        self.first = ClassConv(*first, self.num_classes)
        self.levels = nn.ModuleList(levels)
        self.downs = nn.ModuleList(plain_conv(*weights(down), stride=2) for down in generator.downs)
        self.firsts = nn.ModuleList(plain_conv(*other) for other in others)  # behind the downs
        self.start = ClassConv(*weights(generator.start), self.num_classes)
        self.blocks = nn.ModuleList(FoldedResBlock(block) for block in generator.blocks)
        self.to(dtype, memory_format=torch.channels_last)

        for level in self.levels[self.free :]:
            level.tokens.float()
        self.mapping = deepcopy(generator.mapping).requires_grad_(False)
        for name, layer in generator.mapping.named_children():
            setattr(self.mapping, name, plain_linear(*weights(layer)))
        self.to_rgb = plain_conv(*weights(generator.to_rgb)).to(memory_format=torch.channels_last)
        self.eval()

    def forward(
        self,
        label_map: Int[Tensor, "m H W"],
        z: Float[Tensor, "n z"],
        offsets: Float[Tensor, "m 2 H W"] | None = None,
    ) -> Float[Tensor, "n 3 H W"]:
        return self.decode(self.encode(label_map, offsets), z)

    def encode(self, label_map: Int[Tensor, "m H W"], offsets: Float[Tensor, "m 2 H W"] | None = None) -> Conditioning:
        """As `Generator.encode`; but the modulations are G and B, and the stem is behind its level's first layers."""
        assert (offsets is not None) == self.instances, "instance offsets go with a generator made for them"
        coarse = [x[..., STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE] for x in (label_map, offsets) if x is not None]
        start = self.start(*coarse)  # (M, 16·base, H/32, W/32)

        x = F.gelu(self.first(label_map, offsets))  # (M, K, H, W)
        modulations = {}
        for level in range(self.free):
            x = self.levels[level](x)  # (M, K, h, w)
            block = self._block_at(level)
            modulations[block] = self.blocks[block].modulations(x)
            x = F.gelu(self.firsts[level](self.downs[level](x)))  # (M, K, h/2, w/2)
        return Conditioning(start, x, modulations)

    def decode(
        self, conditioning: Conditioning, z: Float[Tensor, "n z"], index: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n 3 H W"]:
        """One image for each z.

        Args:
            index: the row of each z's label map in the conditioning, in any order. Without it z holds N = M·K rows, K
                for each label map, those of the first map first.
        """
        maps = len(conditioning.start)
        assert index is not None or len(z) % maps == 0, f"{len(z)} z for {maps} label maps, and no index"
        rows = torch.arange(len(z), device=z.device) // (len(z) // maps) if index is None else index  # (N)
        with torch.autocast(z.device.type, enabled=False):
            w = self.mapping(z)  # (N, T, w)
            tokens = [level.tokens(w) for level in self.levels[self.free :]]
        x = conditioning.stem[rows]  # (N, K, h, w)
        features = {}  # of the levels that see z
        for level in range(self.free, len(self.levels)):
            x = self.levels[level](x, tokens[level - self.free])  # (N, K, h, w)
            features[self._block_at(level)] = x
            if level < len(self.downs):
                x = F.gelu(self.firsts[level](self.downs[level](x)))  # (N, K, h/2, w/2)

        # The coarse blocks see all images at once: there weights outweigh features, which double from block to block.
        x = conditioning.start[rows]  # (N, 16·base, H/32, W/32)
        most = [PIECE[z.device.type] // (x.element_size() * values) for values in self._values()]  # images at once
        coarse = sum(len(z) <= images for images in most[: len(features)])
        x = self._paint(range(coarse), x, features, {})
        images = []
        for of_map, of_image in pieces(len(z), maps, index, max(1, min(most))):
            shared = {j: [(g[of_map], b[of_map]) for g, b in made] for j, made in conditioning.modulations.items()}
            own = {j: feature[of_image] for j, feature in features.items()}
            images.append(self.to_image(self._paint(range(coarse, len(self.blocks)), x[of_image], own, shared)))
        return torch.cat(images)  # (N, 3, H, W)

    def to_image(self, features: Float[Tensor, "n b h w"]) -> Float[Tensor, "n 3 h w"]:
        """In float32, as in `Generator.to_image`."""
        with torch.autocast(features.device.type, enabled=False):
            return self.to_rgb(F.leaky_relu_(features.float(), 0.2))

    def _paint(
        self, blocks: range, x: Tensor, features: dict[int, Tensor], modulations: dict[int, list[Modulation]]
    ) -> Tensor:
        """Some blocks of the image path; what modulates them is made from `features` where it is not there yet."""
        for j in blocks:
            if j > 0:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            made = modulations[j] if j in modulations else self.blocks[j].modulations(features[j])
            x = self.blocks[j](x, made)  # (N, channels[j+1], h, w)
        return x

    def _values(self) -> list[int]:
        """How many each block's input has of one image."""
        pixels = [
            (self.height >> self._block_at(j)) * (self.width >> self._block_at(j)) for j in range(len(self.blocks))
        ]
        return [block.conv_0.in_channels * area for block, area in zip(self.blocks, pixels, strict=True)]

    def _block_at(self, level: int) -> int:
        return len(self.blocks) - 1 - level


def pieces(images: int, maps: int, index: Int[Tensor, " n"] | None, most: int) -> Iterator[tuple[slice, slice]]:
    """Which label maps and which images go together, `most` images at once: all, or some that follow one another and
    share a label map."""
    if index is None and images <= most:
        yield slice(maps), slice(images)
        return
    rows = [image * maps // images for image in range(images)] if index is None else index.tolist()
    for row, run in itertools.groupby(range(images), key=rows.__getitem__):
        run = list(run)
        for start in range(run[0], run[-1] + 1, most):
            yield slice(row, row + 1), slice(start, min(start + most, run[-1] + 1))

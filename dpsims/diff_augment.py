"""Differentiable augmentation of all that D sees (Zhao et al. 2020, DiffAugment), with label maps that move along.

Real and fake images are changed alike, so D cannot learn a small data set by heart, and G is not taught the changes.
Not part of the paper.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dpsims.labels import IGNORE_INDEX

MAX_SHIFT = 1 / 8  # of the image's side
CUTOUT = 1 / 2  # side of the square, as a share of the image's
DRAWS = 7  # numbers per image that `DiffAugment` takes


class DiffAugment:
    """The change that each of N images gets, fixed by `draws`: the same for a real image, its fake and a mix of both.

    Pixels that it blanks are 0 in the image and ignored in the label map.

    Args:
        policies: "color", "translation", "cutout"; the first is brightness, saturation and contrast.
        draws: (N, DRAWS) uniform numbers in [0, 1).
    """

    def __init__(self, policies: Sequence[str], draws: Float[Tensor, "n k"]) -> None:
        self.policies, self.draws = policies, draws

    def images(self, x: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 H W"]:
        if "color" in self.policies:
            brightness, saturation, contrast = (self.draws[:, i].to(x).view(-1, 1, 1, 1) for i in range(3))
            x = x + (brightness - 0.5)
            grey = x.mean(dim=1, keepdim=True)  # (N, 1, H, W)
            x = (x - grey) * (2 * saturation) + grey
            mean = x.mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
            x = (x - mean) * (contrast + 0.5) + mean
        return self._move(x, fill=0.0)

    def label_map(self, label_map: Int[Tensor, "n H W"]) -> Int[Tensor, "n H W"]:
        return self._move(label_map.unsqueeze(1), fill=IGNORE_INDEX).squeeze(1)

    def mask(self, mask: Bool[Tensor, "n H W"]) -> Bool[Tensor, "n H W"]:
        return self._move(mask.unsqueeze(1), fill=False).squeeze(1)

    def _move(self, x: Tensor, fill: float | int | bool) -> Tensor:
        height, width = x.shape[-2:]
        if "translation" in self.policies:
            for axis, size in ((2, height), (3, width)):
                reach = int(size * MAX_SHIFT + 0.5)
                shift = (self.draws[:, axis + 1] * (2 * reach + 1)).floor().long() - reach  # (N,), -reach..reach
                source = torch.arange(size) - shift.unsqueeze(1)  # (N, size): where each row or column comes from
                inside = _along(axis, (source >= 0) & (source < size)).to(x.device)
                index = _along(axis, source.clamp(0, size - 1)).to(x.device).expand_as(x)
                x = torch.where(inside, x.gather(axis, index), fill)
        if "cutout" in self.policies:
            rows, columns = (
                _along(
                    axis, (torch.arange(size) + 0.5 - self.draws[:, axis + 3, None] * size).abs() < size * CUTOUT / 2
                )
                for axis, size in ((2, height), (3, width))
            )
            x = torch.where((rows & columns).to(x.device), fill, x)
        return x


def _along(axis: int, values: Tensor) -> Tensor:
    """(N, size) → (N, 1, size, 1) or (N, 1, 1, size)."""
    return values[:, None, :, None] if axis == 2 else values[:, None, None, :]

"""What a filter looks with: a network that tells how little each pixel of an image shows what its label map says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dpsims.judge import load_judge
from dpsims.labels import LabelSpace

Images = Sequence[UInt8[np.ndarray, "h w 3"]]
LabelMaps = Sequence[UInt8[np.ndarray, "h w"]]


def check_finite(losses: Float32[np.ndarray, "n h w"], names: Sequence[str]) -> None:
    """See that each image has losses: of those that are no numbers no limit comes, and none is above it."""
    for of_image, name in zip(losses, names, strict=True):
        if not np.isfinite(of_image).all():
            raise ValueError(f"{name}: the scorer's loss is not finite; its network has gone astray in training")


@runtime_checkable
class Scorer(Protocol):
    """A trained segmenter, or the discriminator of a GAN."""

    def describe(self) -> dict:
        """All that decides its scores."""
        ...

    def origin(self) -> dict:
        """Where it was read from, so that another process can do so again."""
        ...

    def score(
        self, images: Images, label_maps: LabelMaps
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, " n"] | None]:
        """The cross-entropy of each pixel's class, and of each image how fake it looks (0..1), if that can be told.

        Images are RGB and of one size; pixels of class 255, or of one that the network does not know, have 0.
        """
        ...


class DiscriminatorScorer:
    """The discriminator of a run: it has learned what real images of each class look like, and what fakes do.

    Args:
        space, size: classes and (height, width) of the images to be looked at.

    Raises:
        ValueError: no run folder, or one of other classes or another size.
    """

    def __init__(self, run: Path, space: LabelSpace, size: tuple[int, int], device: torch.device) -> None:
        self.run, self.device = run, device
        self.judge = load_judge(run, device)
        if self.judge.space.classes != space.classes:
            own, other = list(self.judge.space.classes), list(space.classes)
            raise ValueError(f"{run} has the classes {own}, the images to be filtered {other}")
        if (self.judge.height, self.judge.width) != size:
            own, other = f"{self.judge.height}x{self.judge.width}", f"{size[0]}x{size[1]}"
            raise ValueError(f"{run} is of images of {own}, those to be filtered are {other}")

    def describe(self) -> dict:
        return {"scorer": "discriminator", "sha256": self.judge.sha256, "images_seen": self.judge.images_seen}

    def origin(self) -> dict:
        return {"run": str(self.run.absolute())}

    def score(
        self, images: Images, label_maps: LabelMaps
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, " n"]]:
        stacked = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2)  # (N, 3, H, W)
        losses, fake = self.judge.look(stacked, torch.from_numpy(np.stack(label_maps)).to(self.device))
        return losses.cpu().numpy(), fake.mean(dim=(1, 2)).cpu().numpy()

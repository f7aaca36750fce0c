"""What a filter looks with: a network that tells how little each pixel of an image shows what its label map says."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dpsims.judge import Judge

Images = Sequence[UInt8[np.ndarray, "h w 3"]]
LabelMaps = Sequence[UInt8[np.ndarray, "h w"]]


@runtime_checkable
class Scorer(Protocol):
    """A trained segmenter, or the discriminator of a GAN."""

    def describe(self) -> dict:
        """All that decides its scores."""
        ...

    def score(
        self, images: Images, label_maps: LabelMaps
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, " n"] | None]:
        """The cross-entropy of each pixel's class, and of each image how fake it looks (0..1), if that can be told.

        Images are RGB and of one size; pixels of class 255, or of one that the network does not know, have 0.
        """
        ...


class DiscriminatorScorer:
    """The discriminator of a run: it has learned what real images of each class look like, and what fakes do."""

    def __init__(self, judge: Judge, device: torch.device) -> None:
        self.judge, self.device = judge, device

    def describe(self) -> dict:
        return {"scorer": "discriminator", "sha256": self.judge.sha256, "images_seen": self.judge.images_seen}

    def score(
        self, images: Images, label_maps: LabelMaps
    ) -> tuple[Float32[np.ndarray, "n h w"], Float32[np.ndarray, " n"]]:
        stacked = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2)  # (N, 3, H, W)
        losses, fake = self.judge.look(stacked, torch.from_numpy(np.stack(label_maps)).to(self.device))
        return losses.cpu().numpy(), fake.mean(dim=(1, 2)).cpu().numpy()

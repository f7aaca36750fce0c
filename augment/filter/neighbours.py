"""How near images are to real ones, and to each other, in the space of a pre-trained network's features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

CHUNK = 256  # real images at once: their distances to all of COCO's are 120 MB


def embed(
    embedder: nn.Module, images: Sequence[UInt8[np.ndarray, "h w 3"]], device: torch.device
) -> Float32[np.ndarray, "n d"]:
    """Features on the unit sphere."""
    stacked = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)  # (N, 3, H, W)
    return nn.functional.normalize(embedder(stacked), dim=1).cpu().numpy()


def distances(a: Float32[np.ndarray, "n d"], b: Float32[np.ndarray, "m d"]) -> Float32[np.ndarray, "n m"]:
    """Between unit vectors: 1 - cosine, 0..2."""
    return np.maximum(1 - a @ b.T, np.float32(0))


@dataclass(frozen=True)
class Neighbours:
    """The real images, and how far they typically are from each other.

    Attributes:
        names: of the real images.
        features: of each, on the unit sphere.
        typical: the median of their distances to their nearest neighbours.
    """

    names: tuple[str, ...]
    features: Float32[np.ndarray, "n d"]
    typical: float

    @classmethod
    def of(cls, names: Sequence[str], features: Float32[np.ndarray, "n d"]) -> "Neighbours":
        """A ValueError if there is no distance between them to measure others by."""
        nearest = np.empty(len(names), np.float32)
        for start in range(0, len(names), CHUNK):
            rows = distances(features[start : start + CHUNK], features)
            rows[np.arange(len(rows)), start + np.arange(len(rows))] = np.inf  # itself
            nearest[start : start + CHUNK] = rows.min(axis=1)
        typical = float(np.median(nearest)) if len(names) > 1 else 0.0
        if not typical > 1e-6:
            raise ValueError(
                f"the {len(names)} real images are too few or too alike for distances to be measured by theirs; "
                "--features none does without"
            )
        return cls(tuple(names), features, typical)

    def nearest(self, features: Float32[np.ndarray, "n d"]) -> list[tuple[float, str]]:
        """Of each image, the distance to the nearest real one in units of `typical`, and its name."""
        found = distances(features, self.features)
        places = found.argmin(axis=1)
        return [(float(row[place]) / self.typical, self.names[place]) for row, place in zip(found, places, strict=True)]

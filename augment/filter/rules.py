"""The rules of a filter: which pixels are rejected, by what real images have, and which samples are dropped."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8
from scipy import ndimage

EDGES = np.geomspace(1e-6, 1e2, 4096)  # of the bins in which losses are counted: 0.45 % apart


@dataclass
class ClassLosses:
    """Cross-entropies of labelled pixels, gathered by class: enough for means and quantiles, however many there are.

    Attributes:
        pixels, sums: of each class.
        bins: pixels of each class whose loss lies below the first of `EDGES`, between two of them, or above the last.
    """

    num_classes: int
    pixels: Int64[np.ndarray, " c"] = field(init=False)
    sums: Float64[np.ndarray, " c"] = field(init=False)
    bins: Int64[np.ndarray, "c b"] = field(init=False)

    def __post_init__(self) -> None:
        self.pixels = np.zeros(self.num_classes, np.int64)
        self.sums = np.zeros(self.num_classes)
        self.bins = np.zeros((self.num_classes, len(EDGES) + 1), np.int64)

    def add(self, losses: Float32[np.ndarray, "h w"], label_map: UInt8[np.ndarray, "h w"]) -> None:
        known = label_map < self.num_classes
        label, loss = label_map[known].astype(np.int64), losses[known]
        self.pixels += np.bincount(label, minlength=self.num_classes)
        self.sums += np.bincount(label, loss, self.num_classes)
        width = len(EDGES) + 1
        places = label * width + np.searchsorted(EDGES, loss)
        self.bins += np.bincount(places, minlength=self.bins.size).reshape(-1, width)

    def mean(self) -> Float64[np.ndarray, " c"]:
        """FreeMask's hardness h_c; NaN for a class without a pixel."""
        return np.divide(self.sums, self.pixels, out=np.full(self.num_classes, np.nan), where=self.pixels > 0)

    def quantile(self, share: float | int) -> Float64[np.ndarray, " c"]:
        """The loss that a share of a class's pixels does not exceed, rounded up to the next edge; NaN likewise."""
        below = self.bins.cumsum(axis=1) >= share * self.pixels[:, None]
        found = np.append(EDGES, np.inf)[below.argmax(axis=1)]
        return np.where(self.pixels > 0, found, np.nan)


@dataclass(frozen=True)
class PixelRule:
    """A pixel is rejected if its loss is above the limit of its class, by just one of `tolerance` and `quantile`.

    Attributes:
        window: width of the square over whose pixels of the same class the loss is averaged; 1 takes each for itself.
        tolerance: times the mean loss of the class over real images (FreeMask, Yang et al. 2023, eq. 2: 1.25).
        quantile: of the class's losses over real images, 0..1: so many of their pixels would pass.
    """

    tolerance: float | int | None = None
    quantile: float | int | None = None
    window: int = 1

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"--window is an odd number of pixels, not {self.window}")
        if (self.tolerance is None) == (self.quantile is None):
            raise ValueError("--tolerance and --quantile are two ways to set the limits: give one of them")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"--tolerance is more than 0, not {self.tolerance}")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise ValueError(f"--quantile is more than 0 and less than 1, not {self.quantile}")

    def limits(self, real: ClassLosses) -> Float64[np.ndarray, " c"]:
        """Of each class; infinite for one that no real image shows, about which nothing is known."""
        limits = real.quantile(self.quantile) if self.tolerance is None else self.tolerance * real.mean()
        return np.where(np.isnan(limits), np.inf, limits)


def average(
    losses: Float32[np.ndarray, "h w"], label_map: UInt8[np.ndarray, "h w"], window: int
) -> Float32[np.ndarray, "h w"]:
    """Each pixel's loss as the mean over a square around it, of the pixels of the same class in it."""
    if window == 1:
        return losses
    averaged = np.zeros_like(losses)
    for label in np.unique(label_map):
        own = (label_map == label).astype(np.float32)
        total, count = (ndimage.uniform_filter(it, window, mode="constant") for it in (losses * own, own))
        averaged += own * total / np.maximum(count, 0.5 / window**2)  # of one pixel at least, where there is one
    return averaged


def reject(
    losses: Float32[np.ndarray, "h w"], label_map: UInt8[np.ndarray, "h w"], limits: Float64[np.ndarray, " c"]
) -> UInt8[np.ndarray, "h w"]:
    """The label map with 255 where the loss is above the limit of the class."""
    by_id = np.full(256, np.inf)
    by_id[: len(limits)] = limits
    return np.where(losses > by_id[label_map], np.uint8(255), label_map)


@dataclass(frozen=True)
class SampleRules:
    """When a whole sample is dropped; a rule that is None is not asked.

    Distances are those of features, in units of the median distance between a real image and its nearest real
    neighbour.

    Attributes:
        max_rejected: share of labelled pixels that may be rejected, 0..1.
        drop_fakest: share of all samples to drop, of those that look the most fake.
        min_novelty: distance to the nearest real image; less is a copy of it.
        min_diversity: distance to each sample of the same label map that is kept before it, by the order of the keys.
    """

    max_rejected: float | int | None = None
    drop_fakest: float | int | None = None
    min_novelty: float | int | None = None
    min_diversity: float | int | None = None

    def __post_init__(self) -> None:
        for name, open_end in (("max_rejected", False), ("drop_fakest", True)):
            value = getattr(self, name)
            if value is not None and not (0 <= value < 1 if open_end else 0 <= value <= 1):
                raise ValueError(f"--{name.replace('_', '-')} is a share from 0 to 1, not {value}")
        for name in ("min_novelty", "min_diversity"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"--{name.replace('_', '-')} is at least 0, not {value}")

    @property
    def need_features(self) -> bool:
        return self.min_novelty is not None or self.min_diversity is not None

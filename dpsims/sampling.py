"""Which training image comes when: a function of (seed, position), so that a run resumes anywhere at no cost."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from torch.utils.data import Sampler


def balanced_weights(presence: Bool[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    """P(image) ∝ f_k^(-1/2), k the image's rarest class and f_c the share of images that hold class c.

    An image without any class (all ignored) counts as one of the commonest class. The weights sum to 1.
    """
    share = presence.mean(axis=0)  # (C,)
    rarest = np.where(presence, share, np.inf).min(axis=1)  # (N,)
    rarest = np.where(np.isinf(rarest), max(share.max(), 1 / len(presence)), rarest)
    weights = rarest**-0.5
    return weights / weights.sum()


class StreamSampler(Sampler[tuple[int, int]]):
    """An endless stream of (image index, position), from any position on.

    Uniform sampling shuffles the images anew for each pass; weighted sampling draws with replacement. The position
    seeds the sample's augmentation, so that neither workers nor restarts show in a batch.

    Args:
        num_images: size of the data set.
        weights: P(image), or None for uniform.
        seed: of the order.
        start: position of the first item.
    """

    def __init__(self, num_images: int, *, weights: Float[np.ndarray, " n"] | None, seed: int, start: int) -> None:
        self.num_images, self.weights, self.seed, self.start = num_images, weights, seed, start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        chunk, skip = divmod(self.start, self.num_images)
        while True:
            for offset, index in enumerate(self._order(chunk)[skip:], start=skip):
                yield int(index), chunk * self.num_images + offset
            chunk, skip = chunk + 1, 0

    def _order(self, chunk: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, chunk))
        if self.weights is None:
            return rng.permutation(self.num_images)
        return rng.choice(self.num_images, size=self.num_images, p=self.weights)

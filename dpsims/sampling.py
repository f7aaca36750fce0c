"""Which training image comes when: a function of (seed, position), so that a run resumes anywhere at no cost."""

from collections.abc import Iterator
from itertools import count

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
    """An endless stream of (image index, position), from any position on, or one rank's slices of it.

    Uniform sampling shuffles the images anew for each pass; weighted sampling draws with replacement. The position
    seeds the sample's random numbers, so that neither workers, ranks nor restarts show in a batch.

    Args:
        num_images: size of the data set.
        weights: P(image), or None for uniform.
        seed: of the order.
        start: position of the stream's first item.
        batch_size: of all ranks together, a multiple of their number; rank r takes the r-th slice of every batch.
    """

    def __init__(
        self,
        num_images: int,
        *,
        weights: Float[np.ndarray, " n"] | None,
        seed: int,
        start: int,
        batch_size: int = 1,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        assert batch_size % ranks == 0
        self.num_images, self.weights, self.seed, self.start = num_images, weights, seed, start
        self.batch_size, self.rank, self.ranks = batch_size, rank, ranks

    def __iter__(self) -> Iterator[tuple[int, int]]:
        share = self.batch_size // self.ranks
        chunk, order = -1, None
        for item in count():
            if item % self.batch_size // share != self.rank:
                continue
            position = self.start + item
            if position // self.num_images != chunk:
                chunk = position // self.num_images
                order = self._order(chunk)
            yield int(order[position % self.num_images]), position

    def _order(self, chunk: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, chunk))
        if self.weights is None:
            return rng.permutation(self.num_images)
        return rng.choice(self.num_images, size=self.num_images, p=self.weights)

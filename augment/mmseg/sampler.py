"""How often a training batch looks at which part of a mixed data set."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, islice

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import ConcatDataset, Sampler

BLOCK = 840  # draws that keep the ratios among themselves; divisible by 1 to 8, so that small ratios are exact


@DATA_SAMPLERS.register_module()
class RatioSampler(Sampler[int]):
    """Endless indices into a `ConcatDataset` that draw its parts in given ratios, whatever their sizes.

    Of each `BLOCK` draws, every part has its share, in random order; within a part, every sample comes once per
    pass. The sequence is a function of (seed, sizes, ratios) alone; of W ranks, rank r takes every W-th draw.

    Args:
        dataset: the parts, such as [real, synthetic].
        ratios: how often each part is drawn, relative to the others; a part of ratio 0 is left out.
        seed: the same on all ranks; None agrees on a random one.
    """

    def __init__(self, dataset: ConcatDataset, ratios: Sequence[int | float], seed: int | None = None) -> None:
        self.sizes = [len(part) for part in dataset.datasets]
        if len(ratios) != len(self.sizes):
            raise ValueError(f"ratios {list(ratios)} for {len(self.sizes)} parts of the data set")
        if min(ratios) < 0 or sum(ratios) <= 0:
            raise ValueError(f"ratios must be positive, or 0 for a part to leave out: {list(ratios)}")
        if any(ratio > 0 and size == 0 for ratio, size in zip(ratios, self.sizes, strict=True)):
            raise ValueError(f"ratios {list(ratios)} draw from an empty part; the parts hold {self.sizes} samples")
        self.ratios = list(ratios)
        self.seed = sync_random_seed() if seed is None else seed
        self.rank, self.world_size = get_dist_info()
        self.start = 0

    def __iter__(self) -> Iterator[int]:
        mine = islice(self._draws(), self.rank, None, self.world_size)
        return islice(mine, self.start, None)

    def __len__(self) -> int:
        """Samples in all parts; the draws have no end."""
        return sum(self.sizes)

    def skip(self, num_samples: int) -> None:
        """Start the next iteration after this rank's first `num_samples` draws (mmengine calls it to resume)."""
        self.start = num_samples

    def _draws(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, len(self.sizes)])
        parts = [self._passes(part) for part in range(len(self.sizes))]
        order = np.repeat(np.arange(len(parts)), _shares(self.ratios))
        while True:
            for part in rng.permutation(order).tolist():
                yield next(parts[part])

    def _passes(self, part: int) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, part])
        offset = [0, *accumulate(self.sizes)][part]
        while True:
            yield from (offset + rng.permutation(self.sizes[part])).tolist()


def _shares(ratios: Sequence[int | float]) -> list[int]:
    """Draws of each part in a block; they sum to `BLOCK`, and what rounding leaves over goes to the largest rests."""
    exact = np.array(ratios, float) / sum(ratios) * BLOCK
    shares = np.floor(exact).astype(int)
    rest = exact - shares
    shares[np.argsort(-rest, kind="stable")[: BLOCK - shares.sum()]] += 1
    return shares.tolist()

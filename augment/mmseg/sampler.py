"""Which samples are in which batch of a training on real and synthetic data: a function of seed and iteration alone."""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

import numpy as np
from jaxtyping import Int64
from torch.utils.data import Sampler

from augment.mmseg.share import Share


class MixedBatchSampler(Sampler[list[int]]):
    """Endless batches of indices into [real, synthetic], with a given share of synthetic ones.

    Every batch of every rank holds its share, up to rounding, which evens out: all batches until any moment hold
    together what the shares add up to, rounded once. Each part is gone through in passes, in an order of its own for
    each pass. In a batch, the real samples come first.

    Args:
        sizes: samples of the real and of the synthetic part.
        batch_size: of each rank.
        seed: the same on all ranks.
        rank, world_size: of the process, and how many there are.
        endless: the synthetic part has no end: in the k-th pass its indices are k times its size and more.

    Attributes:
        start: iteration at which the next iterator begins; no batch before it is looked at.

    Raises:
        ValueError: samples of a part are asked for that is empty.
    """

    def __init__(
        self,
        sizes: tuple[int, int],
        share: Share,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        endless: bool = False,
    ) -> None:
        lowest = share.start if share.schedule == "constant" else min(share.start, share.end)
        for size, most, name in ((sizes[0], 1 - lowest, "real"), (sizes[1], share.highest, "synthetic")):
            if most > 0 and not size:
                raise ValueError(f"up to {most:.0%} of the samples are to be {name}, and there are none")
        self.sizes, self.share, self.batch_size = sizes, share, batch_size
        self.seed, self.rank, self.world_size, self.endless = seed, rank, world_size, endless
        self.start = 0
        self.sampler = None  # at which mmengine looks in a batch sampler
        self._order = lru_cache(maxsize=4)(self._order_of_pass)

    def __iter__(self) -> Iterator[list[int]]:
        iteration = self.start
        while True:
            yield self.batch(iteration)
            iteration += 1

    def __len__(self) -> int:
        """Batches of a pass over as many samples as there are; the batches have no end."""
        return -(-sum(self.sizes) // (self.batch_size * self.world_size))

    def batch(self, iteration: int) -> list[int]:
        """This rank's, of one iteration."""
        before, after = self._synthetic_before(iteration, self.rank), self._synthetic_before(iteration, self.rank + 1)
        drawn = self.batch_size * (iteration * self.world_size + self.rank)  # before this batch, of both parts
        real = range(drawn - before, drawn + self.batch_size - after)
        return [self._draw(0, n) for n in real] + [self.sizes[0] + self._draw(1, n) for n in range(before, after)]

    def _synthetic_before(self, iteration: int, rank: int) -> int:
        """Synthetic samples in all batches before that of a rank."""
        batches = self.share.before(iteration) * self.world_size + self.share.at(iteration) * rank
        return int(batches * self.batch_size + Fraction(1, 2))

    def _draw(self, part: int, number: int) -> int:
        """The sample that is drawn from a part after `number` others."""
        number_of_pass, place = divmod(number, self.sizes[part])
        first = number_of_pass * self.sizes[1] if part == 1 and self.endless else 0
        return first + int(self._order(part, number_of_pass)[place])

    def _order_of_pass(self, part: int, number_of_pass: int) -> Int64[np.ndarray, " n"]:
        return np.random.default_rng([self.seed, part, number_of_pass]).permutation(self.sizes[part])

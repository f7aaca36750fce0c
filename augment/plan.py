"""What a run will make, decided before anything is made: the samples of each label map, their seeds, their shards."""

from collections.abc import Sequence
from itertools import accumulate

from augment.record import Record
from augment.sources import LabelSource
from dpsims.sample import sample_seed

MAX_SHARDS, MAX_SHARD_SIZE = 10**5, 10**4  # what five and four digits of a key can count


class Plan:
    """Which samples are made of which label map, and in which shard they lie.

    All samples of a label map share a shard. Records are made when they are asked for: a plan of millions takes no more
    memory than its label maps.

    Args:
        sources: the label maps.
        counts: samples of each of them, all of them at least 1.
        shard_size: samples per shard, at most.
        variants: perturbed versions of each label map, at most one per sample; its samples are spread over them.
        seed: of the run.
    """

    def __init__(
        self, sources: Sequence[LabelSource], counts: Sequence[int], *, shard_size: int, seed: int, variants: int = 1
    ) -> None:
        most = max(counts)
        if min(counts) < 1:
            raise ValueError(f"every label map has at least 1 sample, not {min(counts)}")
        if not most <= shard_size <= MAX_SHARD_SIZE:
            raise ValueError(
                f"--shard-size {shard_size} is at most {MAX_SHARD_SIZE}, and at least the {most} samples of a label "
                "map: they share a shard"
            )
        if variants < 1:
            raise ValueError(f"--variants is at least 1, not {variants}")
        self.sources, self.counts, self.shard_size = sources, counts, shard_size
        self.variants, self.seed = variants, seed
        self.starts = [0]  # each shard's first label map
        filled = 0
        for index, count in enumerate(counts):
            if filled + count > shard_size:
                self.starts.append(index)
                filled = 0
            filled += count
        if self.num_shards > MAX_SHARDS:
            raise ValueError(
                f"{self.num_shards} shards are more than the {MAX_SHARDS} that a key can name; "
                f"--shard-size {shard_size} is to be larger"
            )
        self._before = [0, *accumulate(counts)]

    @property
    def num_shards(self) -> int:
        return len(self.starts)

    @property
    def num_variants(self) -> int:
        return sum(min(self.variants, count) for count in self.counts)

    def __len__(self) -> int:
        """Samples in all."""
        return self._before[-1]

    def sources_of(self, shard: int) -> range:
        """The indices of the shard's label maps."""
        return range(self.starts[shard], [*self.starts[shard + 1 : shard + 2], len(self.sources)][0])

    def samples_of(self, shard: int) -> int:
        span = self.sources_of(shard)
        return self._before[span.stop] - self._before[span.start]

    def records(self, shard: int, index: int) -> list[Record]:
        """The samples of a label map, by their variant and index."""
        source, count = self.sources[index], self.counts[index]
        first = self._before[index] - self._before[self.starts[shard]]
        variants = min(self.variants, count)
        return [
            Record(
                key=f"{shard:05d}{first + sample:04d}",
                shard=shard,
                source_key=source.source_key,
                split=source.split,
                sample_index=sample,
                seed=sample_seed(self.seed, source.source_key, sample),
                variant=sample * variants // count,
            )
            for sample in range(count)
        ]

    def variant_seed(self, source_key: str, variant: int) -> int:
        """Of a perturbed version; no sample's noise has the same."""
        return sample_seed(self.seed, source_key, -1 - variant)

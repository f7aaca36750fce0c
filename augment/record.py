"""One planned sample, before anything is made of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One planned sample.

    Attributes:
        key: its name in the shards, unique over all of them and without a dot.
        seed: of its noise.
        variant: which of its label map's perturbed versions it is made from; 0 without perturbation.
    """

    key: str
    shard: int
    source_key: str
    split: str | None
    sample_index: int
    seed: int
    variant: int = 0

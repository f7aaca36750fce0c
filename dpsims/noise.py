"""Random numbers of a training step that neither batch, micro-batch, data worker nor rank can shift."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dpsims.sample import noise

# What a number is drawn for. NumPy pads short seeds with zeros, so 0 stays free: (seed, position) is the data set's.
D_Z, G_Z, OTHER_Z, D_AUGMENT, G_AUGMENT, LABELMIX, PATCHES, TAU_Z, WATCH_Z = range(1, 10)


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of one step.

    What belongs to a sample is a function of (seed, its position in the stream, purpose); what all samples of a step
    share is one of (seed, images_seen, purpose).
    """

    seed: int
    images_seen: int

    def z(self, positions: Sequence[int], z_dim: int, purpose: int) -> Float[Tensor, "n z"]:
        """Standard normal noise on the CPU, a row per sample."""
        return noise([(self.seed, position, purpose) for position in positions], z_dim)

    def uniform(self, positions: Sequence[int], count: int, purpose: int) -> Float[Tensor, "n k"]:
        """`count` numbers in [0, 1) per sample, on the CPU."""
        rows = [np.random.default_rng((self.seed, position, purpose)).random(count) for position in positions]
        return torch.from_numpy(np.stack(rows)).float()

    def shared(self, purpose: int) -> torch.Generator:
        """A generator for what is drawn once per step."""
        state = np.random.SeedSequence((self.seed, self.images_seen, purpose)).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(state) >> 1)

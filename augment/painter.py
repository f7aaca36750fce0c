"""A snapshot at work: label maps and seeds in, images out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dpsims.inference import inference_graph
from dpsims.sample import Snapshot, noise

R = TypeVar("R")


class Painter:
    """Runs a snapshot's generator as its inference graph, on the device where the snapshot is.

    Args:
        bf16: in bfloat16.
    """

    def __init__(self, snapshot: Snapshot, device: torch.device, *, bf16: bool) -> None:
        self.snapshot, self.device, self.bf16 = snapshot, device, bf16
        self.generator = inference_graph(snapshot.generator, bf16=bf16)

    def encode(
        self,
        label_maps: Sequence[UInt8[np.ndarray, "h w"]],
        offsets: Sequence[Float[np.ndarray, "2 h w"] | None],
    ) -> object:
        """What all images of these label maps share; `offsets` of their instances, or None if it takes none."""
        inputs = [torch.from_numpy(np.stack(label_maps)).long()]  # (M, H, W)
        if self.snapshot.instances:
            inputs.append(torch.from_numpy(np.stack(offsets)))  # (M, 2, H, W)
        return self._run(self.generator.encode, *inputs)

    def decode(self, conditioning: object, counts: Sequence[int], seeds: Sequence[int]) -> Float[Tensor, "n 3 h w"]:
        """Images in about [-1, 1]: `counts` of each label map in its turn, one for each seed."""
        z = noise(seeds, self.snapshot.z_dim)
        if len(set(counts)) == 1:
            return self._run(lambda z: self.generator.decode(conditioning, z), z)
        index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        return self._run(lambda z, index: self.generator.decode(conditioning, z, index), z, index)

    def _run(self, stage: Callable[..., R], *inputs: Tensor) -> R:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return stage(*(x.to(self.device, non_blocking=True) for x in inputs))

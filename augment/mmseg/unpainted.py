"""Label maps without end, for a generator to paint: whenever one comes round it is another version."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch.utils.data import Dataset

from augment.perturb.pipeline import Perturbation
from augment.sources import LabelSource
from augment.survey import Reader
from dpsims.instances import centre_offsets
from dpsims.sample import sample_seed


@dataclass(frozen=True)
class Unpainted:
    """A sample that lacks its image.

    Attributes:
        name: of its label map, with the number of its version.
        seed: of its noise.
        offsets: of each pixel from its instance's centre, if the generator takes them.
    """

    name: str
    seed: int
    label_map: UInt8[np.ndarray, "h w"]
    offsets: Float[np.ndarray, "2 h w"] | None


class UnpaintedDataset(Dataset[dict]):
    """Sample v·n + i is version v of the i-th of n label maps, a function of the seed, the label map's name and v.

    It has the keys of a packed sample of mmseg's, `inputs` and `data_samples`, and goes through a loader like one.

    Args:
        perturbation: of each version; None takes the label maps as they are.
    """

    def __init__(
        self, sources: Sequence[LabelSource], reader: Reader, perturbation: Perturbation | None, *, seed: int
    ) -> None:
        self.sources, self.reader, self.perturbation, self.seed = sources, reader, perturbation, seed

    def __len__(self) -> int:
        """Of the label maps; there are more samples than that."""
        return len(self.sources)

    def __getitem__(self, index: int) -> dict:
        version, place = divmod(index, len(self.sources))
        source = self.sources[place]
        scene = self.reader(source)
        if self.perturbation is not None:
            scene = self.perturbation.perturb(scene, sample_seed(self.seed, source.source_key, -1 - version)).scene
        offsets = centre_offsets(scene.instances) if self.reader.instances else None
        seed = sample_seed(self.seed, source.source_key, version)
        unpainted = Unpainted(f"{source.source_key}~{version}", seed, scene.label_map, offsets)
        return {"inputs": unpainted, "data_samples": None}

"""Images of a data set's label maps, and the real ones, as streams: a batch changes nothing about an image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from dpsims.data import FolderDataset, read_image
from dpsims.frame import fit
from dpsims.loader import load
from dpsims.sample import Labelled, Snapshot, noise, sample_seed, to_uint8


@dataclass(frozen=True)
class Compute:
    """Where and how to work; the numbers do not depend on it, but for rounding.

    Attributes:
        batch_size: images at once.
        bf16: let the generator work in it; all that measures stays in float32.
        workers: processes that read images; 0 reads in this one.
        progress: show bars.
    """

    device: torch.device
    batch_size: int
    bf16: bool
    workers: int
    progress: bool = False

    def bar(self, title: str, total: int) -> tqdm:
        return tqdm(total=total, desc=title, unit="img", disable=None if self.progress else True)


class Photos(Dataset):
    """Images without label maps, each covering the frame as in `FolderDataset`: (3, H, W) uint8.

    Args:
        files: in the order of the items.
        size: (height, width) of the frame, in pixels.
    """

    def __init__(self, files: Sequence[Path], size: tuple[int, int]) -> None:
        self.files, self.size = list(files), size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> UInt8[Tensor, "3 h w"]:
        image = fit(read_image(self.files[index]), *self.size, resample=Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def read_photos(photos: Photos, compute: Compute) -> Iterator[UInt8[Tensor, "n 3 h w"]]:
    """In order, on the device."""
    for images in load(photos, range(len(photos)), compute.batch_size, workers=compute.workers):
        yield images.to(compute.device)


def read_labelled(dataset: FolderDataset, indices: Sequence[int], compute: Compute) -> Iterator[Labelled]:
    """The data set's photos with their label maps in its frame, one after the other, on the CPU."""
    for batch in load(dataset, [(index, 0) for index in indices], compute.batch_size, workers=compute.workers):
        yield from zip(to_uint8(batch["real"]).numpy(), batch["label_map"].byte().numpy(), strict=True)


def make_labelled(
    snapshot: Snapshot, dataset: FolderDataset, indices: Sequence[int], compute: Compute, *, samples: int, seed: int
) -> Iterator[Labelled]:
    """The images of `make_fakes` one after the other, on the CPU, each with the label map that it was made from."""
    fakes = make_fakes(snapshot.generator, dataset, indices, compute, samples=samples, z_dim=snapshot.z_dim, seed=seed)
    for label_maps, images in fakes:
        for label_map, of_map in zip(label_maps.byte().numpy(), images, strict=True):
            yield from ((image, label_map) for image in to_uint8(of_map).cpu().numpy())


@torch.no_grad()
def make_fakes(
    generator: nn.Module,
    dataset: FolderDataset,
    indices: Sequence[int],
    compute: Compute,
    *,
    samples: int,
    z_dim: int,
    seed: int,
) -> Iterator[tuple[Int64[Tensor, "m h w"], Float[Tensor, "m k 3 h w"]]]:
    """Label maps, and K samples of each in [-1, 1], a few label maps at a time, in order.

    A sample's z is a function of the seed, the label map's name and the sample's index.

    Args:
        generator: has `encode` and `decode`, and is in eval mode on the device.

    Yields:
        The label maps, on the CPU, and the images, on the device.

    Raises:
        FloatingPointError: an image that is not finite, by its label map's name.
    """
    assert not generator.training
    maps_at_once = max(1, compute.batch_size // samples)
    keys = [dataset.pairs[index].key for index in indices]
    for batch in load(dataset, [(index, 0) for index in indices], maps_at_once, workers=compute.workers):
        inputs = [batch[name].to(compute.device) for name in ("label_map", "offsets") if name in batch]
        maps = len(inputs[0])
        names, keys = keys[:maps], keys[maps:]
        seeds = [sample_seed(seed, key, index) for key in names for index in range(samples)]
        with torch.autocast(compute.device.type, torch.bfloat16, enabled=compute.bf16):
            conditioning = generator.encode(*inputs)
            parts = [
                generator.decode(conditioning, noise(part, z_dim).to(compute.device))
                for part in _chunks(seeds, compute.batch_size)  # more than one only where M = 1
            ]
        images = torch.cat(parts).float()
        if not images.isfinite().all():
            raise FloatingPointError(f"the generator's output is not finite; label maps: {', '.join(names)}")
        yield batch["label_map"], images.clamp(-1, 1).unflatten(0, (maps, samples))


def to_pixels(images: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 3 h w"]:
    """[-1, 1] → 0..255 as a saved image has it, channels first."""
    return to_uint8(images).permute(0, 3, 1, 2).contiguous()


def _chunks(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

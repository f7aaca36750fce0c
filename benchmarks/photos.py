"""Images and label maps that compress as photos and theirs do, from random fields with a falling spectrum."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from dpsims.labels import LabelSpace, default_palette
from dpsims.sample import Snapshot

Z_DIM = 64
# At 256x256 and quality 95 with colour at full resolution, crops of real photos need about 35 kB of JPEG, their label
# maps about 4 kB of PNG. Photos' amplitudes fall as 1/f; without their edges, the same bytes take a steeper fall.
PHOTO_EXPONENT, LABEL_EXPONENT = 1.5, 2.6
AXES = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])  # of colour: grey, red against blue, green against both
CONTRAST = np.array([0.40, 0.07, 0.03])


def field(count: int, height: int, width: int, exponent: float, rng: np.random.Generator) -> Float[np.ndarray, "n h w"]:
    """Random fields of mean 0 and deviation 1 whose amplitude falls as 1 / frequency**exponent."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # no mean
    noise = np.fft.rfft2(rng.normal(size=(count, height, width)))
    fields = np.fft.irfft2(noise / frequency**exponent, s=(height, width))
    return fields / fields.std(axis=(1, 2), keepdims=True)


def photos(count: int, height: int, width: int, rng: np.random.Generator) -> Float[np.ndarray, "n 3 h w"]:
    """Images in about [-1, 1]."""
    axes = field(count * 3, height, width, PHOTO_EXPONENT, rng).reshape(count, 3, height, width)
    return np.einsum("nahw,a,ac->nchw", axes, CONTRAST, AXES).astype(np.float32)


def label_map(num_classes: int, height: int, width: int, rng: np.random.Generator) -> UInt8[np.ndarray, "h w"]:
    """Smooth regions, some large and some small."""
    return field(num_classes, height, width, LABEL_EXPONENT, rng).argmax(0).astype(np.uint8)


class PhotoBank(nn.Module):
    """In a generator's place: its images are ready, so that what is timed is the writing.

    A batch is a slice of the bank from a place that z decides, and so not even copied.
    """

    def __init__(self, images: Float[np.ndarray, "n 3 h w"]) -> None:
        super().__init__()
        self.register_buffer("images", torch.from_numpy(images))

    def encode(self, label_map: Tensor) -> Tensor:
        return label_map

    def decode(self, conditioning: Tensor, z: Tensor) -> Tensor:
        start = int(z.abs().sum() * 1e6) % (len(self.images) - len(z) + 1)
        return self.images[start : start + len(z)]


def photo_snapshot(
    num_classes: int, height: int, width: int, rng: np.random.Generator, *, count: int, device: torch.device
) -> Snapshot:
    """A snapshot that `synthesize` takes, of a bank of `count` images."""
    space = LabelSpace(tuple(map(str, range(num_classes))), default_palette(num_classes))
    bank = PhotoBank(photos(count, height, width, rng)).to(device)
    return Snapshot(bank, space, height, width, Z_DIM, instances=False, sha256="0" * 64, images_seen=0)

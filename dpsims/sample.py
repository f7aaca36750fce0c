"""Snapshots: the averaged generator as a file pair without pickle, and images from it.

`generator.safetensors` holds the weights, `generator.json` beside it the architecture, label space, image size, noise
size and provenance: nothing else is needed to sample.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dpsims.generator import Generator
from dpsims.labels import LabelSpace

FORMAT = 1

_DIGESTS: dict[tuple[Path, int, int], str] = {}  # (file, bytes, time of change in ns) → sha256
Labelled = tuple[UInt8[np.ndarray, "_ _ 3"], UInt8[np.ndarray, "_ _"]]  # RGB image (H, W, 3), label map (H, W)


@dataclass(frozen=True)
class Snapshot:
    """A generator ready to sample, and what it was trained for.

    Attributes:
        generator: in eval mode; `encode(label_map)`, then `decode(conditioning, z)`.
        height, width: image size in pixels.
        instances: it takes instance offsets.
        sha256: of the weight file, hexadecimal.
        images_seen: how many images it was trained on.
    """

    generator: nn.Module
    space: LabelSpace
    height: int
    width: int
    z_dim: int
    instances: bool
    sha256: str
    images_seen: int


def save_generator(folder: Path, generator: Generator, architecture: dict, space: LabelSpace, provenance: dict) -> None:
    """Write the file pair, each under a temporary name first; the JSON, which names the weights' hash, goes last.

    Args:
        architecture: keyword arguments of `Generator`.
        provenance: images_seen and whatever else tells where the weights come from.
    """
    weights, meta = folder / "generator.safetensors", folder / "generator.json"
    temporary = weights.with_suffix(".tmp")
    save_file({key: value.contiguous().cpu() for key, value in generator.state_dict().items()}, temporary)
    description = {
        "format": FORMAT,
        "architecture": architecture,
        "label_space": space.to_meta(),
        "sha256": file_sha256(temporary),
        "training": provenance,
    }
    replace(temporary, weights)
    temporary = meta.with_suffix(".tmp")
    temporary.write_text(json.dumps(description, indent=1) + "\n")
    replace(temporary, meta)


def load_generator(path: Path, device: torch.device | str = "cpu") -> Snapshot:
    """From a run folder or a `generator.safetensors`. Nothing is unpickled."""
    weights = path / "generator.safetensors" if path.is_dir() else path
    meta_file = weights.with_suffix(".json")
    for file in (weights, meta_file):
        if not file.is_file():
            raise ValueError(f"no snapshot here: {file} is missing")
    try:
        meta = json.loads(meta_file.read_text())
        if meta["format"] != FORMAT:
            raise ValueError(f"{meta_file} is of format {meta['format']}; this version reads format {FORMAT}")
        generator = Generator(**meta["architecture"])
        space = LabelSpace.from_meta(meta["label_space"], source=str(meta_file))
        sha256, images_seen = meta["sha256"], meta["training"]["images_seen"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{meta_file} does not describe a generator: {error!r}") from error
    if file_sha256(weights) != sha256:
        raise ValueError(f"{weights} is not the file that {meta_file.name} describes (sha256 differs)")
    try:
        generator.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not fit the architecture in {meta_file.name}: {error}") from error
    generator.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    size = (generator.height, generator.width)
    return Snapshot(generator, space, *size, generator.z_dim, generator.instances, sha256, images_seen)


def sample_seed(run_seed: int, source_key: str, sample_index: int) -> int:
    """63 bits that depend on what the sample is of, never on batch, worker or rank."""
    name = f"{run_seed}/{source_key}/{sample_index}".encode(errors="surrogateescape")  # a file name is any bytes
    digest = hashlib.sha256(name).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def noise(seeds: Sequence[int | tuple[int, ...]], z_dim: int) -> Float[Tensor, "n z"]:
    """One row of standard normal z per seed, each from a generator of its own: a batch does not matter.

    NumPy's generator, because it takes seeds of any size; torch's keeps 32 bits, and millions of samples would clash.
    """
    rows = [np.random.default_rng(seed).standard_normal(z_dim, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def to_uint8(images: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n h w 3"]:
    """[-1, 1] → 0..255, channels last; G has no tanh, so what lies outside is clamped."""
    images = (images.float().clamp(-1, 1) + 1) * 127.5
    return images.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def file_sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digests(files: Sequence[Path], threads: int = 8) -> list[str]:
    """sha256 of each file in order; one that this process has read is not read again while its size and time stay."""

    def digest(file: Path) -> str:
        status = file.stat()
        key = (file.absolute(), status.st_size, status.st_mtime_ns)
        if key not in _DIGESTS:
            _DIGESTS[key] = file_sha256(file)
        return _DIGESTS[key]

    with ThreadPoolExecutor(threads) as pool:  # hashing and reading both leave the interpreter to the others
        return list(pool.map(digest, files))


def replace(temporary: Path, final: Path) -> None:
    """Give a finished file its name, on disk before the name is."""
    with open(temporary, "rb+") as stream:
        os.fsync(stream.fileno())
    os.replace(temporary, final)

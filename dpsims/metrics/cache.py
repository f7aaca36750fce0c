"""Features of real images on disk, found again by the images' content: they cost as much as those of the fakes."""

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dpsims.sample import file_digests, replace

FORMAT = 1  # of the files here, and of how an image comes into the frame (dpsims.frame.fit, bicubic)

_LAST: dict[Path, Tensor] = {}  # the features that were asked for last: a validation asks for the same each time


def cache_folder() -> Path:
    """$DPSIMS_CACHE, or ~/.cache/dpsims-augment."""
    return Path(os.environ.get("DPSIMS_CACHE") or Path.home() / ".cache" / "dpsims-augment")


def content_key(files: Sequence[Path], size: tuple[int, int], fingerprint: str) -> str:
    """sha256 over every image's bytes in order, the frame's (height, width) and the embedder's fingerprint."""
    parts = (f"{FORMAT} {size[0]}x{size[1]} {fingerprint}", *file_digests(files))
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def cached_features(
    files: Sequence[Path],
    size: tuple[int, int],
    fingerprint: str,
    compute: Callable[[], Float[Tensor, "n d"]],
) -> Float[Tensor, "n d"]:
    """The features of these images in this frame: from the cache, else from `compute`, whose result is then kept."""
    key = content_key(files, size, fingerprint)
    file = cache_folder() / "features" / f"{key}.safetensors"
    features = _LAST.get(file)
    if features is None:
        features = read_features(file, len(files))
    if features is None:
        features = compute().contiguous()
        try:
            write_features(file, features)
        except OSError as error:
            warnings.warn(f"features of real images cannot be kept: {error}; $DPSIMS_CACHE says where", stacklevel=2)
    _LAST.clear()
    _LAST[file] = features
    return features


def read_features(file: Path, count: int) -> Float[Tensor, "n d"] | None:
    """None where there is no such file, or one that is torn."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, "pt") as content:
            features = content.get_tensor("features")
            whole = len(features) == count and content.metadata() == {"sha256": features_sha256(features)}
    except SafetensorError:
        return None
    return features if whole else None


def write_features(file: Path, features: Float[Tensor, "n d"]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")  # two runs may compute the same
    save_file({"features": features}, temporary, {"sha256": features_sha256(features)})
    replace(temporary, file)


def features_sha256(features: Float[Tensor, "n d"]) -> str:
    return hashlib.sha256(features.numpy()).hexdigest()

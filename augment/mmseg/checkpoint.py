"""Segmenter checkpoints without unpickling: ours are plain, strangers' are read with `weights_only=True` or refused.

mmengine saves objects of its own (log histories, numpy scalars) and, where `weights_only=True` fails on a file,
loads it again without: a file can then run any code. Here that second try is gone.
"""

import pickle
import re
import textwrap
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor, nn


class _ReadPast:
    """Takes the place of an object that mmengine pickled and nobody needs: nothing of it is built."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Dtype(_ReadPast):
    def __init__(self, code: str, *args: object) -> None:
        self.code = code


class _Scalar:
    """`numpy.core.multiarray.scalar`, for the best score so far: gives a Python number."""

    def __new__(cls, dtype: _Dtype, content: bytes | str) -> int | float:
        raw = content if isinstance(content, bytes) else content.encode("latin1")
        return np.frombuffer(raw, dtype.code).item()


# What a checkpoint of stock mmengine names beside tensors. Allowing mmengine's own list would allow `getattr`,
# from which a file gets at every module; so each name is allowed as a stand-in that does nothing.
_STAND_INS = [
    type(name, (base,), {"__module__": module})
    for module, name, base in (
        ("mmengine.logging.history_buffer", "HistoryBuffer", _ReadPast),
        ("builtins", "getattr", _ReadPast),
        ("builtins", "slice", _ReadPast),
        ("numpy", "ndarray", _ReadPast),
        ("numpy", "dtype", _Dtype),
        ("numpy._core.multiarray", "_reconstruct", _ReadPast),
        ("numpy._core.multiarray", "scalar", _Scalar),
        ("numpy.core.multiarray", "_reconstruct", _ReadPast),
        ("numpy.core.multiarray", "scalar", _Scalar),
    )
]


def load_checkpoint(file: Path | str | BinaryIO, map_location: str | torch.device | Callable | None = None) -> dict:
    """Read a checkpoint of ours or of stock mmengine; its tensors and plain values only.

    Args:
        file: a local file, or an open one.
        map_location: as of `torch.load`.

    Raises:
        ValueError: the file holds anything else, and could run code if it were unpickled; or is no checkpoint.
    """
    return _read(lambda: torch.load(file, map_location=map_location, weights_only=True), file)


def _read(load: Callable[[], object], source: object) -> dict:
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            checkpoint = load()
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"checkpoint refused, it holds more than tensors and plain values"
            f"{f' ({named[1]})' if named else ''} and is never unpickled: {source}"
        ) from None
    except OSError:
        raise
    except Exception as error:  # a broken or hostile file may fail anywhere inside of torch
        raise ValueError(f"checkpoint cannot be read ({type(error).__name__}): {source}") from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"checkpoint holds a {type(checkpoint).__name__}, not a dict of weights: {source}")
    return _without_code(checkpoint)


def _without_code(checkpoint: dict) -> dict:
    """Drop what was read past, and the config texts that mmengine would run as Python."""
    if isinstance(meta := checkpoint.get("meta"), dict):
        checkpoint["meta"] = {key: value for key, value in plain(meta).items() if key not in ("config", "cfg")}
    if isinstance(hub := checkpoint.get("message_hub"), dict):
        checkpoint["message_hub"] = _plain_message_hub(hub)
        checkpoint["message_hub"]["runtime_info"].pop("cfg", None)
    return checkpoint


def plain(value: object) -> object:
    """Numbers, texts, tensors, lists, tuples and dicts of such; numpy becomes Python, all else is left out."""
    if isinstance(value, dict):
        kept = {plain(key): plain(entry) for key, entry in value.items() if _is_plain(key) and _is_plain(entry)}
        return kept
    if isinstance(value, list | tuple):
        kept = [plain(entry) for entry in value if _is_plain(entry)]
        return tuple(kept) if isinstance(value, tuple) else kept
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def _is_plain(value: object) -> bool:
    return value is None or isinstance(
        value, bool | int | float | str | bytes | Tensor | dict | list | tuple | np.generic | np.ndarray
    )


def _plain_message_hub(hub: dict) -> dict:
    """The hub's `runtime_info` (iteration, best score, best checkpoint); the logs' histories are for the log alone."""
    info = plain(dict(hub.get("runtime_info", {})))
    return {"log_scalars": {}, "runtime_info": info, "resumed_keys": {key: True for key in info}}


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Makes every checkpoint one that `torch.load(weights_only=True)` reads, and from which a run can be resumed."""

    priority = "VERY_LOW"  # after the hooks that put things into the checkpoint

    def before_save_checkpoint(self, runner: object, checkpoint: dict) -> None:
        checkpoint["meta"] = plain(dict(checkpoint["meta"]))
        checkpoint["message_hub"] = _plain_message_hub(checkpoint["message_hub"])


def save_plain_checkpoints(cfg: Config) -> None:
    """Add `PlainCheckpointHook` to a config, so that also the copy of it in the work dir has it."""
    hooks = cfg.get("custom_hooks") or []
    if all(hook["type"] != "PlainCheckpointHook" for hook in hooks):
        cfg.custom_hooks = [*hooks, {"type": "PlainCheckpointHook"}]
    imports = cfg.get("custom_imports") or {"imports": [], "allow_failed_imports": False}
    if "augment.mmseg" not in imports["imports"]:
        cfg.custom_imports = {**imports, "imports": [*imports["imports"], "augment.mmseg"]}


def load_weights(runner: Runner, file: str) -> None:
    """Load a checkpoint's weights, all of them: mmengine alone only logs what is missing, and would test noise."""
    try:
        runner.load_checkpoint(file, map_location="cpu", strict=True)
    except RuntimeError as error:
        raise _misfit(file, str(error)) from None


def load_into(model: nn.Module, file: str) -> dict:
    """Fill a stranger's model with a checkpoint's weights; returns the checkpoint.

    What the model has no place for, such as a head that only training needs, is left out with a warning.

    Raises:
        ValueError: weights are missing, or of other sizes.
    """
    checkpoint = CheckpointLoader.load_checkpoint(file, "cpu", "silent")
    stored = checkpoint.get("state_dict", checkpoint)
    if not isinstance(stored, dict):
        raise _misfit(file, f"its state_dict is a {type(stored).__name__}")
    state = OrderedDict((key.removeprefix("module."), value) for key, value in stored.items())
    state._metadata = getattr(stored, "_metadata", OrderedDict())  # by which modules rename what old versions saved
    try:
        found = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise _misfit(file, str(error)) from None
    missing = [key for key in found.missing_keys if not key.endswith("num_batches_tracked")]
    if missing:
        raise _misfit(file, f"it lacks {_listed(missing)}")
    if found.unexpected_keys:
        listed = _listed(found.unexpected_keys)
        warnings.warn(f"checkpoint {file} holds what the config's model has no place for: {listed}", stacklevel=2)
    return checkpoint


def _misfit(file: str, reason: str) -> ValueError:
    return ValueError(f"checkpoint {file} does not fit the config's model: {textwrap.shorten(reason, 500)}")  # one line


def _listed(keys: list[str]) -> str:
    return f"{', '.join(keys[:4])}{', …' if len(keys) > 4 else ''} ({len(keys)} tensors)"


def shut_unpickling() -> None:
    """Make `load_checkpoint` the only way in which mmengine reads a checkpoint in this process, from disk or by URL."""

    def load_from_local(filename: str, map_location: str | torch.device | Callable | None = None) -> dict:
        file = Path(filename).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"no such checkpoint: {filename}")
        return load_checkpoint(file, map_location)

    def load_url(url: str, model_dir: str | None = None, map_location: object = None, progress: bool = True) -> dict:
        load = torch.hub.load_state_dict_from_url  # whose default is still weights_only=False
        return _read(lambda: load(url, model_dir, map_location, progress, weights_only=True), url)

    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    mmengine_checkpoint.load_from_local = load_from_local
    mmengine_checkpoint.load_url = load_url  # the http, torchvision, openmmlab and mmcls schemes go through it
    # The fork's loaders of the other schemes go through this one; upstream's call torch.load, safe by default.
    mmengine_checkpoint._safe_torch_load = lambda file, map_location=None, weights_only=None: load_checkpoint(
        file, map_location
    )

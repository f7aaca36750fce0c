"""The other packages of OpenMMLab that a config's model is built from, looked for before anything else is done."""

import importlib.util
from collections.abc import Iterator

from mmengine.config import ConfigDict
from mmengine.config.utils import MODULE2PACKAGE

from augment.mmseg.compat import mmdet_install

# mmseg's heads that extend mmdet's. Without mmdet they are there all the same, and fail with an error about nothing.
EXTEND_MMDET = {"MaskFormerHead", "Mask2FormerHead"}


def require_packages(model: ConfigDict, source: str) -> None:
    """See that OpenMMLab's packages which the types in a model's config come from are installed.

    Raises:
        ValueError: one is not; the message says which, what for, and for mmdet how to install it.
    """
    for part in dicts_in(model):
        scope = scope_of(part.get("type"))
        if scope in MODULE2PACKAGE and importlib.util.find_spec(scope) is None:
            raise ValueError(f"{source}: {part.type} needs the package {scope}, which is missing{_hint(scope)}")


def missing_import(error: ImportError, source: str) -> ValueError:
    """What to tell a person whose config imports something that is not there."""
    reason = str(error.__cause__ or error)
    package = next((name for name in MODULE2PACKAGE if f"{name}." in reason or f"{name}'" in reason), "")
    return ValueError(f"{source}: {reason}; its package is not installed{_hint(package)}")


def _hint(package: str) -> str:
    return f"; install it with: {mmdet_install()}" if package == "mmdet" else ""


def scope_of(kind: object) -> str:
    """The package that a config's `type` is from: `mmdet.DiceLoss` from mmdet, a bare name from mmseg."""
    if not isinstance(kind, str):  # a class, or no type at all
        return "mmseg"
    if kind in EXTEND_MMDET:
        return "mmdet"
    return kind.partition(".")[0] if "." in kind else "mmseg"


def bare_name(kind: object) -> str:
    """A type's name without its scope: `mmseg.Resize` is `Resize`."""
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", "")


def dicts_in(config: ConfigDict) -> Iterator[ConfigDict]:
    """A config's dict and all that are nested in it, also in lists."""
    waiting: list[object] = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list | tuple):
            waiting.extend(node)

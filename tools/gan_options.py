"""The options of a GAN's training from the command line: Hydra's overrides in, a checked `TrainConfig` out."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dpsims.config import TrainConfig, from_dict

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "gan"


def read_options(overrides: Sequence[str]) -> TrainConfig:
    """Compose `configs/gan` with overrides such as data=camvid or run.batch_size=8.

    Raises:
        ValueError: an option is mistyped (with the nearest one there is), has a wrong value, or lacks one.
    """
    check_names(overrides)
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return to_config(compose("default", list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(str(error).strip()) from None


def to_config(options: DictConfig) -> TrainConfig:
    """Hydra's options as a dataclass, all of them given and of the right kind."""
    try:
        return from_dict(TrainConfig, OmegaConf.to_container(options, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} has no value; give it as {error.full_key}=…") from None


def check_names(overrides: Sequence[str]) -> None:
    """Hydra tells that a key is unknown, but not which one was meant.

    Raises:
        ValueError: with the nearest option, or the nearest preset of a group.
    """
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        known = set(_keys(compose("default")))
    groups = {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml")) for folder in CONFIGS.iterdir() if folder.is_dir()
    }
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise ValueError(f"{text!r} is no option; options are given as key=value ({error})") from None
        key = override.key_or_group
        if key.startswith("hydra") or override.is_sweep_override():
            continue
        if key not in known and key not in groups:
            raise ValueError(f"unknown option {key}" + _nearest(key, known | set(groups)))
        if key in groups:
            names = override.value() if isinstance(override.value(), list) else [override.value()]
            for name in names:
                if name is not None and str(name) not in groups[key]:
                    listed = "; there are " + ", ".join(groups[key])
                    raise ValueError(f"unknown preset {key}={name}" + (_nearest(str(name), groups[key]) or listed))


def _keys(options: DictConfig, path: str = "") -> Iterator[str]:
    """Every key in dotted form, branches too."""
    for key in options:
        yield f"{path}{key}"
        if not OmegaConf.is_missing(options, key) and isinstance(options[key], DictConfig):
            yield from _keys(options[key], f"{path}{key}.")


def _nearest(key: str, known: Sequence[str] | set[str]) -> str:
    """What was probably meant: alike as a whole, or an option whose last part it is."""
    same_end = sorted(option for option in known if option.rpartition(".")[2] == key.rpartition(".")[2])
    near = difflib.get_close_matches(key, sorted(known), n=1) or same_end[:1]
    return f"; did you mean {near[0]}?" if near else ""

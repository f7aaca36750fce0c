"""What a training run can be told, as dataclasses without defaults: defaults live in `configs/gan/default.yaml`."""

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    name: str
    root: str
    layout: str
    label_space: str | None
    train_split: str
    val_split: str | None
    height: int
    width: int
    flip: bool
    zoom_range: float
    balanced: bool
    workers: int


@dataclass(frozen=True)
class GeneratorConfig:
    channel_base: int
    cond_channels: int
    spade_hidden: int
    z_dim: int
    w_dim: int
    noise_tokens: int
    attention_size: int
    gate_init: float
    instances: bool


@dataclass(frozen=True)
class BackboneConfig:
    name: str
    pretrained: bool
    weights: str | None
    frozen: bool


@dataclass(frozen=True)
class DiscriminatorConfig:
    backbone: BackboneConfig
    nonlinearity: str
    normalization: str
    full_channels: int
    penultimate_channels: int


@dataclass(frozen=True)
class ContrastiveConfig:
    weight: float
    network: str
    weights: str | None
    strides: list[int]
    embedding_dim: int
    num_patches: int
    temperature: float


@dataclass(frozen=True)
class DiversityConfig:
    weight: float
    space: str
    stop_gradient: bool
    tau: float | None
    tau_images: int


@dataclass(frozen=True)
class LossConfig:
    focal_gamma: float
    weigh_classes: bool
    contrastive: ContrastiveConfig
    diversity: DiversityConfig


@dataclass(frozen=True)
class OptimConfig:
    lr_G: float
    lr_D: float
    betas: list[float]
    ema_halflife_kimg: float
    ema_rampup: float


@dataclass(frozen=True)
class RunConfig:
    batch_size: int
    total_kimg: float
    log_kimg: float
    sample_kimg: float
    checkpoint_kimg: float
    sample_maps: int
    sample_noises: int
    device: str
    precision: str


@dataclass(frozen=True)
class TrainConfig:
    out: str
    seed: int
    data: DataConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    loss: LossConfig
    optim: OptimConfig
    run: RunConfig

    def __post_init__(self) -> None:
        positive = {
            "run.batch_size": self.run.batch_size,
            "run.total_kimg": self.run.total_kimg,
            "run.log_kimg": self.run.log_kimg,
            "run.sample_kimg": self.run.sample_kimg,
            "run.checkpoint_kimg": self.run.checkpoint_kimg,
            "run.sample_maps": self.run.sample_maps,
            "run.sample_noises": self.run.sample_noises,
        }
        for key, value in positive.items():
            if value <= 0:
                raise ValueError(f"{key} must be above 0, not {value}")
        if self.run.batch_size < 2 and self.loss.diversity.weight > 0 and self.loss.diversity.tau is None:
            raise ValueError(
                f"run.batch_size={self.run.batch_size}: eq. 7 (loss.diversity.tau=null) compares two images"
            )


def from_dict(cls: type, values: dict, path: str = "") -> typing.Any:
    """Build a config dataclass from nested dicts. A key too many or too few is a ValueError that names it."""
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            raise ValueError(f"unknown option {path}{key}" + (f"; did you mean {path}{near[0]}?" if near else ""))
    missing = [path + key for key in hints if key not in values]
    if missing:
        raise ValueError(f"options without a value: {', '.join(missing)}")
    return cls(**{key: _convert(hints[key], value, path + key) for key, value in values.items()})


def _convert(hint: typing.Any, value: typing.Any, key: str) -> typing.Any:
    """Check `value` against a field's type; whole numbers pass as floats."""
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value or {}, key + ".")
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        (hint,) = (option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is list and isinstance(value, list):
        return [_convert(typing.get_args(hint)[0], item, key) for item in value]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is hint:
        return value
    raise ValueError(f"{key} should be {getattr(hint, '__name__', hint)}, not {value!r}")


def differences(old: dict, new: dict, path: str = "") -> dict[str, tuple[object, object]]:
    """Option → (old value, new value), over nested dicts."""
    found = {}
    for key in old | new:
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{path}{key}.")
        elif a != b:
            found[path + key] = (a, b)
    return found

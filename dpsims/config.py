"""What a training run can be told, as dataclasses without defaults: defaults live in `configs/gan/default.yaml`."""

import dataclasses
import difflib
import types
import typing
from dataclasses import dataclass
from operator import attrgetter

from dpsims.discriminator import NONLINEARITIES, NORMALIZATIONS
from dpsims.hardware import PRECISIONS

DIVERSITY_SPACES = ("features", "image")
AUGMENTATIONS = ("color", "translation", "cutout")
VALIDATION_METRICS = ("FID", "KID")
ABOVE_0 = (
    *(f"run.{name}" for name in ("batch_size", "micro_batch", "sample_maps", "sample_noises")),
    *(f"run.{name}_kimg" for name in ("total", "log", "sample", "checkpoint", "keep")),
    *(f"generator.{name}" for name in ("channel_base", "cond_channels", "spade_hidden")),
    *(f"generator.{name}" for name in ("z_dim", "w_dim", "noise_tokens")),
    *(f"discriminator.{name}_channels" for name in ("full", "penultimate")),
    *(f"loss.contrastive.{name}" for name in ("embedding_dim", "num_patches", "temperature")),
    *(f"optim.{name}" for name in ("lr_G", "lr_D", "clip_norm", "ema_halflife_kimg")),
    *(f"validation.{name}" for name in ("every_kimg", "max_maps", "patience_kimg")),
    "loss.r1.every",
    "loss.diversity.tau_images",
)
AT_LEAST_0 = (
    "seed",
    "data.workers",
    "optim.ema_rampup",
    "loss.focal_gamma",
    "loss.diversity.tau",
    *(f"loss.{term}.weight" for term in ("contrastive", "diversity", "labelmix", "r1")),
)


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
    augment: list[str]


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
    tau_images: int | None


@dataclass(frozen=True)
class R1Config:
    weight: float
    every: int


@dataclass(frozen=True)
class LabelMixConfig:
    weight: float


@dataclass(frozen=True)
class LossConfig:
    focal_gamma: float
    weigh_classes: bool
    contrastive: ContrastiveConfig
    diversity: DiversityConfig
    labelmix: LabelMixConfig
    r1: R1Config


@dataclass(frozen=True)
class OptimConfig:
    lr_G: float
    lr_D: float
    betas: list[float]
    clip_norm: float | None
    ema_halflife_kimg: float
    ema_rampup: float


@dataclass(frozen=True)
class RunConfig:
    batch_size: int
    micro_batch: int | None
    total_kimg: float
    log_kimg: float
    sample_kimg: float
    checkpoint_kimg: float
    keep_kimg: float | None
    sample_maps: int
    sample_noises: int
    device: str
    precision: str
    activation_checkpointing: bool
    compile: bool
    wandb: str | None


@dataclass(frozen=True)
class ValidationConfig:
    every_kimg: float | None
    network: str
    weights: str | None
    max_maps: int
    metric: str
    patience_kimg: float | None


@dataclass(frozen=True)
class TrainConfig:
    out: str
    seed: int
    init_from: str | None
    data: DataConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    loss: LossConfig
    optim: OptimConfig
    run: RunConfig
    validation: ValidationConfig

    def __post_init__(self) -> None:
        for keys, words, right in (
            (ABOVE_0, "must be above 0", lambda value: value > 0),
            (AT_LEAST_0, "is at least 0", lambda value: value >= 0),
        ):
            for key in keys:
                value = attrgetter(key)(self)
                if value is not None and not right(value):
                    raise ValueError(f"{key} {words}, not {value:g}")
        choices = [
            ("loss.diversity.space", self.loss.diversity.space, DIVERSITY_SPACES),
            ("discriminator.nonlinearity", self.discriminator.nonlinearity, NONLINEARITIES),
            ("discriminator.normalization", self.discriminator.normalization, NORMALIZATIONS),
            ("run.precision", self.run.precision, PRECISIONS),
            ("validation.metric", self.validation.metric, VALIDATION_METRICS),
            *(("discriminator.augment", policy, AUGMENTATIONS) for policy in self.discriminator.augment),
        ]
        for key, value, known in choices:
            if value not in known:
                raise ValueError(f"{key} takes {', '.join(known)}, not {value!r}")
        if len(self.optim.betas) != 2 or not all(0 <= beta < 1 for beta in self.optim.betas):
            raise ValueError(f"optim.betas are two numbers from 0 to below 1, not {self.optim.betas}")
        if not self.loss.contrastive.strides:
            raise ValueError("loss.contrastive.strides is empty; loss.contrastive.weight=0 switches the term off")
        if self.loss.diversity.weight > 0 and self.loss.diversity.tau is None and self.run.batch_size < 2:
            raise ValueError(
                f"run.batch_size={self.run.batch_size}: eq. 7 (loss.diversity.tau=null) compares two images"
            )
        if self.validation.patience_kimg is not None and self.validation.every_kimg is None:
            raise ValueError("validation.patience_kimg has no effect while validation.every_kimg is null")
        if self.run.compile and (self.run.activation_checkpointing or self.loss.r1.weight > 0):
            raise ValueError("run.compile=true goes neither with run.activation_checkpointing nor with loss.r1")


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

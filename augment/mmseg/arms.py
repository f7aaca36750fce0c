"""What a segmenter may be trained on, each as a config: real images, synthetic ones, and ways to have both."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mmengine.config import Config

from augment.report.gain_trained import REAL, SYNTHETIC

MIXED, PRETRAIN, ON_THE_FLY = "mixed", "pretrain", "on-the-fly"
KINDS = (REAL, SYNTHETIC, MIXED, PRETRAIN, ON_THE_FLY)
TITLES = {
    REAL: "real images alone",
    SYNTHETIC: "synthetic images alone",
    MIXED: "real and synthetic images",
    PRETRAIN: "synthetic images, then real ones",
    ON_THE_FLY: "real images and images painted on the fly",
}
FILTERED = "-filtered"  # ends the name of an arm whose synthetic samples went through a filter
SHARDED = (SYNTHETIC, MIXED, PRETRAIN)  # kinds that take their synthetic samples from shards
LENGTHS = ("begin", "end", "T_max", "total_iters", "step_size")  # of a schedule, in iterations


@dataclass(frozen=True)
class Mix:
    """How an arm's batches are mixed; all arms of a comparison share it.

    Attributes:
        share: of synthetic samples in a batch, where there are both.
        pretraining: share of the iterations that come first, on synthetic samples alone.
        loss_weight: of synthetic pixels.
        schedule: "constant", or "linear": the share falls to 0 at the last iteration.
    """

    share: float | int = 0.5
    pretraining: float | int = 0.5
    loss_weight: float | int = 1
    schedule: str = "constant"

    def __post_init__(self) -> None:
        for name in ("share", "pretraining"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"--{name} is more than 0 and less than 1, not {getattr(self, name)}")
        if self.schedule not in ("constant", "linear"):
            raise ValueError(f"--schedule is constant or linear, not {self.schedule!r}")
        if not self.loss_weight > 0:
            raise ValueError(f"--loss-weight is more than 0, not {self.loss_weight}")


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        kind: of `KINDS`.
        filtered: its synthetic samples went through a filter.
    """

    kind: str
    filtered: bool = False

    @property
    def name(self) -> str:
        return self.kind + (FILTERED if self.filtered else "")

    @property
    def title(self) -> str:
        return TITLES[self.kind] + (", filtered" if self.filtered else "")

    def real_share(self, mix: Mix) -> Fraction:
        """Of all samples of the training."""
        if self.kind == REAL:
            return Fraction(1)
        if self.kind == SYNTHETIC:
            return Fraction(0)
        if self.kind == PRETRAIN:
            return 1 - Fraction(str(mix.pretraining))
        share = Fraction(str(mix.share))
        return 1 - (share / 2 if mix.schedule == "linear" else share)

    def describe(self) -> dict:
        return {"name": self.name, "title": self.title, "kind": self.kind, "filtered": self.filtered}


def parse_arms(names: Sequence[str]) -> list[Arm]:
    """The arms by their names, real images alone among them."""
    known = {arm.name: arm for arm in (*map(Arm, KINDS), *(Arm(kind, filtered=True) for kind in KINDS if kind != REAL))}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"--arms is of {', '.join(known)}, not {unknown[0]!r}")
    return [known[name] for name in dict.fromkeys((REAL, *names))]


def epochs_as_real(arm: Arm, mix: Mix, iterations: int) -> int:
    """Iterations in which an arm sees as many real samples as the real arm does in `iterations`."""
    return round(iterations / arm.real_share(mix))


def arm_config(
    real: Config,
    arm: Arm,
    mix: Mix,
    iterations: int,
    *,
    shards: Path | None = None,
    decisions: Path | None = None,
    generator: Path | None = None,
    perturb: str | None = None,
) -> Config:
    """The real arm's config with what the arm is trained on, for so many iterations.

    Args:
        shards: of the synthetic samples.
        decisions: of their filter, for an arm that is filtered.
        generator, perturb: of `PaintSynthetic`.
    """
    cfg = copy.deepcopy(real)
    set_iterations(cfg, iterations)
    if arm.kind == REAL:
        return cfg
    share = {"share": 1 if arm.kind in (SYNTHETIC, PRETRAIN) else mix.share}
    if arm.kind == PRETRAIN:
        share |= {"schedule": "step", "end": 0, "until": max(1, round(iterations * mix.pretraining))}
    elif arm.kind != SYNTHETIC and mix.schedule == "linear":
        share |= {"schedule": "linear", "end": 0, "until": iterations}
    if arm.kind == ON_THE_FLY:
        hook = {"type": "augment.mmseg.paint.PaintSynthetic", "generator": str(generator), "perturb": perturb}
    else:
        hook = {"type": "augment.mmseg.mix.MixSynthetic", "shards": str(shards)}
    hook |= {"decisions": str(decisions)} if arm.filtered else {}
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), {**hook, **share, "loss_weight": mix.loss_weight}]
    return cfg


def set_iterations(cfg: Config, iterations: int) -> None:
    """Make a training longer or shorter, its schedule with it."""
    factor = Fraction(iterations, cfg.train_cfg.max_iters)

    def scaled(length: int) -> int:
        return max(1, round(length * factor)) if length else 0

    cfg.train_cfg.max_iters = iterations
    cfg.train_cfg.val_interval = min(iterations, scaled(cfg.train_cfg.val_interval))
    checkpoint = cfg.default_hooks.checkpoint
    checkpoint.interval = min(iterations, scaled(checkpoint.interval))
    for scheduler in cfg.param_scheduler:
        for name in LENGTHS:
            if scheduler.get(name) is not None:
                scheduler[name] = scaled(scheduler[name])
        if scheduler.get("milestones"):
            scheduler.milestones = [scaled(milestone) for milestone in scheduler.milestones]

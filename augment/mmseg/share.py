"""The share of synthetic samples in a training, iteration by iteration."""

from dataclasses import dataclass
from fractions import Fraction

SCHEDULES = ("constant", "linear", "step")


@dataclass(frozen=True)
class Share:
    """A share that stays, moves evenly to another one, or jumps to it.

    "step" from 1 to 0 is pre-training on synthetic samples and fine-tuning on real ones.

    Attributes:
        start: of the first iteration, 0 to 1.
        schedule: "constant", "linear" or "step".
        end: of iteration `until` and all after it; of no meaning to "constant".
        until: iterations.
    """

    start: float | int
    schedule: str = "constant"
    end: float | int = 0
    until: int | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        for name in ("start", "end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"a share of synthetic samples is 0 to 1: {name}={getattr(self, name)}")
        if self.schedule != "constant" and (self.until is None or self.until < 1):
            raise ValueError(f"schedule {self.schedule!r} needs the iteration until which it goes: until={self.until}")

    def at(self, iteration: int) -> Fraction:
        """Of one iteration, exactly."""
        start, end = _exact(self.start), _exact(self.end)
        if self.schedule == "constant":
            return start
        if iteration >= self.until:
            return end
        return start if self.schedule == "step" else start + (end - start) * Fraction(iteration, self.until)

    def before(self, iteration: int) -> Fraction:
        """The sum over all iterations before this one, which takes as long for the millionth as for the first."""
        start, end = _exact(self.start), _exact(self.end)
        if self.schedule == "constant":
            return start * iteration
        first = min(iteration, self.until)
        total = start * first + end * (iteration - first)
        if self.schedule == "linear":
            total += (end - start) * Fraction(first * (first - 1), 2 * self.until)
        return total

    @property
    def highest(self) -> float | int:
        return self.start if self.schedule == "constant" else max(self.start, self.end)


def _exact(share: float | int) -> Fraction:
    """What was written: 0.1 is a tenth."""
    return Fraction(str(share))

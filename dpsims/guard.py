"""Words for what goes wrong in GAN training, with the remedy, while there is time to stop."""

from collections.abc import Mapping
from dataclasses import dataclass

PATIENCE = 10  # rows of the log in a row


@dataclass(frozen=True)
class Symptom:
    """A pattern in the figures of `watch`.

    Attributes:
        name: to know it by.
        limits: figure → (lowest, highest) value between which it counts; all must hold.
        words: what it means and what to do; {figures} stands for the values.
    """

    name: str
    limits: dict[str, tuple[float, float]]
    words: str


SYMPTOMS = (
    Symptom(
        "no diversity",
        {"Diversity/z": (0.0, 1e-3)},
        "z has next to no effect on the images ({figures}): every label map gets one image. Raise "
        "loss.diversity.weight, or loss.diversity.tau where it is set by hand; in a short run start with "
        "open gates: generator.gate_init=0.2",
    ),
    Symptom(
        "D has won",
        {"Accuracy/fake": (0.99, 1.0), "Accuracy/fooled": (0.0, 0.01)},
        "D tells nearly every fake pixel from a real one ({figures}), so G learns little. Give D less: a lower "
        "optim.lr_D, discriminator.augment=[color,translation,cutout], loss.r1.weight=1; or G more: a lower "
        "loss.diversity.weight",
    ),
    Symptom(
        "out of range",
        {"Range/outside": (0.25, 1.0)},
        "many values of the images lie outside [-1, 1] and are cut ({figures}): saturated colours. Lower "
        "loss.diversity.weight, or set loss.diversity.tau below the calibrated one",
    ),
)


class CollapseGuard:
    """Says a symptom once when it has held for `PATIENCE` rows of the log, and again only after it has gone away."""

    def __init__(self) -> None:
        self.held = {symptom.name: 0 for symptom in SYMPTOMS}

    def check(self, row: Mapping[str, float]) -> list[str]:
        """Look at the next row; returns the warnings that are due."""
        due = []
        for symptom in SYMPTOMS:
            figures = {key: row[key] for key in symptom.limits if key in row}
            ill = len(figures) == len(symptom.limits) and all(
                low <= figures[key] <= high for key, (low, high) in symptom.limits.items()
            )
            self.held[symptom.name] = self.held[symptom.name] + 1 if ill else 0
            if self.held[symptom.name] == PATIENCE:
                listed = ", ".join(f"{key} {value:.3g}" for key, value in figures.items())
                due.append(symptom.words.format(figures=f"{listed} over {PATIENCE} rows of the log"))
        return due

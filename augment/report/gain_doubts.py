"""What a reader should know before trusting a comparison: what looks wrong in it, and what its seeds do not cover."""

from pathlib import Path

from augment.report.gain_trained import EPOCHS, FOLDERS, Trained, planned
from augment.report.scores import ALPHA, MIN_SEEDS
from augment.report.wording import count, number

SHOWN = 5  # of a kind


def find_doubts(out: Path, settings: dict, trained: Trained) -> list[str]:
    """Signs that some of the scores are not what they seem to be, a sentence each."""
    return [
        *doubt_generators(settings),
        *doubt_copies(trained),
        *doubt_means(trained),
        *doubt_left_out(out, settings),
    ]


def doubt_generators(settings: dict) -> list[str]:
    """A generator that has seen the labels that a fraction hides."""
    doubts = []
    for fraction in settings["fractions"]:
        if not fraction.get("generator_sha256"):
            continue
        seen, here = fraction.get("generator_images"), f"{100 * fraction['fraction']:g} % of the labels"
        if seen is None:
            doubts.append(
                f"Nothing tells which images the generator for {here} was trained on. If it has seen more labels than "
                f"these {count(fraction['images'])}, the comparison is not one of so few labels."
            )
        elif seen > fraction["images"]:
            doubts.append(
                f"The generator for {here} was trained on {count(seen)} labelled images, but the real arm on "
                f"{count(fraction['images'])}: a gain there may come from the labels that only the generator has seen."
            )
        if other := fraction.get("generator_init_from"):
            doubts.append(
                f"The generator for {here} began with the weights of another one ({other}). A gain there may come from "
                "images that only that one has seen."
            )
    return doubts


def doubt_copies(trained: Trained) -> list[str]:
    """Trainings that should differ and score the same in every class."""
    seen: dict[tuple, set[str]] = {}
    for test in (test for scores in trained.values() for by_seed in scores.values() for test in by_seed.values()):
        seen.setdefault(tuple(sorted(test["IoU"].items())), set()).add(test["folder"])
    groups = [sorted(group) for group in seen.values() if len(group) > 1]
    return [
        f"{' and '.join(group)} have the same IoU in every class: as if the seed or the data had made no difference, "
        "or a folder had been copied."
        for group in groups[:SHOWN]
    ]


def doubt_means(trained: Trained) -> list[str]:
    """Means over different classes: one that is in no label and is not predicted does not count."""
    doubts = []
    for scores in trained.values():
        counted: dict[int, str] = {}
        for test in (test for by_seed in scores.values() for test in by_seed.values()):
            counted.setdefault(sum(iou is not None for iou in test["IoU"].values()), test["folder"])
        if len(counted) > 1:
            listed = ", ".join(f"over {classes} in {folder}" for classes, folder in sorted(counted.items()))
            doubts.append(
                f"The mean IoU is not over as many classes everywhere ({listed}): a class that is neither in the "
                "labels nor predicted does not count."
            )
    return doubts


def doubt_left_out(out: Path, settings: dict) -> list[str]:
    """Trainings that are there and not reported: nobody shall choose among seeds."""
    expected = {(name, FOLDERS[budget], f"{arm['name']}-seed{seed}") for name, budget, arm, seed in planned(settings)}
    found = [
        file.parent
        for fraction in settings["fractions"]
        for folder in FOLDERS.values()
        for file in sorted((out / fraction["name"] / folder).glob("*-seed*/test.json"))
    ]
    extra = [str(path.relative_to(out)) for path in found if path.relative_to(out).parts not in expected]
    if not extra:
        return []
    listed = ", ".join(extra[:SHOWN]) + (f" and {len(extra) - SHOWN} more" if len(extra) > SHOWN else "")
    return [f"Trained and tested, but not among the settings' arms, seeds and budgets, and left out here: {listed}."]


def find_limits(settings: dict, test_images: int | None) -> list[str]:
    """What the intervals and tests do not cover, a sentence or two each."""
    seeds, fractions = len(settings["seeds"]), settings["fractions"]
    parts = any(fraction["fraction"] < 1 for fraction in fractions)
    tables = len(fractions) * len(settings["budgets"])
    limits = [
        "One GAN for each label fraction. Its training has a seed, too: another one paints other images. Two rows that "
        "share a GAN share its luck.",
        f"One test set{f' of {count(test_images)} images' if test_images else ''}. The intervals tell what other seeds "
        "of the segmenter would score on these images, not what it would score on others.",
    ]
    if parts:
        limits.insert(
            1,
            "One choice of the labelled images for each fraction below 100 %, the smaller within the larger: other "
            "images with as many labels may tell otherwise. The validation images, by which each training’s best "
            "checkpoint is chosen, are not counted in the fractions: they are there whole.",
        )
    if seeds >= MIN_SEEDS:
        limits.append(
            f"{seeds} seeds tell their own spread only roughly, and the test takes the differences as normally "
            "distributed. It holds for seeds that were fixed beforehand: adding some until p is small enough makes it "
            "worthless."
        )
    else:
        limits.append(f"Fewer than {MIN_SEEDS} seeds do not tell a difference from chance, however large it is.")
    if len(settings["arms"]) > 2:
        limits.append(
            "The best arm is the one with the highest mean, luck included: its difference is on average too high. The "
            "correction makes its p honest, not its difference."
        )
    limits.append(
        "This page knows its own arms alone. Settings that were tried before on these test images, and are not shown, "
        "are not corrected for."
    )
    if tables > 1:
        chance = number(100 * (1 - (1 - ALPHA) ** tables), 0)
        limits.append(
            f"p is corrected over the arms of a table, not over the {tables} tables: if synthetic images changed "
            f"nothing at all, some table would still have a row outside noise with a probability of up to {chance} %."
        )
    limits.append(
        "Equal iterations are those of the segmenter. Training the GAN, synthesis and filter come on top."
        + (
            " At equal epochs of real data the arms with synthetic images train for more iterations than the real arm, "
            "so a gain there may be one of longer training."
            if EPOCHS in settings["budgets"]
            else ""
        )
    )
    return limits

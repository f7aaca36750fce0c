"""The trainings of a comparison of arms: which there are to be, and what is there of them.

OUT/settings.json                                what tools/gain.py was asked for
OUT/NAME/segmenters/ARM-seedN/test.json          of the fraction NAME, for equal iterations
OUT/NAME/segmenters-epochs/ARM-seedN/test.json   for equal epochs of real data; those of the real arm are in segmenters/
"""

from collections.abc import Iterator
from pathlib import Path

from augment.report.job import read_curves
from augment.report.scores import Scores, read_test
from augment.storage import read_json

REAL, SYNTHETIC = "real", "synthetic"  # kinds of arms that are told from the others
ITERATIONS, EPOCHS = "iterations", "epochs"  # what is equal in all arms; epochs are those of real data
BUDGETS = (ITERATIONS, EPOCHS)
FOLDERS = {ITERATIONS: "segmenters", EPOCHS: "segmenters-epochs"}
FILTERED = "filtered"  # folder of a fraction's filter
NEEDED = ("classes", "seeds", "iterations", "fractions", "arms", "budgets")

Trained = dict[tuple[str, str], Scores]  # fraction's name, budget → arm → seed → test


def read_settings(file: Path) -> dict:
    """What was compared: at least the keys `NEEDED`."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: no comparison was started here")
    settings = read_json(file)
    lacking = [key for key in NEEDED if not settings.get(key)]
    if lacking:
        raise ValueError(f"{file} has no {', '.join(lacking)}")
    reals = sum(arm["kind"] == REAL for arm in settings["arms"])
    if reals != 1:
        raise ValueError(f"{file} has {reals} arms of real images alone; the others are compared to one")
    unknown = set(settings["budgets"]) - FOLDERS.keys()
    if unknown:
        raise ValueError(f"{file} has the budgets {', '.join(sorted(unknown))}; known are {', '.join(FOLDERS)}")
    return settings


def real_arm(settings: dict) -> str:
    return next(arm["name"] for arm in settings["arms"] if arm["kind"] == REAL)


def arms_of(settings: dict, budget: str) -> list[dict]:
    """The arms that a budget compares; synthetic images alone have no epochs of real data."""
    return [arm for arm in settings["arms"] if budget == ITERATIONS or arm["kind"] != SYNTHETIC]


def planned(settings: dict) -> Iterator[tuple[str, str, dict, int]]:
    """(fraction's name, budget, arm, seed) of every training; the real arm's is the same for both budgets."""
    for fraction in settings["fractions"]:
        for seed in settings["seeds"]:
            for budget in FOLDERS:
                for arm in arms_of(settings, budget):
                    if budget == ITERATIONS if arm["kind"] == REAL else budget in settings["budgets"]:
                        yield fraction["name"], budget, arm, seed


def read_trained(out: Path, settings: dict, *, partial: bool) -> tuple[Trained, list[str]]:
    """All trainings, the real arm's under each budget; and which test.json are missing.

    A training is the content of its test.json, its `curves` and its `folder`, as seen from `out`.

    Raises:
        ValueError: a file that is broken, or missing and not `partial`; scores that cannot be compared.
    """
    names = [fraction["name"] for fraction in settings["fractions"]]
    trained: Trained = {(name, budget): {} for name in names for budget in settings["budgets"]}
    missing = []
    for name, budget, arm, seed in planned(settings):
        work_dir = out / name / FOLDERS[budget] / f"{arm['name']}-seed{seed}"
        file = work_dir / "test.json"
        if partial and not file.is_file():
            missing.append(str(file.relative_to(out)))
            continue
        test = read_test(file)
        check_test(test, file, settings["classes"])
        test |= {"curves": read_curves(work_dir), "folder": str(work_dir.relative_to(out))}
        for shown in settings["budgets"] if arm["kind"] == REAL else (budget,):
            trained[name, shown].setdefault(arm["name"], {})[seed] = test
    check_alike(trained)
    return trained, missing


def check_test(test: dict, file: Path, classes: list[str]) -> None:
    if test["mIoU"] is None:
        raise ValueError(f"{file} has no mIoU: no class was seen")
    if set(test["IoU"]) != set(classes):
        raise ValueError(f"{file} has the classes {', '.join(test['IoU'])}, but settings.json {', '.join(classes)}")


def check_alike(trained: Trained) -> None:
    """See that scores may be compared: the same test images, and as many iterations where these are to be equal."""
    first: dict[str, dict] = {}
    for (_, budget), scores in trained.items():
        for test in (test for by_seed in scores.values() for test in by_seed.values()):
            values = {"test images": test["images"]}
            if budget == ITERATIONS:
                values["training iterations"] = test["curves"]["iterations"]
            for what, value in values.items():
                if value is None:  # not logged
                    continue
                other = first.setdefault(what, {"value": value, "folder": test["folder"]})
                if value != other["value"]:
                    raise ValueError(
                        f"{test['folder']} had {value} {what}, but {other['folder']} had {other['value']}: they cannot "
                        "be compared"
                    )

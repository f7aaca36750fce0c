"""What segmenters say of generated images, as the page shows it: IoU of each class, generators beside real photos."""

from collections.abc import Sequence
from dataclasses import dataclass

REAL = "muted"  # the colour of real photos
# What the scores.json of an arm tells beyond the report.
LEFT_TO_SCORES = ("data_root", "files_sha256", "shards", "shards_sha256")


@dataclass(frozen=True)
class Column:
    """A generator's scores, or those of the real photos that it is read against.

    Attributes:
        colour: a variable of the page.
        scores: `mIoU` and `IoU` of each class, in percent or None; what else is known of a training.
    """

    title: str
    colour: str
    scores: dict


def columns(runs: Sequence[dict], colours: Sequence[str], key: str, own: str) -> list[Column]:
    """`run[key][own]` of every run that has it, then `run[key]["real"]` once for each size of the runs' images."""
    measured = [(run, colour) for run, colour in zip(runs, colours, strict=False) if run.get(key)]
    references = {f"{run['width']} × {run['height']}": run[key]["real"] for run, _ in measured}
    return [
        *(Column(run["name"], colour, run[key][own]) for run, colour in measured),
        *(
            Column(f"real photos, {size}" if len(references) > 1 else "real photos", REAL, scores)
            for size, scores in references.items()
        ),
    ]


def add_segmented(run: dict, name: str, painted: dict, real: dict) -> None:
    """Add a segmenter's scores of a run's images, and of the real photos of the same label maps, to the run."""
    run["segmented"] = {"painted": painted, "real": real}
    run["numbers"] |= {f"mIoU/{name}": painted["mIoU"], f"mIoU of photos/{name}": real["mIoU"]}


def add_trained(run: dict, name: str, synthetic: dict, real: dict) -> None:
    """Add the test scores of segmenters trained on a run's images, and on real ones, to the run."""
    run["trained"] = {}
    for key, kind, arm in (("synthetic", "TSTR", synthetic), ("real", "TRTR", real)):
        run["trained"][key] = {name: value for name, value in arm.items() if name not in LEFT_TO_SCORES}
        run["numbers"][f"{kind}/{name}"] = arm["mIoU"]
        if arm["mIoU_std"] is not None:
            run["numbers"][f"{kind} std/{name}"] = arm["mIoU_std"]

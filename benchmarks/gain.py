"""The numbers to keep of comparisons that tools/gain.py made: by label fraction and arm the mIoU of every seed.

Nothing is measured here; the trainings are those of the folders. Of several folders each is a result, such as the ways
that were tried to make a segmenter better.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from augment.report.gain import gain_summary, read_gain
from augment.storage import read_json
from benchmarks.options import parser_of
from benchmarks.report import run

EXAMPLE = "python -m benchmarks.gain runs/gain_camvid runs/gain_camvid-strong --out benchmarks/results/gain_camvid.json"


@dataclass(frozen=True)
class Setting:
    """What decides a comparison, from its settings.json; GANs are known by how many labelled images they saw.

    Attributes:
        comparison: name of its folder.
        segmenter: name of the config on real images.
        generator_images: by label fraction in percent.
    """

    comparison: str
    segmenter: str
    share: float | int
    pretraining: float | int
    loss_weight: float | int
    schedule: str
    perturb: str | None
    synthesis: list[str]
    scorer: str | None
    filtering: list[str] | None
    generator_images: dict[str, int | None]


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    parser = parser_of("gain", __doc__, EXAMPLE)
    parser.add_argument("comparisons", type=Path, nargs="+", metavar="DIR", help="--out of tools/gain.py")
    options = parser.parse_args(arguments)
    folders = {folder.resolve().name: folder for folder in options.comparisons}
    if len(folders) < len(options.comparisons):
        parser.error("the folders have different names, by which the document tells them apart")
    try:
        settings = [describe(name, read_json(folder / "settings.json")) for name, folder in folders.items()]
        summaries = {name: gain_summary(read_gain(folder)) for name, folder in folders.items()}
    except (ValueError, OSError) as error:  # of a comparison that is not finished, too
        parser.error(str(error))
    run("gain", arguments, settings, lambda it: summaries[it.comparison], options.out)


def describe(name: str, settings: dict) -> Setting:
    return Setting(
        comparison=name,
        segmenter=Path(settings["config"]).stem,
        **{key: settings[key] for key in ("share", "pretraining", "loss_weight", "schedule", "perturb", "synthesis")},
        **{key: settings.get(key) for key in ("scorer", "filtering")},
        generator_images={part["name"]: part["generator_images"] for part in settings["fractions"]},
    )


if __name__ == "__main__":
    main()

"""Decide how many images each label map gets, by what a segmenter finds hard: the file for synthesize.py --budget."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from endings import plain_ending
from jaxtyping import Float, Int
from PIL import Image
from synthesize_options import add_label_map_options

from augment.factory import VERSIONS
from augment.order import choose_label_maps, choose_reading
from augment.report.resampling import class_table, examples, legend, picture
from augment.report.wording import count, number
from augment.resample import gap_counts, gap_weights, hardness_counts, map_hardness, read_gaps, read_hardness
from augment.sources import LabelSource
from augment.storage import new_file, read_json, write_text
from augment.survey import Reader, Survey, survey
from augment.synthesize import digest
from dpsims.sample import file_sha256, load_generator
from dpsims.sheets import Tile, draw_sheet

MOST = 20  # FreeMask's

EXAMPLE = """
examples: FreeMask's re-sampling, 1 to 20 images of each label map by the rank of its hardness (tools/filter.py --scorer
segmenter measures that of the classes on the training images)

  python tools/budget.py --labels data/mine/train --hardness runs/filtered/filter.json --most 20 --out runs/budget.json

5,000 images, more of them from label maps with classes of which a segmenter misses much on the val split

  python tools/train_segmenter.py CONFIG --data-root data/mine --work-dir runs/segmenters/x --test --split val
  python tools/budget.py --labels data/mine/train --gaps runs/segmenters/x/val.json --images 5000 --out runs/budget.json

the training label maps of a generator's run, read as it reads them; then the images

  python tools/budget.py --generator runs/gan-generic --hardness runs/filtered/filter.json --out runs/budget.json
  python tools/synthesize.py --generator runs/gan-generic --budget runs/budget.json --out runs/shards-hard

This writes OUT.json, with the rule and all that went into it beside the numbers, and OUT.png: the label maps that are
easiest, in the middle, and hardest.
"""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE.json", help="the budget; the picture is FILE.png")
    generator_help = (
        "run folder of train_gan.py, or a generator.safetensors: label maps are counted as it takes them, at "
    )
    generator_help += "its size (default: as they are)"
    add("--generator", type=Path, help=generator_help)
    add_label_map_options(parser)
    add = parser.add_argument_group("by what").add_mutually_exclusive_group(required=True).add_argument
    hardness_help = "each class's mean cross-entropy on the training images; a label map's is the mean of its pixels"
    add("--hardness", type=Path, metavar="FILE.json", help=hardness_help)
    gaps_help = "each class's IoU on the val split, as train_segmenter.py --split val writes it; a class is given "
    gaps_help += "images by what it lacks, and a label map by how much of the class it shows"
    add("--gaps", type=Path, metavar="val.json", help=gaps_help)
    add = parser.add_argument_group("how many images").add_argument
    most_help = f"of a label map, at most (default: with --hardness {MOST}, FreeMask's; with --gaps no limit)"
    add("--most", type=int, help=most_help)
    add("--images", type=int, help="with --gaps: in all")
    add = parser.add_argument_group("where it runs").add_argument
    add("--threads", type=int, default=os.cpu_count(), help="that read (default: one per core, %(default)s)")
    return parser.parse_args(argv)


def check_options(arguments: argparse.Namespace) -> None:
    """What can be said of the options alone; a ValueError names them."""
    if arguments.hardness and arguments.images is not None:
        raise ValueError("--images goes with --gaps; with --hardness, --most decides how many they are")
    if arguments.gaps and arguments.images is None:
        raise ValueError("--gaps shares out --images, which are needed")
    for name in ("most", "images", "max_maps", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is at least 1, not {value}")
    if arguments.layout and not arguments.split:
        raise ValueError("--layout goes with --split: it says how a data set's splits lie")
    if arguments.out.suffix != ".json":
        raise ValueError(f"--out {arguments.out} is to be a file called *.json; the picture is called *.png beside it")
    if arguments.labels and not arguments.split and arguments.out.resolve().is_relative_to(arguments.labels.resolve()):
        raise ValueError(f"--out {arguments.out} is to lie outside of --labels {arguments.labels}: it has a picture")
    if arguments.out.exists() and not is_budget(read_json(arguments.out)):
        raise ValueError(f"--out {arguments.out} is there already, and is no budget; choose another name")


def is_budget(content: Any) -> bool:
    return isinstance(content, dict) and {"rule", "counts"} <= content.keys()


@dataclass(frozen=True)
class Decision:
    """What each label map that can be read gets, and why.

    Attributes:
        what, of_maps: the classes' hardness, and that of label maps; or the classes' gap, and the label maps' weight.
        values: of each class; NaN where it is not known.
        pixels: of each class in each label map.
        scores: hardness or weight of each label map.
        counts: its images.
    """

    what: str
    of_maps: str
    values: Float[np.ndarray, " c"]
    sources: Sequence[LabelSource]
    pixels: Int[np.ndarray, "n c"]
    scores: Float[np.ndarray, " n"]
    counts: list[int]

    @property
    def totals(self) -> dict[str, int | float]:
        counts = self.counts
        return {"images": sum(counts), "min": min(counts), "median": float(np.median(counts)), "max": max(counts)}


def run(arguments: argparse.Namespace) -> None:
    check_options(arguments)
    snapshot = load_generator(arguments.generator) if arguments.generator else None
    own = snapshot.space if snapshot else None
    place, sources = choose_label_maps(
        arguments.labels, arguments.split, arguments.layout, arguments.generator, arguments.allow_split, objects=False
    )
    reading = choose_reading(arguments.label_space, place, sources, arguments.generator, own)
    space, sources = reading.space, sources[: arguments.max_maps]
    values = read_hardness(arguments.hardness, space) if arguments.hardness else read_gaps(arguments.gaps, space)
    reader = Reader(space, (snapshot.height, snapshot.width) if snapshot else None, instances=False)
    splits = ", ".join(sorted({source.split or "no split" for source in sources}))
    print(f"{count(len(sources))} label maps ({splits}); label space: {reading.name} ({reading.reason})", flush=True)
    found = survey(sources, reader, threads=arguments.threads, progress=True)
    decision = decide(arguments, found, values)

    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = describe(arguments, decision, sources, reader)
    write_text(arguments.out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    sheet = arguments.out.with_suffix(".png")
    with new_file(sheet) as part:
        draw(decision, reader).save(part, "PNG")

    said = "{min} to {max} of each, median {median:g}".format(**decision.totals)
    print(f"budget: {count(sum(decision.counts))} images of {count(len(decision.sources))} label maps, {said}")
    origin = content["from"]
    if origin.get("scorer") == "discriminator":
        whose = origin.get("run", origin["file"])
        print(f"this is the hardness of a discriminator ({whose}); FreeMask's is a segmenter's")
    unreadable = content["unreadable"]
    if unreadable:
        print(f"cannot be read, and gets none: {len(unreadable)} label maps, such as {unreadable[0]}")
    print(class_table(space, decision.what, values, decision.pixels, decision.counts))
    print(f"look at them: {sheet}")
    print(f"make them:    python tools/synthesize.py … --budget {arguments.out}")


def decide(arguments: argparse.Namespace, found: Survey, values: Float[np.ndarray, " c"]) -> Decision:
    """By the rule that is asked for."""
    good = [index for index, summary in enumerate(found.summaries) if summary is not None]
    sources, pixels = [found.sources[index] for index in good], found.pixels[good]
    if arguments.hardness:
        scores = map_hardness(pixels, values)
        counts = hardness_counts(scores, arguments.most or MOST)
        return Decision("hardness", "hardness", values, sources, pixels, scores, counts)
    scores = gap_weights(pixels, values)
    counts = gap_counts(scores, arguments.images, arguments.most)
    return Decision("gap", "weight", values, sources, pixels, scores, counts)


def describe(arguments: argparse.Namespace, decision: Decision, sources: Sequence[LabelSource], reader: Reader) -> dict:
    """The content of the file: the rule, what it started from, what came of it."""
    file = arguments.hardness or arguments.gaps
    most, images = arguments.most or (MOST if arguments.hardness else None), arguments.images
    asked = {"most": most} if arguments.hardness else {"images": images, "most": most}
    names = [source.source_key for source in decision.sources]
    of_classes = (None if np.isnan(value) else round(float(value), 6) for value in decision.values)
    counts = {source.source_key: 0 for source in sources} | dict(zip(names, decision.counts, strict=True))
    return {
        "rule": decision.what,
        **asked,
        "from": {"file": str(file), "sha256": file_sha256(file), **told_origin(read_json(file))},
        "dpsims-augment": VERSIONS["dpsims-augment"],
        "size": reader.size,
        "label_names_sha256": digest([(source.source_key, source.split) for source in sources]),
        "totals": {"label_maps": len(sources), **decision.totals},
        "unreadable": sorted(counts.keys() - set(names)),
        f"class_{decision.what}": dict(zip(reader.space.classes, of_classes, strict=True)),
        f"label_map_{decision.of_maps}": dict(zip(names, decision.scores.round(6).tolist(), strict=True)),
        "counts": counts,
    }


def told_origin(stated: dict) -> dict[str, str]:
    """What a file says of where its numbers are from: at its top, or as tools/filter.py's filter.json does."""
    parts = [stated, *(stated[name] for name in ("settings", "origin") if isinstance(stated.get(name), dict))]
    keys = ("scorer", "config", "checkpoint", "run", "split")
    return {key: part[key] for part in parts for key in keys if isinstance(part.get(key), str)}


def draw(decision: Decision, reader: Reader) -> Image.Image:
    """Label maps of the lowest, the median and the highest hardness or gap, and the classes' own."""
    tiles, shown = [], np.zeros(reader.space.num_classes, bool)
    for kind, index in examples(decision.scores):
        source, score = decision.sources[index], number(float(decision.scores[index]), 3)
        caption = f"{kind} {decision.of_maps} {score}, {decision.counts[index]} images: {source.source_key}"
        tiles.append(Tile(caption.strip(), [picture(reader(source).label_map, reader.space)]))
        shown |= decision.pixels[index] > 0
    title = f"{count(sum(decision.counts))} images of {count(len(decision.sources))} label maps by {decision.what}"
    return draw_sheet(title, tiles, legend(reader.space, decision.values, np.flatnonzero(shown)))


def main() -> None:
    arguments = parse_arguments()
    with plain_ending():
        run(arguments)


if __name__ == "__main__":
    main()

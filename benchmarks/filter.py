"""How well a filter finds regions that show another class than their label map says, planted on purpose.

In each label map of a generator's training split one region of a class is given another class, and the generator
paints that; the label map beside the image stays as it was. Both scorers then look at these images, with limits from
the real training images. A pixel of the region is to be rejected, all others are to stay. What the generator painted
badly all by itself counts as wrongly rejected: the precision is a lower bound.

It works on what `make demo` leaves behind.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from scipy import ndimage

from augment.filter.rules import ClassLosses, PixelRule, average, reject
from augment.filter.scorer import DiscriminatorScorer, Scorer
from augment.painter import Painter
from benchmarks.measure import short
from benchmarks.options import parser_of, positive
from benchmarks.report import run
from dpsims.data import FolderDataset
from dpsims.hardware import pick_device
from dpsims.labels import IGNORE_INDEX
from dpsims.metrics.generate import Compute, read_labelled
from dpsims.metrics.runs import find_place, open_split
from dpsims.sample import Labelled, Snapshot, load_generator, sample_seed, to_uint8

EXAMPLE = """python -m benchmarks.filter --run runs/demo/gan \\
      --config configs/segmenters/efficientnet_lite0_fpn_streets_real.py --checkpoint runs/demo/segmenters/real-seed0"""
LIMITS = [(1.25, None), *((None, quantile) for quantile in (0.9, 0.95, 0.99))]
WINDOWS = (1, 5, 9, 15)
SMALLEST, LARGEST = 0.01, 0.25  # of a region, as shares of the image
BATCH = 16
Losses = Sequence[Float32[np.ndarray, "h w"]]
Planted = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]


@dataclass(frozen=True)
class Setting:
    """One rule for what one scorer saw.

    Attributes:
        images: with a planted region, `per_map` of each label map.
    """

    scorer: str
    tolerance: float | int | None
    quantile: float | int | None
    window: int
    images: int
    seed: int


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parse(arguments)
    device = pick_device(options.device)
    snapshot = load_generator(options.run, device)
    place = find_place([options.run], split="train")
    data = open_split(place, "train", (snapshot.height, snapshot.width), instances=False)
    reals = list(read_labelled(data, range(len(data)), Compute(device, BATCH, bf16=False, workers=0)))
    planted = list(plant(snapshot, data, reals, device, per_map=options.per_map, seed=options.seed))
    scorers: dict[str, Callable[[], Scorer]] = {
        "discriminator": lambda: DiscriminatorScorer(options.run, snapshot.space, data.size, device)
    }
    if options.config:
        scorers["segmenter"] = lambda: open_segmenter(options, snapshot, device)
    look = cache(lambda name: look_at(scorers[name](), reals, planted))
    settings = [
        Setting(name, *limit, window, len(planted), options.seed)
        for name in scorers
        for limit in LIMITS
        for window in WINDOWS
    ]
    run("filter", arguments, settings, lambda it: measure(it, *look(it.scorer), reals, planted), options.out)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_of("filter", __doc__, EXAMPLE)
    add = parser.add_argument
    add("--run", type=Path, required=True, help="run folder of the GAN, whose data is still there")
    add("--config", help="of a segmenter that was trained on the same data; none leaves it out")
    add("--checkpoint", type=Path, help="its weights, or its work dir")
    add("--per-map", type=positive, default=2, help="images of each label map (default: %(default)s)")
    add("--seed", type=int, default=0, help="of noise and regions (default: %(default)s)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    options = parser.parse_args(arguments)
    if bool(options.config) != bool(options.checkpoint):
        parser.error("--config and --checkpoint go together")
    return options


def open_segmenter(options: argparse.Namespace, snapshot: Snapshot, device: torch.device) -> Scorer:
    from augment.mmseg.segmenter_filter import SegmenterScorer

    return SegmenterScorer(options.config, options.checkpoint, snapshot.space, device)


def plant(
    snapshot: Snapshot,
    data: FolderDataset,
    reals: Sequence[Labelled],
    device: torch.device,
    *,
    per_map: int,
    seed: int,
) -> list[Planted]:
    """Images, the label maps that they were painted from, and those that will lie beside them."""
    classes = np.unique(np.concatenate([np.unique(label_map) for _, label_map in reals]))
    classes = classes[classes != IGNORE_INDEX]
    painter, found = Painter(snapshot, device, bf16=False), []
    for pair, (_, label_map) in zip(data.pairs, reals, strict=True):
        for sample in range(per_map):
            own = sample_seed(seed, pair.key, sample)
            changed = change_a_region(label_map, classes, np.random.default_rng(own))
            if changed is not None:
                found.append((own, changed, label_map))
    planted, waiting = [], iter(found)
    with torch.inference_mode():
        while batch := list(islice(waiting, BATCH)):
            conditioning = painter.encode([changed for _, changed, _ in batch], [None] * len(batch))
            images = (
                to_uint8(painter.decode(conditioning, [1] * len(batch), [own for own, _, _ in batch])).cpu().numpy()
            )
            planted += [(image, *pair) for image, (_, *pair) in zip(images, batch, strict=True)]
    return planted


def change_a_region(
    label_map: UInt8[np.ndarray, "h w"], classes: UInt8[np.ndarray, " k"], rng: np.random.Generator
) -> UInt8[np.ndarray, "h w"] | None:
    """Give one connected region another class; None where no region is of a fitting size."""
    regions = []
    for label in classes:
        parts, count = ndimage.label(label_map == label)
        regions += [(label, parts == number) for number in range(1, count + 1)]
    regions = [(label, mask) for label, mask in regions if SMALLEST <= mask.mean() <= LARGEST]
    if not regions:
        return None
    label, mask = regions[rng.integers(len(regions))]
    return np.where(mask, rng.choice(classes[classes != label]), label_map).astype(np.uint8)


def look_at(scorer: Scorer, reals: Sequence[Labelled], planted: Sequence[Planted]) -> tuple[Losses, Losses]:
    """The losses of the real images, and those of the planted ones."""
    pairs = [*reals, *((image, label_map) for image, _, label_map in planted)]
    found = []
    for start in range(0, len(pairs), BATCH):
        found += list(scorer.score(*zip(*pairs[start : start + BATCH], strict=True))[0])
    return found[: len(reals)], found[len(reals) :]


def measure(
    setting: Setting, of_reals: Losses, of_planted: Losses, reals: Sequence[Labelled], planted: Sequence[Planted]
) -> dict:
    num_classes = 1 + max(int(it[it != IGNORE_INDEX].max(initial=0)) for _, *maps in [*reals, *planted] for it in maps)
    real = ClassLosses(num_classes)
    for losses, (_, label_map) in zip(of_reals, reals, strict=True):
        real.add(average(losses, label_map, setting.window), label_map)
    limits = PixelRule(setting.tolerance, setting.quantile, setting.window).limits(real)
    hits = rejected = wrong = labelled = 0
    for losses, (_, painted, label_map) in zip(of_planted, planted, strict=True):
        known = label_map != IGNORE_INDEX
        gone = known & (reject(average(losses, label_map, setting.window), label_map, limits) == IGNORE_INDEX)
        hits += int((gone & (painted != label_map)).sum())
        rejected += int(gone.sum())
        wrong += int((known & (painted != label_map)).sum())
        labelled += int(known.sum())
    return {
        "pixels": labelled,
        "planted": wrong,
        "rejected": rejected,
        "precision": short(hits / rejected) if rejected else None,
        "recall": short(hits / wrong),
        "others_rejected": short((rejected - hits) / (labelled - wrong)),
    }


if __name__ == "__main__":
    main()

"""The options of filter.py, and what can be said of them alone."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from augment.filter.rules import PixelRule, SampleRules
from augment.sources import SPLITS
from dpsims.labels import label_space_names
from dpsims.layouts import LAYOUTS

EXAMPLE = """
example: by a segmenter that was trained on the real images (FreeMask's filter), and by the GAN's own discriminator

  python tools/filter.py --shards runs/shards --scorer segmenter --data-root data/mine \\
      --checkpoint runs/segmenters/segformer_b2_generic_real --out runs/filtered
  python tools/filter.py --shards runs/shards --scorer discriminator --gan runs/gan-generic --out runs/filtered

  python tools/train_segmenter.py CONFIG --shards runs/shards --decisions runs/filtered …

The limits of the pixels' losses are those of real images: measured first, and kept in OUT/calibration.json. Several
GPUs or machines each filter a part of the shards, by torchrun or --part; the last one to end decides. Other rules for
whole samples (--max-rejected and what follows it) may be given in the same OUT: no image is looked at again.
"""
TOLERANCE, QUANTILE = 1.25, 0.95  # of a segmenter's limits (FreeMask's), and of a discriminator's
WINDOW = {"segmenter": 1, "discriminator": 9}  # FreeMask's, and what finds more in benchmarks/results/filter-demo.json
PACKAGED = "tf_efficientnet_lite0"  # its weights come with the install


def filter_parser(description: str | None = None, *, exit_on_error: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=exit_on_error,
    )
    add = parser.add_argument
    add("--shards", required=True, metavar="DIR", help="folder of finished shards, or its URL (s3://…)")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the decisions and the filtered label maps")
    add("--scorer", choices=("segmenter", "discriminator"), required=True, help="what looks at the images")
    add("--config", help="of the segmenter: a file, or mmseg::PATH (default: what lies in the work dir)")
    add("--checkpoint", type=Path, help="its weights, or its work dir: the best ones there")
    add("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="other settings of that config")
    add("--gan", type=Path, metavar="RUN", help="run folder of the GAN whose discriminator looks")

    add = parser.add_argument_group("real images, on which the limits are measured").add_argument
    add("--data-root", metavar="DIR", help="root of the data set (default with --gan: what it was trained on)")
    add("--layout", choices=LAYOUTS, help="how its folders and files are named (default: the run's, or generic)")
    spaces_help = "how its ids are read (default: the run's, or those of DIR/meta.json)"
    add("--label-space", choices=label_space_names(), help=spaces_help)
    add("--split", help="which of them (default: what the run was trained on, else train)")
    add("--max-real", type=int, metavar="N", help="only so many, at equal distances (default: all)")

    add = parser.add_argument_group("a pixel is rejected if its loss is above the limit of its class").add_argument
    tolerance_help = (
        f"limit = this, times the mean loss of the class (default with a segmenter: {TOLERANCE}, FreeMask's)"
    )
    add("--tolerance", type=float, metavar="X", help=tolerance_help)
    quantile_help = f"limit = what this share of the real pixels of the class keeps (default with --gan: {QUANTILE})"
    add("--quantile", type=float, metavar="Q", help=quantile_help)

    window_help = "average the losses over a square so wide, of an odd number of pixels, within the class (default: 1, "
    window_help += f"that is none, with a segmenter, as FreeMask; {WINDOW['discriminator']} with --gan)"
    add("--window", type=int, metavar="W", help=window_help)

    title = "a sample is dropped (default: only unreadable ones, and those without a labelled pixel left)"
    add = parser.add_argument_group(title).add_argument
    add("--max-rejected", type=float, metavar="P", help="if more than this share of its pixels is rejected")
    add("--drop-fakest", type=float, metavar="P", help="if it is of the share that looks the most fake (discriminator)")
    unit = "distances are in units of that from a real image to its nearest real neighbour, in the median"
    add("--min-novelty", type=float, metavar="D", help=f"if it is nearer to a real image, and so a copy; {unit}")
    add("--min-diversity", type=float, metavar="D", help="if it is nearer to a sample of its label map that is kept")
    features_help = f"network in whose space these are measured: any of timm, or none (default: {PACKAGED})"
    add("--features", default=PACKAGED, metavar="NAME", help=features_help)
    add("--features-weights", metavar="FILE", help="local weights of that network")

    add = parser.add_argument_group("where it runs").add_argument
    add("--batch-size", type=int, default=8, help="images at once (default: %(default)s)")
    add("--threads", type=int, default=os.cpu_count(), help="that read and decode (default: one per core, %(default)s)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    part_help = "filter only every N-th shard from the I-th on, I from 0: for the jobs of an array"
    add("--part", metavar="I/N", help=part_help)
    return parser


def check_options(arguments: argparse.Namespace) -> tuple[PixelRule, SampleRules]:
    """What can be said of the options alone; a ValueError names them."""
    needed = {"segmenter": ("checkpoint", "data_root"), "discriminator": ("gan",)}
    foreign = {"segmenter": ("gan", "drop_fakest"), "discriminator": ("config", "checkpoint", "cfg_options")}
    for name in needed[arguments.scorer]:
        if not getattr(arguments, name):
            raise ValueError(f"--scorer {arguments.scorer} needs {flag(name)}")
    for name in foreign[arguments.scorer]:
        if getattr(arguments, name):
            raise ValueError(f"{flag(name)} means nothing with --scorer {arguments.scorer}")
    for name in ("max_real", "batch_size", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{flag(name)} is at least 1, not {value}")
    if SPLITS.get(arguments.split) == "test":
        raise ValueError(f"--split {arguments.split}: limits of test images would leak the test into the training")
    tolerance, quantile = arguments.tolerance, arguments.quantile
    if tolerance is None and quantile is None:
        tolerance, quantile = (TOLERANCE, None) if arguments.scorer == "segmenter" else (None, QUANTILE)
    rules = SampleRules(arguments.max_rejected, arguments.drop_fakest, arguments.min_novelty, arguments.min_diversity)
    if arguments.features == "none" and rules.need_features:
        raise ValueError("--min-novelty and --min-diversity need --features")
    if arguments.features == "none" and arguments.features_weights:
        raise ValueError("--features-weights means nothing with --features none")
    window = WINDOW[arguments.scorer] if arguments.window is None else arguments.window
    return PixelRule(tolerance, quantile, window), rules


def check_words(words: Sequence[str], scorer: str) -> None:
    """See that filter.py will take these options beside those that gain.py gives it; a ValueError says why not."""
    given = {"segmenter": ("--checkpoint", "x", "--data-root", "x"), "discriminator": ("--gan", "x")}
    command = ["--shards", "x", "--out", "x", "--scorer", scorer, *given[scorer], *words]
    try:
        arguments, unknown = filter_parser(exit_on_error=False).parse_known_args(command)
    except argparse.ArgumentError as error:
        raise ValueError(f"{error}") from None
    if unknown:
        raise ValueError(f"tools/filter.py has no option {' '.join(unknown)}")
    check_options(arguments)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

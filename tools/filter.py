"""Look at synthetic samples with a network that knows real ones: reject wrong pixels, drop bad samples.

The shards stay as they are; what is decided lies beside them, and training lays it over. The same command goes on.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from endings import plain_ending

from augment.filter.rules import PixelRule, SampleRules
from augment.filter.run import SUMMARY, describe, open_shards, run_filter
from augment.filter.scorer import DiscriminatorScorer, Scorer
from augment.report.filtering import class_table, filter_sheet
from augment.report.wording import share
from augment.sources import SPLITS
from augment.storage import Folder, new_file, open_folder
from augment.synthesize import find_part
from dpsims.data import FolderDataset
from dpsims.grid import save_grid
from dpsims.hardware import pick_device
from dpsims.labels import LabelSpace, label_space_names
from dpsims.layouts import LAYOUTS
from dpsims.metrics.embed import Embedder, load_embedder
from dpsims.metrics.generate import Compute, read_labelled
from dpsims.metrics.runs import Place, check_label_maps, find_place, open_split
from dpsims.sample import Labelled
from dpsims.spread import spread_indices
from dpsims.stop import stop_by_terminate

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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
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
    return parser.parse_args()


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


def run(arguments: argparse.Namespace) -> None:
    rule, sample_rules = check_options(arguments)
    part = find_part(arguments.part)
    shards, device = open_folder(arguments.shards), pick_device(arguments.device)
    space, size, manifest = open_shards(shards)
    scorer = open_scorer(arguments, space, size, device)
    place = find_reals(arguments)
    dataset = open_reals(place, space, size)
    indices = spread_indices(len(dataset), arguments.max_real)
    embedder = open_embedder(arguments, device)
    real = {"root": str(place.root.resolve()), "split": place.split, "images": len(indices)}
    features = embedder and {"network": embedder.name, "fingerprint": embedder.fingerprint}
    loud = os.environ.get("RANK", "0") == "0"  # of torchrun's ranks the first one speaks
    compute = Compute(device, arguments.batch_size, bf16=False, workers=0)
    summary = run_filter(
        shards,
        arguments.out,
        scorer,
        partial(named_reals, dataset, indices, compute, arguments.threads),
        rule,
        sample_rules,
        settings=describe(manifest, scorer, rule, real, features),
        real_images=len(indices),
        embedder=embedder,
        device=device,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        part=part,
        progress=loud,
    )
    if summary is None:
        print(f"filtered: part {part.index} of {part.count}; the last part to end decides on all samples")
        return
    report(shards, arguments.out, space, summary)


def open_scorer(
    arguments: argparse.Namespace, space: LabelSpace, size: tuple[int, int], device: torch.device
) -> Scorer:
    """What looks, for classes and images of the shards."""
    if arguments.scorer == "discriminator":
        return DiscriminatorScorer(arguments.gan, space, size, device)
    from augment.mmseg.config import parse_options
    from augment.mmseg.segmenter_filter import SegmenterScorer, find_config

    config = arguments.config or str(find_config(arguments.checkpoint))
    return SegmenterScorer(config, arguments.checkpoint, space, device, parse_options(arguments.cfg_options))


def find_reals(arguments: argparse.Namespace) -> Place:
    """Where the real images are."""
    place = find_place(
        [arguments.gan] if arguments.gan else [],
        root=arguments.data_root,
        layout=arguments.layout,
        label_space=arguments.label_space,
        split=arguments.split or "train",
    )
    place = replace(place, split=arguments.split or place.train_split)
    if place.layout != "generic" and SPLITS.get(place.split) == "val":
        raise ValueError(
            f"--split {place.split}: with {place.layout} segmenters are tested on it, and limits of test images would "
            "leak the test into the training"
        )
    return place


def open_reals(place: Place, space: LabelSpace, size: tuple[int, int]) -> FolderDataset:
    """The real images in the frame of the synthetic ones."""
    dataset = open_split(place, place.split, size, instances=False)
    if dataset.space.classes != space.classes:
        own, other = list(dataset.space.classes), list(space.classes)
        raise ValueError(f"the real images in {place.root} have the classes {own}, the shards {other}")
    return dataset


def open_embedder(arguments: argparse.Namespace, device: torch.device) -> Embedder | None:
    if arguments.features == "none":
        return None
    return load_embedder(arguments.features, arguments.features_weights).to(device)


def named_reals(
    dataset: FolderDataset, indices: list[int], compute: Compute, threads: int
) -> Iterator[tuple[str, Labelled]]:
    """The real images with their names; a bad label map is a ValueError before the first of them."""
    check_label_maps(dataset, indices, threads)
    names = [dataset.pairs[index].key for index in indices]
    return zip(names, read_labelled(dataset, indices, compute), strict=True)


def report(shards: Folder, out: Path, space: LabelSpace, summary: dict) -> None:
    """What was decided, and where to look."""
    sheet = out / "sheet.png"
    if rows := filter_sheet(shards, out, space):
        with new_file(sheet) as part:
            save_grid(part, rows)
    totals = summary["totals"]
    pixels, rejected = sum(totals["pixels"].values()), sum(totals["rejected_pixels"].values())
    print(class_table(summary))
    print(f"rejected: {share(rejected / pixels) if pixels else 'none'} of {pixels:,} labelled pixels")
    dropped = ", ".join(f"{reason} {count}" for reason, count in totals["dropped"].items())
    print(f"kept: {totals['kept']:,} of {totals['samples']:,} samples" + (f"; dropped: {dropped}" if dropped else ""))
    print(f"all numbers: {out / SUMMARY}")
    if rows:
        print(f"look at it: {sheet} (image | label map | rejected pixels in white; worst sample first)")
    print(f"train with it: tools/train_segmenter.py … --shards {shards} --decisions {out}")


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def main() -> None:
    arguments = parse_arguments()
    stop_by_terminate()
    with plain_ending("stopped; finished shards stay, and the same command goes on", batch_size=arguments.batch_size):
        run(arguments)


if __name__ == "__main__":
    main()

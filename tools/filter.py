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
from filter_options import check_options, filter_parser

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
from dpsims.labels import LabelSpace
from dpsims.metrics.embed import Embedder, load_embedder
from dpsims.metrics.generate import Compute, read_labelled
from dpsims.metrics.runs import Place, check_label_maps, find_place, open_split
from dpsims.sample import Labelled
from dpsims.spread import spread_indices
from dpsims.stop import stop_by_terminate


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


def main() -> None:
    arguments = filter_parser(__doc__).parse_args()
    stop_by_terminate()
    with plain_ending("stopped; finished shards stay, and the same command goes on", batch_size=arguments.batch_size):
        run(arguments)


if __name__ == "__main__":
    main()

"""The command line of tools/synthesize.py."""

import argparse
import os
from pathlib import Path

from augment.factory import IMAGE_FORMATS
from augment.perturb.recipe import preset_names
from augment.reading import OWN
from augment.sources import HELD_OUT
from dpsims.hardware import PRECISIONS
from dpsims.labels import label_space_names
from dpsims.layouts import LAYOUTS

EXAMPLE = """
examples: eight images for each training label map of CamVid, by the generator that train_gan.py left in runs/gan-camvid

  python tools/synthesize.py --generator runs/gan-camvid --labels data/camvid/train --samples 8 --out runs/shards

perturbed versions of what the generator was trained on: 20,000 images, a tenth of them with bicyclists

  python tools/synthesize.py --generator runs/gan-camvid --perturb camvid --budget 20000 \\
      --target bicyclist=10% --out …

the annotations of an official data set; their ids are read as they were in the training

  python tools/synthesize.py --generator runs/gan-ade20k --labels ADEChallengeData2016 --split training --out …

the same shards by 8 GPUs, by all GPUs of a Ray cluster, by each of the 100 jobs of a Slurm array

  torchrun --nproc-per-node 8 tools/synthesize.py …
  python tools/synthesize.py … --ray auto
  python tools/synthesize.py … --part $SLURM_ARRAY_TASK_ID/100

This writes OUT/00000.tar, 00001.tar, …, and OUT/samples.png to look at. A run that was stopped goes on with the same
command; what says where it runs may change.
"""


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--generator", type=Path, required=True, help="run folder of train_gan.py, or a generator.safetensors")
    add("--out", required=True, help="folder of the shards, or a URL that fsspec knows, such as s3://bucket/shards")

    add_label_map_options(parser)

    add = parser.add_argument_group("how many images of them").add_argument
    add("--samples", type=int, help="images per label map (default: 8, without --budget)")
    budget_help = "images in all, more of them from label maps with rare classes; or a JSON file with the images of "
    budget_help += "each label map by name"
    add("--budget", metavar="N|FILE", help=budget_help)
    target_help = "at least so many images of the budget, or such a share, are to hold the class, by label maps as "
    target_help += "they are before any perturbation (may be given for several classes)"
    add("--target", metavar="CLASS=N|CLASS=P%", action="append", default=[], help=target_help)
    add("--seed", type=int, default=0, help="other seed, other images (default: %(default)s)")

    add = parser.add_argument_group("perturbed label maps").add_argument
    perturb_help = f"{', '.join(preset_names())} (configs/synthesize), or a YAML file like these"
    add("--perturb", metavar="NAME|FILE", help=perturb_help)
    variants_help = "perturbed versions of each label map (default: as many as samples; fewer are faster, as the "
    variants_help += "samples of one version share a part of the work)"
    add("--variants", type=int, help=variants_help)

    add = parser.add_argument_group("files").add_argument
    add("--shard-size", type=int, default=512, help="images per shard, at most (default: %(default)s)")
    add("--format", choices=IMAGE_FORMATS, default="jpg", help="of the images (default: %(default)s)")
    add("--quality", type=int, help="of jpg or webp, 1 to 100 (default: 95)")

    add = parser.add_argument_group("where it runs, which does not change the images but for rounding").add_argument
    add("--batch-size", type=int, default=8, help="images made at once (default: %(default)s)")
    threads_help = "that read and encode, of each worker (default: one per core, %(default)s)"
    add("--threads", type=int, default=os.cpu_count(), help=threads_help)
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    precision_help = "of the generator (default: auto, bf16 where the hardware is fast at it)"
    add("--precision", choices=PRECISIONS, default="auto", help=precision_help)
    workers_help = "processes on this machine, on its GPUs in turn (default: 1); with --ray, actors (one per GPU)"
    add("--workers", type=int, help=workers_help)
    ray_help = "make the shards by Ray: on this machine, or on the cluster at ADDRESS (auto finds it)"
    add("--ray", metavar="ADDRESS", nargs="?", const="local", help=ray_help)
    part_help = "make only every N-th shard from the I-th on, I from 0: for the jobs of an array (torchrun needs none)"
    add("--part", metavar="I/N", help=part_help)
    add("--dry-run", action="store_true", help="show the plan and what it will take, and make nothing")
    preview_help = (
        "make nothing but this picture: some label maps, perturbed versions of them, and what is painted there"
    )
    add("--preview", type=Path, metavar="FILE.png", help=preview_help)
    return parser.parse_args()


def add_label_map_options(parser: argparse.ArgumentParser) -> None:
    """Which label maps, and how they are read (`augment.order`)."""
    add = parser.add_argument_group("label maps").add_argument
    labels_help = "folder of label PNGs, such as ADE20K's annotations/training or Cityscapes' gtFine/train; a split "
    labels_help += "folder such as ROOT/train; shards; or, with --split, a data set's root (default: what the "
    labels_help += "generator was trained on, by its run's config.yaml)"
    add("--labels", type=Path, help=labels_help)
    add("--split", help="of the data set in --labels (default without --labels: the training split)")
    layout_help = "how the data set's folders are named, with --split (default: as in the generator's run)"
    add("--layout", choices=LAYOUTS, help=layout_help)
    spaces = ", ".join(label_space_names())
    space_help = f"how the ids in the files are read: {spaces}, a file such as meta.json, or "
    space_help += (
        f"{OWN} (0 to C-1 and 255, as in shards); default: the meta.json in or above --labels, else the label "
    )
    space_help += "space that the generator was trained with, by its run's config.yaml"
    add("--label-space", metavar="NAME|FILE", help=space_help)
    add("--max-maps", type=int, help="use only the first so many label maps, by name (default: all)")
    allow_help = "use the label maps of a held-out split"
    add("--allow-split", choices=HELD_OUT, action="append", default=[], help=allow_help)


def check_options(arguments: argparse.Namespace) -> None:
    """What can be said of the options alone; a ValueError names them."""
    if arguments.samples is not None and arguments.budget is not None:
        raise ValueError("--samples is of each label map, --budget of all of them: only one of the two")
    if arguments.target and not (arguments.budget or "").isdecimal():
        raise ValueError("--target shares out a --budget of images")
    if arguments.variants is not None and not arguments.perturb:
        raise ValueError("--variants means nothing without --perturb")
    for name in ("samples", "max_maps", "variants", "workers", "shard_size", "batch_size", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is at least 1, not {value}")
    if arguments.preview and arguments.preview.absolute().is_relative_to(Path(arguments.out).absolute()):
        raise ValueError(
            f"--preview {arguments.preview} is to lie outside of --out {arguments.out}: shards go there alone"
        )
    if arguments.preview and arguments.preview.suffix.lower() != ".png":
        raise ValueError(f"--preview {arguments.preview} is to be a file called *.png")
    if arguments.layout and not arguments.split:
        raise ValueError("--layout goes with --split: it says how a data set's splits lie")
    if arguments.workers and arguments.workers > 1 and "WORLD_SIZE" in os.environ:
        raise ValueError("--workers starts processes of its own; under torchrun these are there already")
    if arguments.ray and "WORLD_SIZE" in os.environ:
        raise ValueError("--ray starts processes of its own; under torchrun these are there already")

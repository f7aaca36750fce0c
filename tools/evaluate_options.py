"""The options of evaluate_gan.py, and what can be said of them before a file is opened."""

import argparse
import importlib.util
import os
from pathlib import Path

from dpsims.hardware import PRECISIONS
from dpsims.labels import label_space_names
from dpsims.layouts import LAYOUTS
from dpsims.metrics.lpips import LPIPS_NETS

PACKAGED = "tf_efficientnet_lite0"  # its weights come with the install
SEGMENTER_SEEDS, SYNTHETIC_SAMPLES = 3, 8

EXAMPLE = """
example: two runs of train_gan.py on CamVid's validation label maps, with the features that FID is named after

  python tools/evaluate_gan.py --generator runs/gan-camvid runs/gan-camvid-2 --features inception --out runs/eval

with a segmenter that looks for the label maps in the images, and with segmenters trained on nothing but the images

  … --segmenter configs/segmenters/segformer_b0_camvid_real.py SEGMENTER.pth --train-on-synthetic 600

This writes runs/eval/report.json and runs/eval/report.html, which is one file to look at. The same command gives the
same numbers, and goes on where a training was stopped. FID depends on the number of images: compare only what was
measured on the same label maps and photos.
"""
# Options that mean nothing without another one.
NEEDS = {
    "lpips_weights": "lpips",
    "segmenter_options": "segmenter",
    "allow_missing": "segmenter",
    "segmenter_seeds": "train_on_synthetic",
    "synthetic_samples": "train_on_synthetic",
    "train_split": "train_on_synthetic",
    "test_split": "train_on_synthetic",
}
EXTRAS = {"report": ("jinja2", "matplotlib"), "seg": ("mmengine", "mmcv", "mmseg")}
LEAST = {"batch_size": 1, "max_maps": 1, "samples": 1, "diversity_samples": 2, "workers": 0}
LEAST |= {"train_on_synthetic": 2, "segmenter_seeds": 1, "synthetic_samples": 1}


def parse_arguments(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    generator_help = "run folders of train_gan.py, or generator.safetensors files"
    add("--generator", type=Path, required=True, nargs="+", metavar="RUN", help=generator_help)
    add("--data", help="folder of the labelled images (default: what the run was trained on)")
    add("--layout", choices=LAYOUTS, help="how its folders and files are named (default: the run's)")
    spaces_help = "its classes (default: the run's; without one, those of the folder's meta.json)"
    add("--label-space", choices=label_space_names(), help=spaces_help)
    add("--out", type=Path, required=True, help="folder of report.json and report.html")
    add("--split", help="whose label maps are painted (default: the run's val_split, or val)")
    add("--reference-split", help="whose photos they are compared with (default: that of --split)")
    add("--max-maps", type=int, help="use only so many label maps, at equal distances (default: all)")
    add("--samples", type=int, default=1, help="images per label map that are compared with photos (default: 1)")
    add("--diversity-samples", type=int, default=4, help="images per label map compared with each other (default: 4)")
    features_help = "network whose features are compared: inception, swav, or any of timm; may be repeated "
    features_help += f"(default: inception if its weights are at hand, else {PACKAGED})"
    add("--features", action="append", metavar="NAME", help=features_help)
    weights_help = "local weights of one of --features; may be repeated"
    add("--features-weights", action="append", default=[], metavar="NAME=FILE", help=weights_help)
    lpips_help = "network of LPIPS (default: alex if its weights are at hand, else none)"
    add("--lpips", choices=(*LPIPS_NETS, "none"), help=lpips_help)
    add("--lpips-weights", metavar="FILE", help="torchvision's weights of that network as a local file")
    add("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="images at once (default: %(default)s)")
    add("--workers", type=int, default=min(4, os.cpu_count()), help="processes that read images (default: %(default)s)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    precision_help = "of the generator (default: auto, bf16 where the hardware is fast at it)"
    add("--precision", choices=PRECISIONS, default="auto", help=precision_help)

    title = "a segmenter looks for the label maps in the images, and in real photos"
    add = parser.add_argument_group(title).add_argument
    segmenter_help = "config of mmseg, a file or mmseg::PATH, and its trained weights"
    add("--segmenter", nargs=2, metavar=("CONFIG", "CHECKPOINT"), help=segmenter_help)
    options_help = "other settings of that config, such as 'test_dataloader.dataset.pipeline.1.scale=(512,256)'"
    add("--segmenter-options", nargs="+", default=[], metavar="KEY=VALUE", help=options_help)
    add("--allow-missing", action="store_true", help="leave out the classes that it lacks; they are an error otherwise")

    title = "segmenters are trained on a generator's images alone and tested on real photos, in the generic layout"
    add = parser.add_argument_group(title).add_argument
    train_help = "of each training; for every generator, and once on real photos"
    add("--train-on-synthetic", type=int, metavar="ITERATIONS", help=train_help)
    add("--segmenter-seeds", type=int, metavar="N", help=f"trainings of each (default: {SEGMENTER_SEEDS})")
    samples_help = f"images per label map of the training split (default: {SYNTHETIC_SAMPLES})"
    add("--synthetic-samples", type=int, metavar="K", help=samples_help)
    add("--train-split", help="whose label maps, and photos, are trained on (default: the run's train_split, or train)")
    add("--test-split", help="whose photos are tested on (default: test)")
    return parser.parse_args()


def check_options(arguments: argparse.Namespace) -> None:
    """See that the options make sense, and that the packages which they need are there.

    Raises:
        ValueError: naming the option.
    """
    for option, least in LEAST.items():
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise ValueError(f"{flag(option)} is at least {least}, not {value}")
    check_extra("the page", "report")
    from augment.report.gan import COLOURS  # whose packages --help does without

    if len(arguments.generator) > len(COLOURS):
        raise ValueError(f"--generator takes {len(COLOURS)} at most, not {len(arguments.generator)}")
    for option, needed in NEEDS.items():
        if getattr(arguments, option) and getattr(arguments, needed) in (None, "none"):
            raise ValueError(f"{flag(option)} means nothing without {flag(needed)}")
    for option in ("segmenter", "train_on_synthetic"):
        if getattr(arguments, option):
            check_extra(flag(option), "seg")
    place = next(path for path in (arguments.out, *arguments.out.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise ValueError(f"--out {arguments.out}: {place} is no folder that can be written to")


def check_extra(what: str, extra: str) -> None:
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{what} needs {', '.join(missing)}: pip install -c constraints.txt -e '.[{extra}]'")


def flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"

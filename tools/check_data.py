"""Audit a data set before any GPU time is spent on it: faults, class shares, memory and time of the training."""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from endings import plain_ending
from gan_options import read_options
from PIL import Image
from torch import Tensor

from dpsims.audit import Auditor
from dpsims.audit_result import ERROR, SplitAudit
from dpsims.audit_text import describe_audit, describe_work
from dpsims.build import build_dataset
from dpsims.config import TrainConfig
from dpsims.data import read_image
from dpsims.estimate import (
    count_work,
    device_memory,
    images_at_once,
    images_that_fit,
    measure_rates,
    one_at_a_time,
)
from dpsims.labels import LabelSpace, find_label_space, read_label_map
from dpsims.layouts import find_layout, has_split
from dpsims.sample import replace, to_uint8
from dpsims.sampling import StreamSampler, balanced_weights
from dpsims.sheets import Tile, choose_examples, color_offsets, draw_sheet, overlay

EXAMPLE = """
The words are those of train_gan.py. example: CamVid, as it would be trained on

  python tools/check_data.py data=camvid data.root=DIR --preview

This writes runs/check-camvid/audit.json, contact_sheet.png and preview.png. The exit status is 0 where no error was
found, 1 where there are errors in any split (in a test split too, which training never reads), and 2 where the audit
could not begin.
"""
SHEET_IMAGES, PREVIEW_ITEMS = 12, 12


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("options", nargs="*", metavar="OPTION=VALUE", help="of train_gan.py, such as data=camvid data.root=DIR")
    add("--out", type=Path, help="folder of the results (default: runs/check-NAME, by data.name)")
    add("--preview", action="store_true", help="also draw the first items of training as the nets will see them")
    add("--threads", type=int, default=os.cpu_count(), help="that read files (default: one per core, %(default)s)")
    return parser.parse_intermixed_args()


def run(arguments: argparse.Namespace) -> bool:
    """Whether the data set passed."""
    if arguments.threads < 1:
        raise ValueError(f"--threads is at least 1, not {arguments.threads}")
    config = read_options(arguments.options)
    data, root = config.data, Path(config.data.root)
    if not root.is_dir():
        raise ValueError(f"data.root: no such folder: {root}")
    layout, space = find_layout(data.layout), find_label_space(data.label_space, root)
    out = arguments.out or Path("runs") / f"check-{data.name}"
    out.mkdir(parents=True, exist_ok=True)

    print("counting the work of a step …", file=sys.stderr, flush=True)
    estimate, text = estimate_training(config, space)
    splits = list(dict.fromkeys([data.train_split, data.val_split or data.train_split]))
    reads = len(splits)
    if layout.test not in (None, *splits) and has_split(root, layout.test, data.layout):
        splits.append(layout.test)
    auditor = Auditor(
        root=root,
        layout=data.layout,
        space=space,
        height=data.height,
        width=data.width,
        instances=config.generator.instances,
        threads=arguments.threads,
    )
    audit = auditor.run(splits)

    for name in ("contact_sheet.png", "preview.png"):
        (out / name).unlink(missing_ok=True)  # of an earlier run
    print(describe_audit(audit, space, config.data))
    print(f"\n{text}")
    results = {"config": dataclasses.asdict(config), **audit.to_dict(space), "estimate": estimate}
    part = out / "audit.part.json"
    part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    replace(part, out / "audit.json")
    print(f"\nall figures: {out / 'audit.json'}")
    if audit.splits[0].keys:
        save(contact_sheet(config, audit.splits[0], space), out / "contact_sheet.png")
        print(f"look at it:  {out / 'contact_sheet.png'}")
    if arguments.preview and audit.passed:
        save(preview(config, audit.splits[0], space), out / "preview.png")
        print(f"what the nets will see: {out / 'preview.png'}")
    elif arguments.preview:
        print("no preview: there are errors")
    if not audit.passed:
        faulty = ", ".join(dict.fromkeys(problem.split for problem in audit.of_severity(ERROR)))
        print(f"exit status 1: errors in {faulty} (training reads {' and '.join(splits[:reads])})")
    return audit.passed


def estimate_training(config: TrainConfig, space: LabelSpace) -> tuple[dict | None, str]:
    """What the training takes, as figures and as text."""
    try:
        work, rates, memory = count_work(config, space), measure_rates(config), device_memory(config)
        fitting = images_at_once(config)
        if work.peak_bytes > memory:
            fitting = images_that_fit(config, work, count_work(one_at_a_time(config), space), memory)
    except RuntimeError as error:  # a step that depends on what its tensors hold cannot be gone through without
        return None, f"no estimate of memory and time: {error}"
    figures = {**dataclasses.asdict(work), **dataclasses.asdict(rates), "seconds_per_step": rates.seconds(work)}
    return figures, describe_work(work, rates, config, memory, fitting)


def contact_sheet(config: TrainConfig, split: SplitAudit, space: LabelSpace) -> Image.Image:
    """Images and their label maps, those of rare classes among them."""
    rarest = np.lexsort((split.class_share, split.presence.sum(axis=0))).tolist()  # by images, then by pixels
    chosen = choose_examples(rarest, split.best.tolist(), len(split.keys), SHEET_IMAGES)
    tiles = []
    for index, rare in chosen:
        key = split.keys[index]
        image, label_map = np.array(read_image(split.images[key])), read_label_map(split.labels[key], space)
        tiles.append(
            Tile(
                f"{key}: most {space.classes[rare]}" if rare is not None else key,
                [image, overlay(image, label_map, space)],
            )
        )
    title = f"{config.data.name}: {len(tiles)} of {len(split.keys)} images of {split.name}"
    return draw_sheet(title, tiles, legend_of(split, space, split.presence[[index for index, _ in chosen]].any(axis=0)))


def preview(config: TrainConfig, split: SplitAudit, space: LabelSpace) -> Image.Image:
    data = config.data
    tiles, shown = [], np.zeros(space.num_classes, bool)
    for caption, item in training_items(config, split):
        label_map = item["label_map"].numpy().astype(np.uint8)
        shown[label_map[label_map < space.num_classes]] = True
        pictures = [space.colorize(label_map), to_uint8(item["real"].unsqueeze(0))[0].numpy()]
        if "offsets" in item:
            pictures.append(color_offsets(item["offsets"].numpy()))
        tiles.append(Tile(caption, pictures))
    what = "label map, image" + (", offsets to instance centres" if config.generator.instances else "")
    sampling = "balanced" if data.balanced else "uniform"
    title = f"{data.name}: the first items of training at {data.height}x{data.width}, {sampling} sampling: {what}"
    return draw_sheet(title, tiles, legend_of(split, space, shown))


def training_items(config: TrainConfig, split: SplitAudit) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Captions and the first items of the training stream: sampled, resized, cropped and flipped as in training."""
    dataset = build_dataset(config, split.name, augment=True)
    weights = balanced_weights(split.presence) if config.data.balanced else None
    sampler = StreamSampler(len(dataset), weights=weights, seed=config.seed, start=0)
    for index, position in islice(sampler, PREVIEW_ITEMS):
        yield f"{position}: {dataset.pairs[index].key}", dataset[index, position]


def legend_of(split: SplitAudit, space: LabelSpace, shown: np.ndarray) -> list[tuple[tuple[int, int, int], str]]:
    """The classes that are shown, with their shares in the split."""
    images = split.presence.sum(axis=0)
    names = [
        (space.palette[label], f"{space.classes[label]}  {split.class_share[label]:.2%} in {images[label]} images")
        for label in np.flatnonzero(shown)
    ]
    return [*names, ((0, 0, 0), f"ignored  {split.ignored:.2%}")]


def save(picture: Image.Image, file: Path) -> None:
    part = file.with_suffix(".part.png")
    picture.save(part)
    replace(part, file)


def main() -> None:
    arguments = parse_arguments()
    with plain_ending():
        sys.exit(0 if run(arguments) else 1)


if __name__ == "__main__":
    main()

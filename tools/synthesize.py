"""Make shards of (image, label map) pairs from label maps with a trained generator. The same command resumes."""

import argparse
import dataclasses
import io
import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from augment.record import HELD_OUT, find_label_maps
from augment.shards import OK, committed_shards, first_failure, read_member, read_rows, read_stats
from augment.synthesize import IMAGE_FORMATS, Settings, synthesize
from dpsims.grid import save_grid
from dpsims.hardware import PRECISIONS, pick_device, use_bf16
from dpsims.labels import LabelSpace, label_space_names, read_label_map
from dpsims.reading import OWN, check_train_ids, find_reading
from dpsims.sample import load_generator

EXAMPLE = """
example: eight images for each training label map of CamVid, by the generator that train_gan.py left in runs/camvid

  python tools/synthesize.py --generator runs/camvid --labels data/camvid/train --samples 8 --out shards/camvid

for the annotations of an official data set as they are; their ids are read as they were in the training

  python tools/synthesize.py --generator runs/ade20k --labels ADEChallengeData2016/annotations/training --out shards/ade

The first writes shards/camvid/00000.tar, 00001.tar, …, and shards/camvid/samples.png to look at. A run that was
stopped goes on with the same command; --batch-size and --threads may change.
"""
# A photo at quality 95, and what its label map, metadata and tar headers take; for the estimate alone.
BYTES_PER_PIXEL, BYTES_PER_SAMPLE = {"jpg": 0.6, "webp": 0.4, "png": 1.9}, 4500
SHEET_MAPS, SHEET_SAMPLES = 6, 5


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--generator", type=Path, required=True, help="run folder of train_gan.py, or a generator.safetensors")
    labels_help = "folder of label PNGs, such as ADE20K's annotations/training or Cityscapes' gtFine/train, or a split "
    labels_help += "folder such as ROOT/train"
    add("--labels", type=Path, required=True, help=labels_help)
    spaces = ", ".join(label_space_names())
    space_help = (
        f"how the ids in these files are read: {spaces}, a file such as meta.json, or {OWN} (0 to C-1 and 255, "
    )
    space_help += "as in shards); default: the meta.json in or above --labels, else the label space that the generator "
    space_help += "was trained with, by its run's config.yaml"
    add("--label-space", metavar="NAME|FILE", help=space_help)
    add("--out", type=Path, required=True, help="folder of the shards")
    add("--samples", type=int, default=8, help="images per label map (default: %(default)s)")
    add("--max-maps", type=int, help="use only the first so many label maps, by name (default: all)")
    allow_help = "use the label maps of a held-out split"
    add("--allow-split", choices=HELD_OUT, action="append", default=[], help=allow_help)
    add("--seed", type=int, default=0, help="other seed, other images (default: %(default)s)")
    add("--shard-size", type=int, default=512, help="images per shard, at most (default: %(default)s)")
    add("--format", choices=IMAGE_FORMATS, default="jpg", help="of the images (default: %(default)s)")
    add("--quality", type=int, help="of jpg or webp, 1 to 100 (default: 95)")
    add("--batch-size", type=int, default=8, help="images made at once (default: %(default)s)")
    add("--threads", type=int, default=os.cpu_count(), help="that read and encode (default: one per core, %(default)s)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, … (default: cuda where there is one)")
    precision_help = "of the generator (default: auto, bf16 where the hardware is fast at it)"
    add("--precision", choices=PRECISIONS, default="auto", help=precision_help)
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    device = pick_device(arguments.device)
    label_files = find_label_maps(arguments.labels, arguments.allow_split)
    if arguments.max_maps is not None:
        if arguments.max_maps < 1:
            raise ValueError(f"--max-maps is at least 1, not {arguments.max_maps}")
        label_files = label_files[: arguments.max_maps]
    settings = read_settings(arguments, device)
    snapshot = load_generator(arguments.generator, device)
    reading = find_reading(arguments.label_space, arguments.labels, arguments.generator, snapshot.space)
    check_train_ids(reading, [label_file.file for label_file in label_files])
    settings = dataclasses.replace(settings, raw_to_id=reading.space.raw_to_id)

    images = len(label_files) * settings.samples_per_map
    shards = -(-len(label_files) // settings.maps_per_shard)
    pixels = snapshot.height * snapshot.width
    gigabytes = images * (pixels * BYTES_PER_PIXEL[settings.image_format] + BYTES_PER_SAMPLE) / 1e9
    splits = ", ".join(sorted({label_file.split or "no split" for label_file in label_files}))
    print(f"plan: {len(label_files)} label maps ({splits}) × {settings.samples_per_map} samples = {images} images")
    print(f"      label space of their files: {reading.name} ({reading.reason})")
    print(f"      of height {snapshot.height} and width {snapshot.width} in {shards} shards, about {gigabytes:.2g} GB")
    precision = "bf16" if settings.bf16 else "fp32"
    print(f"      generator {snapshot.sha256[:12]} of {snapshot.images_seen} images seen, on {device} in {precision}")
    skipped = sum(read_stats(arguments.out, shard)["by_status"].get(OK, 0) for shard in committed_shards(arguments.out))

    totals = synthesize(
        snapshot,
        label_files,
        arguments.out,
        settings,
        device=device,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        progress=True,
    )

    sheet = arguments.out / "samples.png"
    save_grid(sheet, contact_sheet(arguments.out, snapshot.space))
    made, size = totals["by_status"][OK] - skipped, totals["bytes"] / 1e9
    print(f"made: {made} images; there already: {skipped}; {size:.2g} GB in {totals['shards']} shards")
    for status, count in totals["by_status"].items():
        if status != OK:
            print(f"failed, {status}: {count} (their rows in {arguments.out}/*.jsonl say why)")
    failure = first_failure(arguments.out)
    if failure:
        print(f"  the first, {failure['source_key']}: {failure['error']}")
    print(f"look at them: {sheet}")
    last = f"{totals['shards'] - 1:05d}"
    print(f'read them:    webdataset.WebDataset("{arguments.out}/{{00000..{last}}}.tar", shardshuffle=False)')


def read_settings(arguments: argparse.Namespace, device: torch.device) -> Settings:
    """The options that decide the bytes, as the factory takes them."""
    if arguments.samples < 1 or arguments.shard_size < arguments.samples:
        raise ValueError(
            f"--samples {arguments.samples} is at least 1 and at most --shard-size {arguments.shard_size}: "
            "all samples of a label map share a shard"
        )
    return Settings(
        samples_per_map=arguments.samples,
        maps_per_shard=arguments.shard_size // arguments.samples,
        seed=arguments.seed,
        image_format=arguments.format,
        quality=95 if arguments.quality is None and arguments.format != "png" else arguments.quality,
        bf16=use_bf16(device, arguments.precision),
    )


def contact_sheet(folder: Path, space: LabelSpace) -> list[list[np.ndarray]]:
    """Some label maps from all over the shards, each coloured and followed by some of its samples."""
    shards = [shard for shard in committed_shards(folder) if read_stats(folder, shard)["by_status"].get(OK)]
    maps_per_shard = -(-SHEET_MAPS // len(shards))
    grid = []
    for shard in spread(shards, SHEET_MAPS):
        by_map: dict[str, list[dict]] = {}
        for row in read_rows(folder, shard):
            if row["status"] == OK:
                by_map.setdefault(row["source_key"], []).append(row)
        for rows in spread(list(by_map.values()), maps_per_shard):
            label_map = read_label_map(read_member(folder, rows[0], "seg.png"), space, source=rows[0]["key"])
            grid.append([space.colorize(label_map), *(read_image(folder, row) for row in rows[:SHEET_SAMPLES])])
    grid = grid[:SHEET_MAPS]
    columns = min(len(cells) for cells in grid)
    return [cells[:columns] for cells in grid]


def spread(items: list, count: int) -> list:
    """`count` of the items at equal distances, or all of them."""
    return [items[i * len(items) // count] for i in range(count)] if len(items) > count else items


def read_image(folder: Path, row: dict) -> np.ndarray:
    extension = next(name for name in row["members"] if name in IMAGE_FORMATS)
    with Image.open(io.BytesIO(read_member(folder, row, extension))) as image:
        return np.array(image.convert("RGB"))


def main() -> None:
    arguments = parse_arguments()
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped; finished shards stay, and the same command goes on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

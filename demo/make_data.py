"""Make the demo's data set: street scenes with label maps and instances, in the generic layout."""

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the demo is no installed package

from demo.classes import CLASSES, IGNORE_INDEX, PALETTE, THINGS
from demo.streets import Scene, draw_scene
from dpsims.labels import LabelSpace, encode_label_png

JPEG_QUALITY = 90
SPLITS = ("train", "val", "test")
EXAMPLE = """example: the data set of `make demo`, 230 pictures of 96x128 in about 20 seconds

  python demo/make_data.py --out runs/demo/data --train 120 --val 30 --test 80 --height 96 --width 128 --seed 0

writes
  runs/demo/data/{train,val,test}/images/NAME.jpg       photographs
  runs/demo/data/{train,val,test}/labels/NAME.png       label maps, 8 bit: 0 to 7, 255 = unsure
  runs/demo/data/{train,val,test}/instances/NAME.png    16 bit: 0, or the number of the tree, car, person or sign
  runs/demo/data/meta.json                              classes, palette, settings, share of each class

Picture i of a split depends on the seed, the split and i alone: a larger data set begins with the smaller one.
"""


@dataclass(frozen=True)
class Settings:
    """What decides every byte of the data set: pictures per split, their size in pixels, and the seed."""

    train: int
    val: int
    test: int
    height: int
    width: int
    seed: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = {"seed": 0, "height": 32, "width": 32}.get(name, 1)
            if value < least:
                raise ValueError(f"--{name} must be at least {least}, not {value}")


def is_finished(out: Path, settings: Settings) -> bool:
    """Whether `out` already holds this data set; anything else in it is an error."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    meta_file = out / "meta.json"
    made_with = json.loads(meta_file.read_text()).get("made_with") if meta_file.is_file() else None
    if made_with is None:
        raise ValueError(f"--out {out} exists and was not made by this command; name another folder")
    wanted = asdict(settings)
    if made_with != wanted:
        names = sorted(name for name in wanted.keys() | made_with.keys() if made_with.get(name) != wanted.get(name))
        differences = ", ".join(f"--{name} {made_with.get(name)} there, {wanted.get(name)} here" for name in names)
        raise ValueError(f"--out {out} holds a data set made with other settings: {differences}; name another folder")
    return True


def write_scene(folder: Path, name: str, scene: Scene) -> None:
    """Three files of one picture into the folder of its split."""
    Image.fromarray(scene.image).save(folder / "images" / f"{name}.jpg", quality=JPEG_QUALITY)
    (folder / "labels" / f"{name}.png").write_bytes(encode_label_png(scene.label_map))
    Image.fromarray(scene.instances).save(folder / "instances" / f"{name}.png")


def make_split(root: Path, split: str, settings: Settings, progress: tqdm) -> dict:
    """Draw and write one split; returns its count and how common each class is."""
    for kind in ("images", "labels", "instances"):
        (root / split / kind).mkdir(parents=True)
    count = getattr(settings, split)
    pixels, containing = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for index in range(count):
        rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
        scene = draw_scene(rng, settings.height, settings.width)
        write_scene(root / split, f"{split}_{index:05d}", scene)
        in_scene = np.bincount(scene.label_map.ravel(), minlength=256)
        pixels += in_scene
        containing += in_scene > 0
        progress.update()
    named = [*enumerate(CLASSES), (IGNORE_INDEX, "void")]
    return {
        "count": count,
        "pixel_share": {name: round(float(pixels[label] / pixels.sum()), 6) for label, name in named},
        "images_containing": {name: int(containing[label]) for label, name in named},
    }


def make_data_set(out: Path, settings: Settings) -> dict:
    """Make the data set beside `out` and rename it when it is whole; returns what `meta.json` says."""
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped
    unfinished.mkdir(parents=True)
    total = settings.train + settings.val + settings.test
    with tqdm(total=total, desc="street scenes", unit="img", mininterval=1) as progress:
        splits = {split: make_split(unfinished, split, settings, progress) for split in SPLITS}
    meta = {
        "name": "streets",
        **LabelSpace(CLASSES, PALETTE, things=THINGS).to_meta(),
        "image_size_wh": [settings.width, settings.height],
        "made_with": asdict(settings),
        "splits": splits,
    }
    (unfinished / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    os.replace(unfinished, out)
    return meta


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to make; its parents are made too"
    )
    for split, count in zip(SPLITS, (120, 30, 80), strict=True):
        parser.add_argument(
            f"--{split}", type=int, default=count, metavar="N", help=f"pictures in {split}/ (default {count})"
        )
    parser.add_argument("--height", type=int, default=96, metavar="PX", help="of a picture (default 96)")
    parser.add_argument("--width", type=int, default=128, metavar="PX", help="of a picture (default 128)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="other seeds give other streets (default 0)")
    options = vars(parser.parse_args(arguments))
    out = options.pop("out").resolve()
    try:
        settings = Settings(**options)
        if is_finished(out, settings):
            print(f"{out} is complete; nothing to do")
            return
        meta = make_data_set(out, settings)
    except ValueError as error:
        parser.error(str(error))
    for split, facts in meta["splits"].items():
        shares = "  ".join(f"{name} {100 * share:.1f}" for name, share in facts["pixel_share"].items())
        print(f"{split}: {facts['count']} pictures; % of pixels: {shares}")
    print(f"data set written to {out}")


if __name__ == "__main__":
    main()

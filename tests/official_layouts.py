"""Small data sets in the exact on-disk form of the official ones: the same scenes, numbered and filed as each does it.

A scene has sky over road and two cars; `CARS` of image i are in `cars(i)`. The first image of a split is stored grey
and the second, where the format is JPEG, as CMYK, as some of the real ones are.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH, HORIZON = 64, 96, 30
COUNTS = {"train": 4, "val": 2}
VOID, SKY, ROAD, CAR = range(4)  # of a scene
COLOURS = np.array([[0, 0, 0], [120, 170, 230], [90, 90, 95], [200, 40, 40]])
# How each data set numbers void, sky, road and car in its files.
ADE20K, CITYSCAPES, COCO = (0, 3, 7, 21), (4, 23, 7, 26), (255, 156, 148, 2)


def cars(number: int) -> list[tuple[int, int, int, int]]:
    """(top, left, bottom, right) of both cars of an image; they do not overlap."""
    return [(36 + number, 8 + 3 * number, 48 + number, 30 + 3 * number), (40, 60 - number, 56, 80 - number)]


def scene(number: int) -> np.ndarray:
    """(64, 96) ids of this file's own."""
    label_map = np.full((HEIGHT, WIDTH), ROAD, np.uint8)
    label_map[:HORIZON] = SKY
    label_map[-3:] = VOID
    for top, left, bottom, right in cars(number):
        label_map[top:bottom, left:right] = CAR
    return label_map


def instances(number: int) -> np.ndarray:
    """(64, 96) with 1 and 2 for the cars, 0 elsewhere."""
    ids = np.zeros((HEIGHT, WIDTH), np.int32)
    for index, (top, left, bottom, right) in enumerate(cars(number), start=1):
        ids[top:bottom, left:right] = index
    return ids


def photo(seed: int, number: int) -> Image.Image:
    noise = np.random.default_rng((seed, number)).normal(0, 12, (HEIGHT, WIDTH, 3))
    return Image.fromarray((COLOURS[scene(number)] + noise).clip(0, 255).astype(np.uint8))


def save(picture: Image.Image | np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(file)


def make_ade20k(root: Path) -> Path:
    """ADEChallengeData2016 with annotations_instance."""
    for seed, (split, short) in enumerate({"training": "train", "validation": "val"}.items()):
        for number in range(COUNTS[short]):
            name = f"ADE_{short}_{number + 1:08d}"
            image = photo(seed, number).convert(("L", "CMYK", "RGB")[min(number, 2)])
            save(image, root / "images" / split / f"{name}.jpg")
            save(np.array(ADE20K, np.uint8)[scene(number)], root / "annotations" / split / f"{name}.png")
            ids = instances(number)
            red_green_blue = np.stack([np.where(ids, 6, 0), ids, 0 * ids], axis=-1).astype(np.uint8)
            save(red_green_blue, root / "annotations_instance" / split / f"{name}.png")
    (root / "objectInfo150.txt").write_text("Idx\tRatio\n")
    return root


def make_cityscapes(root: Path) -> Path:
    """leftImg8bit and gtFine, two cities a split, with what else lies in gtFine."""
    for seed, split in enumerate(COUNTS):
        for number in range(COUNTS[split]):
            city = (("aachen", "bochum"), ("frankfurt", "munster"))[seed][2 * number // COUNTS[split]]
            name = f"{city}_{number:06d}_000019"
            image = photo(seed, number).convert("L" if number == 0 else "RGB")
            save(image, root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
            labels = np.array(CITYSCAPES, np.uint8)[scene(number)]
            truth = root / "gtFine" / split / city
            save(labels, truth / f"{name}_gtFine_labelIds.png")
            save(COLOURS[scene(number)].astype(np.uint8), truth / f"{name}_gtFine_color.png")
            (truth / f"{name}_gtFine_polygons.json").write_text("{}")
            ids = instances(number)
            save(
                np.where(ids, 1000 * labels.astype(int) + ids - 1, labels).astype(np.uint16),
                truth / f"{name}_gtFine_instanceIds.png",
            )
    return root


def make_coco_stuff(
    root: Path, *, images: str = "images/", labels: str = "stuffthingmaps/", instances_from: str = "panoptic"
) -> Path:
    """COCO 2017 with its stuff and thing maps.

    Args:
        images, labels: folders before train2017 and val2017.
        instances_from: "panoptic" annotations, "objects" as polygons and run lengths, or "both".
    """
    for seed, short in enumerate(COUNTS):
        split = f"{short}2017"
        names = [f"{1000 * seed + number:012d}" for number in range(COUNTS[short])]
        for number, name in enumerate(names):
            image = photo(seed, number).convert(("L", "CMYK", "RGB")[min(number, 2)])
            save(image, root / f"{images}{split}" / f"{name}.jpg")
            save(np.array(COCO, np.uint8)[scene(number)], root / f"{labels}{split}" / f"{name}.png")
        (root / "annotations").mkdir(exist_ok=True)
        if instances_from in ("panoptic", "both"):
            _write_panoptic(root / "annotations", split, names)
        if instances_from in ("objects", "both"):
            file = root / "annotations" / f"instances_{split}.json"
            file.write_text(json.dumps(_coco_objects(names)))
    return root


def _write_panoptic(folder: Path, split: str, names: list[str]) -> None:
    """Ids that need all three bytes; the last image has its second car marked as a crowd."""
    rows = []
    for number, name in enumerate(names):
        segment = np.array([0, 70_000, 500])[np.where(scene(number) == CAR, 0, scene(number))]
        segment = np.where(instances(number), 5_000_000 + instances(number), segment)
        save(
            np.stack([segment >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8),
            folder / f"panoptic_{split}" / f"{name}.png",
        )
        kinds = {70_000: 187, 500: 149, 5_000_001: 3, 5_000_002: 3}
        crowds = {5_000_002} if name == names[-1] else set()
        segments = [{"id": id, "category_id": kind, "iscrowd": int(id in crowds)} for id, kind in kinds.items()]
        rows.append({"image_id": int(name), "file_name": f"{name}.png", "segments_info": segments})
    categories = [{"id": 3, "name": "car", "isthing": 1}]
    categories += [{"id": id, "name": name, "isthing": 0} for id, name in ((149, "road"), (187, "sky-other-merged"))]
    (folder / f"panoptic_{split}.json").write_text(json.dumps({"annotations": rows, "categories": categories}))


def _coco_objects(names: list[str]) -> dict:
    """The first car as a polygon; the second as run lengths, in the last image those of a crowd."""
    images, annotations = [], []
    for number, name in enumerate(names):
        images.append({"id": int(name), "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT})
        for index, (top, left, bottom, right) in enumerate(cars(number)):
            outline: dict | list = [[left, top, right, top, right, bottom, left, bottom]]
            if index == 1:
                columns, gap = right - left, HEIGHT - (bottom - top)
                counts = [left * HEIGHT + top, *[bottom - top, gap] * columns]
                counts[-1] = HEIGHT * WIDTH - sum(counts[:-1])
                outline = {"size": [HEIGHT, WIDTH], "counts": counts}
            annotations.append(
                {
                    "image_id": int(name),
                    "category_id": 3,
                    "area": (bottom - top) * (right - left),
                    "iscrowd": int(index == 1 and name == names[-1]),
                    "segmentation": outline,
                }
            )
    return {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "car"}]}

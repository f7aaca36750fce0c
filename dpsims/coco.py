"""Instances of COCO, from its panoptic annotations or from its object annotations (polygons and run lengths)."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dpsims.instances import read_rgb_ids


@dataclass(frozen=True)
class PanopticMaps:
    """RGB PNGs whose three bytes are a segment's id, R + 256 G + 256² B; only `things` of an image are instances."""

    files: Mapping[str, Path]
    things: Mapping[str, Sequence[int]]

    def __contains__(self, key: str) -> bool:
        return key in self.files and key in self.things

    def read(self, key: str, size: tuple[int, int]) -> Image.Image:
        ids = read_rgb_ids(self.files[key], size).astype(np.int32) @ np.array([1, 256, 256**2], np.int32)  # (H, W)
        return Image.fromarray(np.where(np.isin(ids, self.things[key]), ids, 0))


@dataclass(frozen=True)
class ObjectMasks:
    """Instance maps drawn from an image's annotations, which are kept as JSON text: a fraction of the memory."""

    objects: Mapping[str, bytes]
    source: Path

    def __contains__(self, key: str) -> bool:
        return key in self.objects

    def read(self, key: str, size: tuple[int, int]) -> Image.Image:
        from pycocotools import mask  # an extra, and needed here alone

        objects = json.loads(self.objects[key])
        width, height = objects["size"]
        if (width, height) != size:
            raise ValueError(f"{self.source}: {key} is {(width, height)}, its image is {size} (width, height)")
        ids = np.zeros((height, width), np.int32)
        try:
            for number, outline in enumerate(objects["outlines"], start=1):
                if isinstance(outline, list):  # polygons of one object, some of which may have no area
                    polygons = [polygon for polygon in outline if len(polygon) >= 6]
                    if not polygons:
                        continue
                    outline = mask.merge(mask.frPyObjects(polygons, height, width))
                elif isinstance(outline["counts"], list):  # run lengths, not compressed
                    outline = mask.frPyObjects(outline, height, width)
                ids[mask.decode(outline) > 0] = number
        except Exception as error:  # whatever pycocotools raises for a broken outline
            raise ValueError(f"{self.source}: an outline of {key} cannot be drawn ({error!r})") from error
        return Image.fromarray(ids)


def read_panoptic(json_file: Path, files: Mapping[str, Path]) -> PanopticMaps:
    """The panoptic PNGs `files` with what panoptic_SPLIT.json says of their segments. A crowd is no instance."""
    content = _read_json(json_file)
    try:
        is_thing = {category["id"]: bool(category["isthing"]) for category in content["categories"]}
        things = {
            Path(row["file_name"]).stem: [
                segment["id"]
                for segment in row["segments_info"]
                if is_thing[segment["category_id"]] and not segment["iscrowd"]
            ]
            for row in content["annotations"]
        }
    except (KeyError, TypeError) as error:
        raise ValueError(f"{json_file} holds no panoptic annotations: {error!r}") from error
    return PanopticMaps(files, things)


def read_objects(json_file: Path) -> ObjectMasks:
    """What instances_SPLIT.json says, image by image; small objects lie on large ones. A crowd is no instance."""
    if importlib.util.find_spec("pycocotools") is None:
        raise ValueError(f"instances from {json_file} need pycocotools: pip install 'dpsims-augment[coco]'")
    content = _read_json(json_file)
    try:
        by_image: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            if not annotation["iscrowd"]:
                by_image[annotation["image_id"]].append(annotation)
        objects = {}
        for image in content["images"]:
            largest_first = sorted(by_image[image["id"]], key=lambda annotation: -annotation["area"])
            outlines = [annotation["segmentation"] for annotation in largest_first]
            text = json.dumps({"size": [image["width"], image["height"]], "outlines": outlines}, separators=(",", ":"))
            objects[Path(image["file_name"]).stem] = text.encode()
    except (KeyError, TypeError) as error:
        raise ValueError(f"{json_file} holds no object annotations: {error!r}") from error
    return ObjectMasks(objects, json_file)


def _read_json(file: Path) -> dict:
    try:
        return json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None

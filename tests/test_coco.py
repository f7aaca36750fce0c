"""Instances from COCO's object annotations, on images of 8x8 by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpsims.coco import ObjectMasks, read_objects

SQUARE = [[0, 0, 8, 0, 8, 8, 0, 8]]  # all of the image


def objects(folder: Path, *outlines: object) -> ObjectMasks:
    """Of the image "a", the largest one first."""
    annotations = [
        {"image_id": 1, "iscrowd": 0, "area": 100 - number, "segmentation": outline}
        for number, outline in enumerate(outlines)
    ]
    image = {"id": 1, "file_name": "a.jpg", "width": 8, "height": 8}
    (folder / "x.json").write_text(json.dumps({"images": [image], "annotations": annotations}))
    return read_objects(folder / "x.json")


def test_objects_overlap_and_are_compressed(tmp_path):
    """The small object lies on the large one, whichever comes first; compressed run lengths are read as well."""
    from pycocotools import mask

    compressed = mask.encode(np.asfortranarray(np.pad(np.ones((4, 4), np.uint8), ((2, 2), (2, 2)))))
    small = {"size": [8, 8], "counts": compressed["counts"].decode()}
    expected = np.ones((8, 8))
    expected[2:6, 2:6] = 2
    np.testing.assert_array_equal(np.array(objects(tmp_path, SQUARE, small).read("a", (8, 8))), expected)
    content = json.loads((tmp_path / "x.json").read_text())
    content["annotations"].reverse()
    (tmp_path / "x.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(np.array(read_objects(tmp_path / "x.json").read("a", (8, 8))), expected)
    with pytest.raises(ValueError, match=r"x.json: a is \(8, 8\), its image is \(9, 8\)"):
        read_objects(tmp_path / "x.json").read("a", (9, 8))


@pytest.mark.parametrize("nothing", [[], [[]], [[1, 1, 5, 5]], [[1, 1, 5, 5], []]])
def test_outlines_without_an_area_are_no_objects(tmp_path, nothing):
    """pycocotools would take four numbers for a box."""
    assert not np.array(objects(tmp_path, nothing).read("a", (8, 8))).any()
    assert np.array(objects(tmp_path, nothing, nothing + SQUARE).read("a", (8, 8))).all()


@pytest.mark.parametrize("broken", [5, {"counts": [64]}, {"size": [4, 4], "counts": [0, 16]}, [["x"] * 6]])
def test_a_broken_outline_is_named_with_its_image(tmp_path, broken):
    with pytest.raises(ValueError, match="x.json: an outline of a cannot be drawn"):
        objects(tmp_path, broken).read("a", (8, 8))

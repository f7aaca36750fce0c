import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpsims.labels import (
    LabelMapError,
    LabelSpace,
    default_palette,
    encode_label_png,
    find_label_space,
    load_label_space,
    onehot,
    read_label_map,
)

SPACE = LabelSpace(("a", "b"), ((255, 0, 0), (0, 255, 0)))


def png(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_png_round_trip_is_byte_equal():
    label_map = np.array([[0, 1], [255, 1]], np.uint8)
    data = encode_label_png(label_map)
    assert Image.open(io.BytesIO(data)).mode == "L"
    np.testing.assert_array_equal(read_label_map(data, SPACE, "x"), label_map)
    assert encode_label_png(label_map.copy()) == data


def test_palette_png_is_read_as_ids():
    image = Image.fromarray(np.array([[1, 0]], np.uint8), mode="P")
    image.putpalette([9, 9, 9, 8, 8, 8])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    np.testing.assert_array_equal(read_label_map(buffer.getvalue(), SPACE, "x"), [[1, 0]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2, 3), np.uint8), "not 'RGB': photo.png"),
        (np.zeros((2, 2), np.uint16), "not 'I;16': photo.png"),
        (np.full((2, 2), 7, np.uint8), r"ids \[7\] outside the 2 classes .*: photo.png"),
    ],
)
def test_a_wrong_label_map_is_named(array, message):
    with pytest.raises(ValueError, match=message):
        read_label_map(png(array), SPACE, "photo.png")


def packed_png(bits: int, colour_type: int) -> bytes:
    """Two pixels, 1 and 0, of a few bits each; colour type 0 is grey, 3 is indices into a palette."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 2, 1, bits, colour_type, 0, 0, 0)}
    if colour_type == 3:
        chunks[b"PLTE"] = bytes(6)
    chunks |= {b"IDAT": zlib.compress(bytes([0, 1 << 8 - bits])), b"IEND": b""}
    parts = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_greys_of_few_bits_are_refused_and_indices_of_few_bits_are_ids(bits):
    """Pillow reads grey 1 of 4 bits as 17, of 2 bits as 85."""
    np.testing.assert_array_equal(read_label_map(packed_png(bits, 3), SPACE, "x"), [[1, 0]])
    with pytest.raises(LabelMapError, match="(8 bits a pixel, not [24]|mode L or P, not '1'): photo.png") as error:
        read_label_map(packed_png(bits, 0), SPACE, "photo.png")
    assert error.value.kind == "mode"


def test_a_file_that_is_no_image_is_named():
    with pytest.raises(ValueError, match=r"cannot be read .*: photo.png"):
        read_label_map(b"not a png", SPACE, "photo.png")


def test_raw_ids_are_mapped_and_unknown_ones_refused():
    space = LabelSpace(("a", "b"), SPACE.palette, {0: 255, 1: 0, 2: 1})
    np.testing.assert_array_equal(space.from_raw(np.array([[0, 1, 2]], np.uint8), "x"), [[255, 0, 1]])
    with pytest.raises(ValueError, match=r"\[255\]"):
        space.from_raw(np.array([[255]], np.uint8), "x")


def test_another_ignore_index_becomes_255():
    space = LabelSpace.from_meta({"classes": ["a", "b"], "ignore_index": 11})
    np.testing.assert_array_equal(space.from_raw(np.array([[0, 11]], np.uint8), "x"), [[0, 255]])
    assert space.to_meta()["ignore_index"] == 255


def test_meta_round_trip_and_faults():
    assert LabelSpace.from_meta(SPACE.to_meta()) == SPACE
    with pytest.raises(ValueError, match=r"ignore_index 1 is also the id of class 'b'"):
        LabelSpace.from_meta({"classes": ["a", "b"], "ignore_index": 1})
    with pytest.raises(ValueError, match="3 colours for 2 classes"):
        LabelSpace(("a", "b"), ((0, 0, 0),) * 3)
    with pytest.raises(ValueError, match=r"repeated: \['a'\]"):
        LabelSpace(("a", "a"), SPACE.palette)
    with pytest.raises(ValueError, match="1 to 255 classes, not 256"):
        LabelSpace(tuple(str(i) for i in range(256)), default_palette(256))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "names no `classes`"),
        ('{"classes": []}', "names no `classes`"),
        ('{"classes": "road"}', "`classes` is a list of names, not 'road'"),
        ('{"classes": ["a", 2]}', "`classes` is a list of names, not"),
        ('{"classes": ["a", "b"], "palette": 5}', "`palette` is a list of .*, not 5"),
        ('{"classes": ["a", "b"], "palette": [[1, 2], [3, 4]]}', "`palette` is a list of"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 256], [3, 4, 5]]}', "`palette` is a list of"),
        ('{"classes": ["a", "b"], "palette": [[1, 2, 3]]}', "palette has 1 colours for 2 classes"),
        ('{"classes": ["a", "b"], "ignore_index": "255"}', "`ignore_index` is a number of 0 to 255, not '255'"),
        ('{"classes": ["a", "b"], "ignore_index": -1}', "`ignore_index` is a number of 0 to 255, not -1"),
        ('{"classes": ["a", "b"], "raw_to_id": [0, 1]}', "`raw_to_id` is an object of ids"),
        ('{"classes": ["a", "b"], "things": "a"}', "`things` is a list of names of classes, not"),
        ('{"classes": ["a", "b"], "raw_to_id": {"x": 0}}', "`raw_to_id` is an object of ids"),
        ('{"classes": ["a", "b"], "raw_to_id": {"3": "0"}}', "`raw_to_id` is an object of ids"),
        ('{"classes": ["a", "b"], "raw_to_id": {"300": 0}}', "raw ids are 0 to 255, not 300"),
        ('{"classes": ["a", "b"], "raw_to_id": {"3": 2}}', "raw id 3 maps to 2, but there are 2 classes"),
        ('{"classes": ', "is not JSON"),
    ],
)
def test_a_malformed_meta_file_is_named(text, message, tmp_path):
    file = tmp_path / "meta.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^{file}.*{message}"):
        load_label_space(file)


def test_things_are_classes_and_stay_in_meta():
    meta = {"classes": ["road", "car"], "things": ["car"], "ignore_index": 7}
    space = LabelSpace.from_meta(meta)
    assert space.things == ("car",) and space.to_meta()["things"] == ["car"]
    assert LabelSpace.from_meta({"classes": ["road", "car"]}).things is None
    assert "things" not in SPACE.to_meta()
    with pytest.raises(ValueError, match=r"no class is called \['van'\]"):
        LabelSpace.from_meta({**meta, "things": ["van"]})


@pytest.mark.parametrize(
    ("name", "count", "some", "others"),
    [
        ("cityscapes", 8, {"rider", "car"}, {"road", "pole"}),
        ("cityscapes_all", 10, {"caravan", "trailer"}, {"license plate"}),
        ("coco_stuff", 80, {"person", "toothbrush"}, {"banner", "road"}),
        ("ade20k", 100, {"bed ", "flag"}, {"wall", "shower"}),
    ],
)
def test_official_label_spaces_name_their_things(name, count, some, others):
    things = find_label_space(name, Path()).things
    assert len(set(things)) == count and some <= set(things) and not others & set(things)


def test_onehot_of_an_ignored_pixel_is_zero():
    encoded = onehot(torch.tensor([[[0, 1, 255]]]), 2)
    assert encoded.tolist() == [[[[1, 0, 0]], [[0, 1, 0]]]]


def test_colorize():
    assert SPACE.colorize(np.array([[0, 1, 255]], np.uint8)).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 0]]]

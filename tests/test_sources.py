"""Which label maps are found, under which names, and that held-out splits are kept out."""

from pathlib import Path

import numpy as np
import pytest
from official_layouts import make_ade20k, make_cityscapes, make_coco_stuff
from PIL import Image

from augment.record import Record
from augment.shards import Sample, open_manifest, write_manifest, write_shard
from augment.sources import LabelFile, find_label_maps, find_sources, split_of
from dpsims.instances import GreyMaps
from dpsims.labels import LabelSpace, default_palette, encode_label_png


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_finds_label_maps_recursively_by_name(tmp_path):
    touch(tmp_path / "b.png", tmp_path / "a" / "frame_1.5s.png", tmp_path / "a" / "notes.txt", tmp_path / "c.PNG")
    found = find_label_maps(tmp_path)
    assert [f.source_key for f in found] == ["a/frame_1.5s", "b", "c"]
    assert [f.split for f in found] == [None] * 3
    assert found[0].file == tmp_path / "a" / "frame_1.5s.png"


def test_a_split_folder_gives_its_label_maps_alone(tmp_path):
    split = tmp_path / "train"
    touch(split / "labels" / "x.png", split / "images" / "x.png", split / "instances" / "x.png")
    labels, instances = split / "labels" / "x.png", split / "instances" / "x.png"
    assert find_label_maps(split) == [LabelFile("x", "train", labels, GreyMaps({"x": instances}), "x")]
    assert find_label_maps(split)[0].files(instances=True) == [labels, instances]
    assert find_label_maps(split / "labels") == find_label_maps(split)


def test_of_cityscapes_files_only_the_label_maps_are_taken(tmp_path):
    folder = tmp_path / "gtFine" / "train"
    for city, number in (("aachen", 0), ("aachen", 1), ("ulm", 0)):
        kinds = (
            "labelIds.png",
            "color.png",
            "instanceIds.png",
            "labelTrainIds.png",
            "instanceTrainIds.png",
            "poly.json",
        )
        touch(*(folder / city / f"{city}_{number:06d}_000019_gtFine_{kind}" for kind in kinds))
    found = find_label_maps(folder)
    keys = ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "ulm/ulm_000000_000019"]
    assert [f.source_key for f in found] == keys
    assert [f.file for f in found] == [folder / f"{key}_gtFine_labelIds.png" for key in keys]
    assert {f.split for f in found} == {"train"}
    touch(folder / "aachen" / "aachen_000000_000019_gtFine_mine.png")  # of no kind that is known: not passed over
    assert len(find_label_maps(folder)) == 4
    touch(folder / "aachen" / "aachen_000000_000019_gtCoarse_labelIds.png")
    with pytest.raises(ValueError, match="2 files are called 'aachen/aachen_000000_000019'"):
        find_label_maps(folder)


def test_of_cocos_files_those_beside_their_converted_ones_are_taken(tmp_path):
    folder = tmp_path / "train2017"
    touch(folder / "1.png", folder / "1.jpg", folder / "1_labelTrainIds.png", folder / "lone_labelTrainIds.png")
    touch(folder / "_labelTrainIds.png")
    keys = ["1", "_labelTrainIds", "lone_labelTrainIds"]
    assert [f.source_key for f in find_label_maps(folder)] == keys


def test_in_the_generic_layout_names_mean_nothing(tmp_path):
    touch(tmp_path / "train" / "images" / "x.png")
    names = ["a_color.png", "a_gtFine_labelIds.png", "a_gtFine_labelTrainIds.png", "a_labelIds.png"]
    touch(*(tmp_path / "train" / "labels" / name for name in names))
    for folder in (tmp_path / "train", tmp_path / "train" / "labels"):
        assert [f.file.name for f in find_label_maps(folder)] == names
        assert [f"{f.source_key}.png" for f in find_label_maps(folder)] == names  # as their images are called


def test_the_root_of_a_data_set_is_refused_with_its_splits(tmp_path):
    for split in ("train", "test"):
        touch(tmp_path / split / "labels" / "x.png", tmp_path / split / "images" / "x.jpg")
    with pytest.raises(ValueError, match="test, train"):
        find_label_maps(tmp_path)


@pytest.mark.parametrize("split", ["val", "test"])
def test_held_out_label_maps_are_refused_unless_named(tmp_path, split):
    other = {"val": "test", "test": "val"}[split]
    touch(tmp_path / "train" / "a.png", tmp_path / split / "b.png")
    for allowed in ([], [other]):
        with pytest.raises(ValueError, match=f"1 of 2 label maps are of the {split} split.*--allow-split {split}"):
            find_label_maps(tmp_path, allowed)
    assert [f.split for f in find_label_maps(tmp_path, [split])] == [split, "train"][:: -1 if split == "val" else 1]


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("/data/gtFine/val/aachen/x.png", "val"),
        ("/data/annotations/validation/x.png", "val"),
        ("/data/stuff/val2017/x.png", "val"),
        ("/test/data/training/x.png", "train"),
        ("/data/testimony/x.png", None),
        ("/data/labels/test.png", None),
    ],
)
def test_the_split_is_read_off_the_nearest_folder(file, split):
    assert split_of(Path(file)) == split


def test_no_folder_no_label_maps_or_two_of_a_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_label_maps(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no label maps \(\*\.png\)"):
        find_label_maps(tmp_path)
    touch(tmp_path / "x.png", tmp_path / "x.PNG")
    with pytest.raises(ValueError, match="2 files are called 'x'"):
        find_label_maps(tmp_path)


@pytest.mark.parametrize("layout", ["ade20k", "cityscapes", "coco_stuff"])
def test_a_split_of_an_official_layout_with_its_instances(tmp_path, layout):
    make = {"ade20k": make_ade20k, "cityscapes": make_cityscapes, "coco_stuff": make_coco_stuff}[layout]
    split = {"ade20k": "training", "cityscapes": "train", "coco_stuff": "train2017"}[layout]
    root = make(tmp_path / "data")
    found = find_sources(root, split, layout)
    assert len(found) == 4 and {source.split for source in found} == {"train"}
    assert all(source.has_instances() for source in found)
    size = Image.open(found[0].file).size
    assert np.array(found[0].read_instances(size)).max() > 0
    with pytest.raises(ValueError, match="no such folder"):
        find_sources(root, "nowhere", layout)


def test_a_held_out_split_of_a_data_set_is_refused_unless_named(tmp_path):
    touch(tmp_path / "val" / "labels" / "x.png", tmp_path / "val" / "images" / "x.jpg")
    with pytest.raises(ValueError, match="1 of 1 label maps are of the val split.*--allow-split val"):
        find_sources(tmp_path, "val", "generic")
    assert [it.source_key for it in find_sources(tmp_path, "val", "generic", ["val"])] == ["x"]


def shards(folder: Path, *, split: str, finished: bool = True) -> list[np.ndarray]:
    """Two label maps, the second in two perturbed variants, with two samples of each; and one that failed."""
    space = LabelSpace(("sky", "road"), default_palette(2))
    label_maps = [np.full((4, 4), label, np.uint8) for label in (0, 1, 255)]
    description = {"label_space": space.to_meta(), "plan": {}}
    open_manifest(folder, description)
    samples = [Sample(Record("000000000", 0, "bad", split, 0, 0), "bad_label", "torn")]
    for number, (name, variant) in enumerate((("a", 0), ("b/c", 0), ("b/c", 1))):
        for index in (0, 1):
            record = Record(f"00000{len(samples):04d}", 0, name, split, index, 0, variant)
            members = {"jpg": b"", "json": b"{}", "seg.png": encode_label_png(label_maps[number])}
            done = ("flip",) if name == "b/c" else ()
            samples.append(Sample(record, members=members, class_pixels=(8, 8), perturbations=done))
    write_shard(folder, 0, samples, 2)
    if finished:
        write_manifest(folder, description, {"shards": 1})
    return label_maps


def test_label_maps_come_from_shards_too(tmp_path):
    label_maps = shards(tmp_path / "shards", split="train")
    found = find_sources(tmp_path / "shards", None, "generic")
    assert [source.source_key for source in found] == ["a", "b/c~0", "b/c~1"]
    assert {source.split for source in found} == {"train"}
    space = LabelSpace(("sky", "road"), default_palette(2))
    for source, label_map in zip(found, label_maps, strict=True):
        np.testing.assert_array_equal(source.read(space), label_map)
    one = LabelSpace(("sky",), default_palette(1))
    with pytest.raises(ValueError, match=r"ids \[1\].*000000003 in .*shards") as error:
        found[1].read(one)
    assert str(tmp_path) not in found[1].without_places(str(error.value))


def test_shards_of_a_held_out_split_or_without_an_end_are_refused(tmp_path):
    shards(tmp_path / "val", split="val")
    with pytest.raises(ValueError, match="3 of 3 label maps are of the val split"):
        find_sources(tmp_path / "val", None, "generic")
    shards(tmp_path / "broken", split="train", finished=False)
    with pytest.raises(ValueError, match="not finished"):
        find_sources(tmp_path / "broken", None, "generic")

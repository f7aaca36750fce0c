import importlib.util
import os
import warnings
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from official_layouts import CAR, COUNTS, HEIGHT, WIDTH, instances, make_ade20k, make_cityscapes, make_coco_stuff, scene
from PIL import Image
from tiny_gan import compose_options, tiny_config

from dpsims.build import build_dataset
from dpsims.data import FolderDataset
from dpsims.instances import centre_offsets
from dpsims.labels import IGNORE_INDEX, LabelSpace, find_label_space
from dpsims.layouts import LAYOUTS, find_images, find_instances, find_labels, find_pairs
from dpsims.train import train

MAKERS = {"ade20k": make_ade20k, "cityscapes": make_cityscapes, "coco_stuff": make_coco_stuff}
SPLITS = {"ade20k": ("training", "validation"), "cityscapes": ("train", "val"), "coco_stuff": ("train2017", "val2017")}
# Ids of the classes sky, road and car, from the lists of each data set; void is 255.
IDS = {"ade20k": (255, 2, 6, 20), "cityscapes": (255, 10, 0, 13), "coco_stuff": (255, 145, 137, 2)}


@pytest.fixture(scope="module", params=MAKERS)
def official(request, tmp_path_factory) -> tuple[str, Path]:
    return request.param, MAKERS[request.param](tmp_path_factory.mktemp(request.param))


def dataset(root: Path, layout: str, **changes) -> FolderDataset:
    options = dict(
        split=SPLITS.get(layout, ("train",))[0], height=HEIGHT, width=WIDTH, flip=False, zoom_range=1.0, augment=False
    )
    options |= dict(instances=True, seed=0, layout=layout, label_space=layout)
    return FolderDataset(root=root, **(options | changes))


def test_images_label_maps_and_instances_are_read(official):
    layout, root = official
    for split, count in zip(SPLITS[layout], COUNTS.values(), strict=True):
        data = dataset(root, layout, split=split)
        assert len(data) == count
        for number in range(count):
            item = data[number, 0]
            expected = instances(number)
            if layout == "coco_stuff" and number == count - 1:
                expected[expected == 2] = 0  # a crowd
            np.testing.assert_array_equal(item["label_map"], np.array(IDS[layout])[scene(number)])
            np.testing.assert_allclose(item["offsets"], centre_offsets(expected))
            assert item["real"].shape == (3, HEIGHT, WIDTH)


def test_grey_and_cmyk_images_become_rgb(official):
    layout, root = official
    grey, cmyk, colour = (dataset(root, layout)[number, 0]["real"] for number in range(3))
    assert torch.equal(grey[0], grey[1]) and not torch.equal(colour[0], colour[1])
    assert {Image.open(pair.image).mode for pair in dataset(root, layout).pairs} >= {"L", "RGB"}
    sky = cmyk[:, 5:25].mean((1, 2))  # still blue
    assert sky[2] > sky[1] > sky[0]


def test_two_steps_of_training(official, tmp_path):
    layout, root = official
    out = train(
        tiny_config(root, tmp_path / "run", f"data={layout}", "generator.instances=true", "run.total_kimg=0.004")
    )
    assert (out / "generator.safetensors").is_file()


def test_presets_have_the_papers_sizes():
    sizes = {name: compose_options([f"data={name}", "data.root=x"])["data"] for name in MAKERS}
    assert {name: (data["height"], data["width"]) for name, data in sizes.items()} == {
        "ade20k": (256, 256),
        "cityscapes": (256, 512),
        "coco_stuff": (256, 256),
    }
    assert {name: (data["train_split"], data["val_split"]) for name, data in sizes.items()} == SPLITS


def test_all_labels_of_cityscapes(tmp_path):
    make_cityscapes(tmp_path)
    config = tiny_config(
        tmp_path, tmp_path / "run", "data=cityscapes", "data.label_space=cityscapes_all", "data.height=64"
    )
    data = build_dataset(config, "train", augment=False)
    assert data.space.num_classes == 35
    assert set(data[0, 0]["label_map"].unique().tolist()) == {4, 23, 7, 26}


@pytest.mark.parametrize("images", ["", "images/"])
@pytest.mark.parametrize("labels", ["annotations/", "stuffthingmaps/", ""])
@pytest.mark.parametrize("instances_from", ["panoptic", "objects", "both"])
def test_ways_to_unpack_coco(tmp_path, images, labels, instances_from):
    root = make_coco_stuff(tmp_path, images=images, labels=labels, instances_from=instances_from)
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(
        root / f"{labels}train2017" / "000000000000_labelTrainIds.png"
    )
    data = dataset(root, "coco_stuff")
    assert len(data) == COUNTS["train"]
    assert {(pair.image.suffix, pair.label.suffix) for pair in data.pairs} == {(".jpg", ".png")}
    np.testing.assert_allclose(data[1, 0]["offsets"], centre_offsets(instances(1)))
    assert data[3, 0]["offsets"][:, instances(3) == 2].abs().max() == 0  # a crowd


# Offsets under crop, flip and resize --------------------------------------------------------------------------------


def one_instance(root: Path, box: tuple[int, int, int, int]) -> Path:
    """A generic data set of one 64x96 image with one instance in (top, left, bottom, right)."""
    for folder in ("images", "labels", "instances"):
        (root / "train" / folder).mkdir(parents=True)
    ids = np.zeros((64, 96), np.uint16)
    ids[box[0] : box[2], box[1] : box[3]] = 300
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(root / "train" / "images" / "a.png")
    Image.fromarray((ids > 0).astype(np.uint8)).save(root / "train" / "labels" / "a.png")
    Image.fromarray(ids).save(root / "train" / "instances" / "a.png")
    (root / "meta.json").write_text('{"classes": ["ground", "thing"]}')
    return root


def offsets(root: Path, position: int = 0, **changes) -> tuple[np.ndarray, np.ndarray]:
    data = dataset(root, "generic", label_space=None, **changes)
    item = data[0, position]
    return item["offsets"].numpy(), item["label_map"].numpy()


def test_an_instance_cut_by_the_crop_is_centred_on_what_is_seen(tmp_path):
    """64x96 → 64x64 cuts 16 columns off each side: of columns 8 to 31 remain 16 to 31, in the frame 0 to 15."""
    root = one_instance(tmp_path, (10, 8, 20, 32))
    found, label_map = offsets(root, width=64)
    assert np.flatnonzero(label_map.any(0)).tolist() == list(range(16))
    for column in range(16):
        np.testing.assert_allclose(found[1, 10:20, column], (7.5 - column) / 64)
    for row in range(10, 20):
        np.testing.assert_allclose(found[0, row, :16], (14.5 - row) / 64)
    assert not found[:, label_map == 0].any()


def test_a_flip_negates_the_horizontal_offset(tmp_path):
    root = one_instance(tmp_path, (10, 8, 20, 32))
    plain, _ = offsets(root)
    flipped = [offsets(root, position, augment=True, flip=True) for position in range(8)]
    flipped = [found for found, label_map in flipped if label_map[:, 64:].any()]
    assert flipped
    for found in flipped:
        np.testing.assert_allclose(found[1], -plain[1, :, ::-1], atol=1e-7)
        np.testing.assert_allclose(found[0], plain[0, :, ::-1], atol=1e-7)


@pytest.mark.parametrize("scale", [2, 0.5])
def test_a_resize_keeps_the_normalised_offset(tmp_path, scale):
    """To half a pixel of the coarser grid: a pixel's four parts lie around its centre."""
    root = one_instance(tmp_path, (16, 8, 32, 48))
    plain, _ = offsets(root)
    resized, _ = offsets(root, height=int(64 * scale), width=int(96 * scale))
    fine, coarse = (resized, plain) if scale > 1 else (plain, resized)
    _, height, width = coarse.shape
    means = fine.reshape(2, height, 2, width, 2).mean((2, 4))
    np.testing.assert_allclose(means, coarse, atol=1e-6)


# Label spaces -------------------------------------------------------------------------------------------------------


def metainfo(name: str) -> dict:
    from mmseg.datasets import ADE20KDataset, CityscapesDataset, COCOStuffDataset

    return {"ade20k": ADE20KDataset, "cityscapes": CityscapesDataset, "coco_stuff": COCOStuffDataset}[name].METAINFO


@pytest.mark.parametrize("name", MAKERS)
def test_names_and_colours_are_mmsegmentations(name):
    space = find_label_space(name, Path("unused"))
    assert list(space.classes) == list(metainfo(name)["classes"])
    assert [list(colour) for colour in space.palette] == metainfo(name)["palette"]


def check_all_raw_ids(space: LabelSpace, theirs: dict[int, int | None]) -> None:
    """`theirs` of every raw id; None for one that the data set does not have, which must be refused."""
    assert theirs.keys() == set(range(256))
    for raw, expected in theirs.items():
        label_map = np.full((1, 1), raw, np.uint8)
        if expected is None:
            with pytest.raises(ValueError, match=rf"ids \[{raw}\] outside"):
                space.from_raw(label_map, "x")
        else:
            assert space.from_raw(label_map, "x").item() == expected, raw


def test_ade20k_ids_are_those_of_mmsegmentations_loader(tmp_path):
    from mmseg.datasets.transforms import LoadAnnotations

    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "all.png")
    results = {"seg_map_path": str(tmp_path / "all.png"), "reduce_zero_label": True, "seg_fields": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LoadAnnotations(reduce_zero_label=True)(results)["gt_seg_map"].ravel()
    known = {raw: int(label) for raw, label in enumerate(theirs)}
    check_all_raw_ids(
        find_label_space("ade20k", tmp_path),
        {raw: label if label < 150 or label == IGNORE_INDEX else None for raw, label in known.items()},
    )


def test_coco_ids_are_those_of_mmsegmentations_converter():
    file = Path(mmseg.__file__).parent / ".mim" / "tools" / "dataset_converters" / "coco_stuff164k.py"
    spec = importlib.util.spec_from_file_location("coco_stuff164k", file)
    converter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(converter)
    theirs = {raw: converter.clsID_to_trID.get(raw) for raw in range(256)}
    assert sum(label is not None for label in theirs.values()) == 172
    check_all_raw_ids(find_label_space("coco_stuff", Path("unused")), theirs)


# id, name and trainId of cityscapesscripts/helpers/labels.py; the licence plate has -1, which is drawn into no file.
CITYSCAPES = """
0 unlabeled 255, 1 ego vehicle 255, 2 rectification border 255, 3 out of roi 255, 4 static 255, 5 dynamic 255,
6 ground 255, 7 road 0, 8 sidewalk 1, 9 parking 255, 10 rail track 255, 11 building 2, 12 wall 3, 13 fence 4,
14 guard rail 255, 15 bridge 255, 16 tunnel 255, 17 pole 5, 18 polegroup 255, 19 traffic light 6, 20 traffic sign 7,
21 vegetation 8, 22 terrain 9, 23 sky 10, 24 person 11, 25 rider 12, 26 car 13, 27 truck 14, 28 bus 15,
29 caravan 255, 30 trailer 255, 31 train 16, 32 motorcycle 17, 33 bicycle 18"""


def test_cityscapes_ids_are_those_of_its_scripts():
    rows = [row.split() for row in CITYSCAPES.split(",")]
    names = {int(first): " ".join(middle) for first, *middle, _ in rows}
    train_ids = {int(first): int(last) for first, *_, last in rows}
    train_ids[255] = 255
    check_all_raw_ids(find_label_space("cityscapes", Path("unused")), {raw: train_ids.get(raw) for raw in range(256)})
    everything = find_label_space("cityscapes_all", Path("unused"))
    assert list(everything.classes) == [*names.values(), "unknown"]
    check_all_raw_ids(everything, {raw: raw if raw < 34 else {255: 34}.get(raw) for raw in range(256)})
    nineteen = find_label_space("cityscapes", Path("unused"))
    colours = dict(zip(nineteen.classes, nineteen.palette, strict=True))
    assert {name: everything.palette[everything.classes.index(name)] for name in colours} == colours


# Faults -------------------------------------------------------------------------------------------------------------


def test_a_wrong_root_is_named_with_folder_and_layout(official, tmp_path):
    layout, root = official
    with pytest.raises(ValueError, match=f"no such folder: .*{SPLITS[layout][0]}.*images of the layout {layout}"):
        find_pairs(tmp_path, SPLITS[layout][0], layout)
    with pytest.raises(ValueError, match="no such folder: .*elsewhere.*images of the layout"):
        find_images(root, "elsewhere", layout)


def test_other_faults_are_named(tmp_path):
    root = make_ade20k(tmp_path)
    with pytest.raises(ValueError, match="data.layout is one of generic, ade20k, .*, not 'ade'"):
        find_pairs(root, "training", "ade")
    with pytest.raises(ValueError, match="data.label_space is one of ade20k, cityscapes, .*, not 'ade'"):
        dataset(root, "ade20k", label_space="ade")
    (root / "annotations_instance" / "training" / "ADE_train_00000002.png").unlink()
    with pytest.raises(
        ValueError, match="1 of 4 images .* training, have no instance map, such as 'ADE_train_00000002'"
    ):
        dataset(root, "ade20k")
    Image.new("L", (WIDTH, HEIGHT)).save(root / "annotations_instance" / "training" / "ADE_train_00000001.png")
    with pytest.raises(ValueError, match="instance maps are RGB, not of mode 'L': .*00000001.png"):
        find_instances(root, "training", "ade20k").read("ADE_train_00000001", (WIDTH, HEIGHT))
    (root / "images" / "training" / "ADE_train_00000001.png").touch()
    with pytest.raises(ValueError, match=r"one key, 'ADE_train_00000001': .*\.(png and .*\.jpg|jpg and .*\.png)"):
        find_pairs(root, "training", "ade20k")
    with pytest.raises(ValueError, match=r"generator.instances=true, but .* no val/instances/NAME.png"):
        dataset(generic_without_instances(tmp_path / "generic"), "generic", split="val", label_space=None)


def generic_without_instances(root: Path) -> Path:
    for folder in ("images", "labels"):
        (root / "val" / folder).mkdir(parents=True)
        Image.new("L", (40, 40)).save(root / "val" / folder / "a.png")
    (root / "meta.json").write_text('{"classes": ["all"]}')
    return root


def test_halves_are_found_without_their_other_half(official):
    layout, root = official
    images, labels = (find(root, SPLITS[layout][0], layout) for find in (find_images, find_labels))
    assert list(images) == list(labels) == sorted(images)
    assert all(file.is_file() for file in (*images.values(), *labels.values()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hidden_files_are_left_alone_and_no_file_is_asked_for_its_size(layout, tmp_path, monkeypatch):
    """The number of system calls does not grow with the number of files."""
    split = "some"
    folders = {kind: tmp_path / kind_of.folders[0].format(split=split) for kind, kind_of in kinds(layout).items()}
    for folder in folders.values():
        (folder / "city").mkdir(parents=True)

    def add(start: int, stop: int) -> None:
        for kind, folder in folders.items():
            ending = kinds(layout)[kind].endings[0]
            inner = folder / "city" if kinds(layout)[kind].nested else folder
            for number in range(start, stop):
                (inner / f"{number}{ending}").touch()
            (inner / f"._0{ending}").touch()

    calls = []
    original = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: calls.append(a) or original(*a, **k))
    add(0, 1)
    calls.clear()
    assert len(find_pairs(tmp_path, split, layout)) == 1
    few = len(calls)
    add(1, 50)
    calls.clear()
    assert len(find_pairs(tmp_path, split, layout)) == 50
    assert len(calls) == few


def test_the_test_splits_of_the_official_ones_have_no_true_labels():
    """Those of Cityscapes are blank, the others come without."""
    assert [name for name, layout in LAYOUTS.items() if layout.test is not None] == ["generic"]


def kinds(layout: str) -> dict:
    return {"images": LAYOUTS[layout].images, "labels": LAYOUTS[layout].labels}


def test_cars_are_things_of_the_scene():
    """The fixture itself: instances lie exactly on cars."""
    assert ((instances(2) > 0) == (scene(2) == CAR)).all()

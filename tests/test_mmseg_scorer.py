"""Scores of images by hand and as mmengine's own test gives them, with a segmenter whose predictions are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from mmengine.runner import Runner
from mmseg.registry import MODELS
from mmseg.utils import get_classes
from mmseg_data import RunsCode
from PIL import Image
from torch import Tensor, nn

from augment.mmseg.compat import mmdet_install
from augment.mmseg.config import load_config
from augment.mmseg.evaluate import nest_scores
from augment.mmseg.scorer import Segmenter, batches, load_segmenter, score_images
from dpsims.labels import LabelSpace, default_palette

COLOURS = {"sky": (40, 120, 250), "road": (90, 90, 90), "car": (250, 20, 20), "building": (20, 200, 60)}
CLASSES = ("sky", "road", "car")
SPACE = LabelSpace(CLASSES, default_palette(3))

CONFIG = """
default_scope = "mmseg"
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True),
    backbone=dict(type="PassThrough"),
    decode_head=dict(type="FCNHead", num_convs=0, concat_input=False, in_channels=3, channels=3, dropout_ratio=0,
                     num_classes={num_classes}),
    test_cfg=dict(mode="whole"),
)
pipeline = [dict(type="LoadImageFromFile"), {resize} dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
test_dataloader = dict(
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="BaseSegDataset", data_root="{root}", img_suffix=".png", pipeline=pipeline, test_mode=True,
                 data_prefix=dict(img_path="images", seg_map_path="labels"), metainfo=dict(classes={classes})),
)
test_evaluator = dict(type="PerClassIoUMetric")
test_cfg = dict(type="TestLoop")
"""


@MODELS.register_module()
class PassThrough(nn.Module):
    """A backbone whose only feature map is the image."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image]


def nearest_colour(folder: Path, classes: tuple[str, ...] = CLASSES, resize: str = "") -> tuple[Path, Path]:
    """Config and checkpoint of a model that gives each pixel the class whose colour is nearest."""
    config, checkpoint = folder / "nearest.py", folder / "nearest.pth"
    config.write_text(CONFIG.format(num_classes=len(classes), resize=resize, root=folder, classes=classes))
    colours = torch.tensor([COLOURS[name] for name in classes]) / 127.5 - 1
    # argmin |x - c|² = argmax 2 c·x - |c|²
    weight, bias = 2 * colours[:, :, None, None], -colours.square().sum(dim=1)
    state = {"decode_head.conv_seg.weight": weight, "decode_head.conv_seg.bias": bias}
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": classes}}}, checkpoint)
    return config, checkpoint


def paint(*rows: str) -> UInt8[np.ndarray, "h w 3"]:
    """ "sr" is a pixel in the sky's colour beside one in the road's."""
    by_letter = {name[0]: colour for name, colour in COLOURS.items()}
    return np.array([[by_letter[letter] for letter in row] for row in rows], np.uint8)


def labels(*rows: list[int]) -> UInt8[np.ndarray, "h w"]:
    return np.array(rows, np.uint8)


def test_iou_by_hand_over_the_stream(tmp_path):
    stream = [
        (paint("ssr", "rrs"), labels([0, 0, 0], [1, 255, 0])),  # sky 3 of 4, road 1 of 2; 255 does not count
        (paint("rr"), labels([1, 1])),  # of another size
    ]
    segmenter = load_segmenter(*nearest_colour(tmp_path), SPACE)
    scores = score_images(segmenter, iter(stream))
    assert scores == {
        "aAcc": 85.71,  # 6 of 7
        "mIoU": 75.0,
        "mAcc": 87.5,  # sky 3 of 4, road 3 of 3
        "IoU": {"sky": 75.0, "road": 75.0, "car": None},  # road 3 of 2 + 2
        "images": 2,
        "left_out": [],
    }


def test_prediction_is_brought_to_the_size_of_the_label_map(tmp_path):
    segmenter = load_segmenter(*nearest_colour(tmp_path), SPACE)
    scores = score_images(segmenter, [(paint("ss", "ss"), labels([0, 0, 0, 0], [0, 0, 0, 1]))])
    assert scores["IoU"] == {"sky": 87.5, "road": 0.0, "car": None}


def noisy_pairs(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(count):
        height, width = (24, 32) if number % 3 else (32, 20)
        label_map = rng.integers(0, 3, (height // 4, width // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
        colours = np.array([COLOURS[name] for name in CLASSES])[label_map]
        image = (colours + rng.normal(0, 90, colours.shape)).clip(0, 255).astype(np.uint8)
        label_map[:3] = 255
        pairs.append((image, label_map))
    return pairs


def test_equals_mmengines_own_test_of_the_same_images_on_disk(tmp_path):
    pairs = noisy_pairs(7)
    config, checkpoint = nearest_colour(tmp_path, resize='dict(type="Resize", scale=(60, 40), keep_ratio=True),')
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for number, (image, label_map) in enumerate(pairs):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(label_map).save(tmp_path / "labels" / f"{number}.png")
    cfg = load_config(config, options={"work_dir": str(tmp_path / "work"), "load_from": str(checkpoint)})
    expected = nest_scores(Runner.from_cfg(cfg).test())
    assert 30 < expected["mIoU"] < 95

    segmenter = load_segmenter(config, checkpoint, SPACE)
    for batch_size in (1, 3):
        scores = score_images(segmenter, pairs, batch_size=batch_size)
        assert {key: scores[key] for key in expected} == expected
    other_scale = {"test_dataloader.dataset.pipeline.1.scale": (15, 10)}
    coarse = load_segmenter(config, checkpoint, SPACE, options=other_scale)
    assert score_images(coarse, pairs)["mIoU"] < expected["mIoU"]


def test_batches_are_neighbours_of_one_size():
    named = zip("abcdef", (1, 1, 1, 2, 1, 1), strict=True)
    items = [{"inputs": torch.zeros(3, size, 2), "name": name} for name, size in named]
    grouped = [[item["name"] for item in batch] for batch in batches(items, 2)]
    assert grouped == [["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_classes_are_matched_by_name(tmp_path):
    pairs = noisy_pairs(4)
    plain = score_images(load_segmenter(*nearest_colour(tmp_path), SPACE), pairs)
    shuffled = score_images(load_segmenter(*nearest_colour(tmp_path, ("car", "sky", "road")), SPACE), pairs)
    assert shuffled == plain
    more = load_segmenter(*nearest_colour(tmp_path, ("building", "car", "sky", "road")), SPACE)
    # a building where sky is: a miss of sky, and no class of the label space is to blame
    scores = score_images(more, [(paint("ssbr"), labels([0, 0, 0, 1]))])
    assert scores["IoU"] == {"sky": 66.67, "road": 100.0, "car": None}
    assert scores["aAcc"] == 75.0


def test_names_come_from_the_config_where_the_checkpoint_has_none(tmp_path):
    config, checkpoint = nearest_colour(tmp_path, ("car", "sky", "road"))
    torch.save({"state_dict": torch.load(checkpoint, weights_only=True)["state_dict"]}, checkpoint)
    assert load_segmenter(config, checkpoint, SPACE).prediction_ids.tolist() == [2, 0, 1]


def test_a_class_that_the_segmenter_lacks_is_an_error_unless_allowed(tmp_path):
    space = LabelSpace(("tree", "sky", "pole", "road"), default_palette(4))
    files = nearest_colour(tmp_path)
    with pytest.raises(ValueError, match=r"has no class 'tree', 'pole'; it has sky, road, car"):
        load_segmenter(*files, space)
    segmenter = load_segmenter(*files, space, allow_missing=True)
    scores = score_images(segmenter, [(paint("srss"), labels([1, 3, 0, 3]))])  # tree's pixel does not count
    assert scores["left_out"] == ["tree", "pole"]
    assert scores["IoU"] == {"tree": None, "sky": 50.0, "pole": None, "road": 50.0}
    assert scores["mIoU"] == 50.0 and scores["aAcc"] == 66.67
    with pytest.raises(ValueError, match="has no class 'tree'"):
        load_segmenter(*files, LabelSpace(("tree",), default_palette(1)), allow_missing=True)


def test_nothing_to_score_is_an_error(tmp_path):
    segmenter = load_segmenter(*nearest_colour(tmp_path), SPACE)
    with pytest.raises(ValueError, match="no images"):
        score_images(segmenter, [])
    with pytest.raises(ValueError, match="no pixel of the 1 label maps"):
        score_images(segmenter, [(paint("s"), labels([255]))])
    with pytest.raises(AssertionError, match="beyond the 3 classes"):
        score_images(segmenter, [(paint("s"), labels([3]))])


def test_a_config_of_mmseg_with_names_from_its_data_set(tmp_path):
    name = "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py"
    model = MODELS.build(load_config(name).model)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "random.pth")
    classes = get_classes("ade20k")
    space = LabelSpace(tuple(classes[::-1]), default_palette(150))
    scale = {"test_dataloader.dataset.pipeline.1.scale": (128, 32)}
    segmenter = load_segmenter(name, tmp_path / "random.pth", space, options=scale)
    assert segmenter.prediction_ids.tolist() == list(range(149, -1, -1))
    rng = np.random.default_rng(0)
    pair = (rng.integers(0, 256, (16, 64, 3), np.uint8), rng.integers(0, 150, (16, 64), np.uint8))
    sizes: list[torch.Size] = []
    segmenter.model.backbone.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape))
    assert score_images(segmenter, [pair])["IoU"].keys() == set(classes)
    assert sizes == [(1, 3, 32, 128)]


def refused(*arguments: object, **options: object) -> str:
    with pytest.raises(ValueError) as error:
        load_segmenter(*arguments, SPACE, **options)
    return str(error.value)


def test_mask2former_without_mmdet_says_what_to_install(without_mmdet):
    message = refused("mmseg::mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py", "nothing.pth")
    assert "Mask2FormerHead needs the package mmdet" in message and mmdet_install() in message


def test_weights_that_the_model_has_no_place_for_are_a_warning_and_missing_ones_an_error(tmp_path):
    config, checkpoint = nearest_colour(tmp_path)
    pairs = noisy_pairs(2)
    plain = score_images(load_segmenter(config, checkpoint, SPACE), pairs)
    stored = torch.load(checkpoint, weights_only=True)
    weights = {f"module.{key}": value for key, value in stored["state_dict"].items()}
    extra = {"auxiliary_head.conv_seg.weight": torch.zeros(1), "ema.steps": torch.tensor(7)}
    torch.save({**stored, "state_dict": weights | extra}, checkpoint)
    with pytest.warns(UserWarning, match=r"nearest\.pth holds what .*: auxiliary_head\S+, ema\.steps \(2 tensors\)"):
        segmenter = load_segmenter(config, checkpoint, SPACE)
    assert score_images(segmenter, pairs) == plain
    del weights["module.decode_head.conv_seg.bias"]
    torch.save({**stored, "state_dict": weights}, checkpoint)
    assert "nearest.pth does not fit the config's model: it lacks decode_head.conv_seg.bias (1 tensors)" in refused(
        config, checkpoint
    )
    torch.save({**stored, "state_dict": weights | {"module.decode_head.conv_seg.bias": torch.zeros(5)}}, checkpoint)
    assert "nearest.pth does not fit the config's model: " in refused(config, checkpoint)


def test_what_does_not_fit_is_refused(tmp_path):
    config, checkpoint = nearest_colour(tmp_path)
    marker, hostile = tmp_path / "code_was_run", tmp_path / "hostile.pth"
    torch.save({"state_dict": RunsCode(marker)}, hostile)
    assert "checkpoint refused" in refused(config, hostile)
    assert not marker.exists()
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.pth")
    assert "other.pth does not fit the config's model" in refused(config, tmp_path / "other.pth")
    assert "no such config" in refused(tmp_path / "none.py", checkpoint)
    (tmp_path / "empty.py").write_text("iterations = 3")
    assert "it has no `model`" in refused(tmp_path / "empty.py", checkpoint)
    assert "the package nothing is not installed" in refused("nothing::a.py", checkpoint)
    first_step = {"test_dataloader.dataset.pipeline.0.type": "LoadSingleRSImageFromFile"}
    assert "cannot take the place of LoadSingleRSImageFromFile" in refused(config, checkpoint, options=first_step)
    state = torch.load(checkpoint, weights_only=True)
    torch.save({**state, "meta": {"dataset_meta": {"classes": ("sky", "road")}}}, checkpoint)
    assert "the names of the 3 classes" in refused(config, checkpoint)
    (tmp_path / "imports.py").write_text('custom_imports = dict(imports=["no_such_module"])\n')
    assert "Failed to import no_such_module" in refused(tmp_path / "imports.py", checkpoint)
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        load_segmenter(config, tmp_path / "nowhere.pth", SPACE)


def test_scores_are_json(tmp_path):
    segmenter: Segmenter = load_segmenter(*nearest_colour(tmp_path), SPACE)
    scores = score_images(segmenter, noisy_pairs(2))
    assert json.loads(json.dumps(scores)) == scores

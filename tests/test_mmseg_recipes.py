"""The shipped configs against mmseg's own: the same models, data and schedules, and our shards' classes."""

import runpy
from pathlib import Path

import mmseg
import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules

from dpsims.labels import find_label_space

FOLDER = Path(__file__).parents[1] / "configs" / "segmenters"
STOCK = Path(mmseg.__file__).parent / ".mim"


@pytest.fixture(scope="module", autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


def stock(path: str) -> Config:
    return Config.fromfile(STOCK / "configs" / path)


@pytest.mark.parametrize(
    ("ours", "stocks"),
    [
        ("segformer_b0_ade20k", "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512"),
        ("segformer_b2_ade20k", "segformer/segformer_mit-b2_8xb2-160k_ade20k-512x512"),
        ("segformer_b4_ade20k", "segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512"),
        ("deeplabv3plus_r50_ade20k", "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512"),
        ("deeplabv3plus_r50_cityscapes", "deeplabv3plus/deeplabv3plus_r50-d8_4xb2-80k_cityscapes-512x1024"),
        ("mask2former_r50_cityscapes", "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024"),
    ],
)
def test_model_data_and_schedule_are_mmsegs_own(ours, stocks):
    """But for the mean of the loss, where the encoder's weights are named, and how Mask2Former's images are resized."""
    own, theirs = Config.fromfile(FOLDER / f"{ours}_real.py"), stock(f"{stocks}.py")
    for name in {"decode_head", "auxiliary_head"} & {*own.model}:
        if "loss_decode" in own.model[name]:
            assert own.model[name].loss_decode.pop("avg_non_ignore")
    if theirs.model.get("pretrained"):
        theirs.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": theirs.model.pretrained}
        theirs.model.pretrained = None
    assert own.model == theirs.model
    if "mask2former" not in ours:
        assert own.train_dataloader.dataset.pipeline == theirs.train_dataloader.dataset.pipeline
    assert own.val_dataloader.dataset.pipeline == theirs.val_dataloader.dataset.pipeline
    for cfg in (own, theirs):
        cfg.optim_wrapper.setdefault("clip_grad", None)
        cfg.optim_wrapper.optimizer.setdefault("eps", 1e-8)
    assert own.optim_wrapper == theirs.optim_wrapper
    assert own.train_cfg.max_iters == theirs.train_cfg.max_iters
    own.param_scheduler[-1].end = own.train_cfg.max_iters  # which mmengine takes where there is none
    assert own.param_scheduler == theirs.param_scheduler


def test_upernet_has_the_heads_of_mmsegs_own():
    own = Config.fromfile(FOLDER / "upernet_convnext_tiny_ade20k_real.py").model
    file = STOCK / "configs" / "convnext" / "convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py"
    theirs = Config.fromfile(file, import_custom_modules=False).model  # its own encoder is mmpretrain's
    for name in ("decode_head", "auxiliary_head"):
        assert own[name].loss_decode.pop("avg_non_ignore")
        assert own[name] == theirs[name]


@pytest.mark.parametrize("name", ["ade20k", "cityscapes", "coco_stuff"])
def test_shards_have_the_classes_of_mmsegs_data_set(name):
    """And mmseg's converter for COCO-Stuff numbers them as we do."""
    space = find_label_space(name, FOLDER)
    kind = stock(f"_base_/datasets/{'coco-stuff164k' if name == 'coco_stuff' else name}.py").dataset_type
    metainfo = DATASETS.get(kind).METAINFO
    assert tuple(metainfo["classes"]) == space.classes
    assert [tuple(colour) for colour in metainfo["palette"]] == list(space.palette)
    if name == "coco_stuff":
        converter = runpy.run_path(str(STOCK / "tools" / "dataset_converters" / "coco_stuff164k.py"))
        theirs = converter["clsID_to_trID"]
        assert {raw: theirs[raw] for raw in space.raw_to_id} == space.raw_to_id

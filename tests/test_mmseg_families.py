"""Each family of segmenters trains by the command, and mmseg's own released config takes shards by one line more."""

import ast
import importlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg_data import write_data_set, write_official, write_shards
from PIL import Image

from augment.mmseg import compat
from augment.mmseg.compat import attend_without_ops, mmdet_install
from augment.mmseg.initial_weights import fetch_initial_weights
from augment.mmseg.runner import distribute_on_cpu
from augment.shards import read_manifest
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, find_label_space
from dpsims.sample import save_generator

REPOSITORY = Path(__file__).parents[1]
TOOL = REPOSITORY / "tools" / "train_segmenter.py"
STOCK_TOOL = Path(mmseg.__file__).parent / ".mim" / "tools" / "train.py"
CONFIGS = REPOSITORY / "configs" / "segmenters"
SIZES = {"SEG_HEIGHT": "64", "SEG_WIDTH": "64", "SEG_BATCH": "2", "SEG_ITERS": "2", "OMP_NUM_THREADS": "1"}
IN_THIS_PROCESS = [f"{part}_dataloader.{option}" for part in ("train", "val", "test")
                   for option in ("num_workers=0", "persistent_workers=False")]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    root = tmp_path_factory.mktemp("data")
    spaces = {name: find_label_space(name, root) for name in ("ade20k", "cityscapes", "coco_stuff")}
    spaces["generic"] = LabelSpace(("sky", "road", "car"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    for name, space in spaces.items():
        write_shards(root / f"{name}-shards", space)
        write_data_set(root / name, space) if name == "generic" else write_official(name, root / name)
    return {name: (root / name, root / f"{name}-shards") for name in spaces}


@pytest.fixture
def main(monkeypatch) -> Callable[[list[str]], int]:
    """The command in this process."""
    for name, value in SIZES.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(TOOL))["main"]


@pytest.mark.parametrize(
    ("model", "name", "option"),
    [
        ("segformer_b2", "coco_stuff", "model.backbone.init_cfg=None"),
        ("upernet_convnext_tiny", "cityscapes", "model.backbone.pretrained=False"),
        ("deeplabv3plus_r50", "generic", "model.backbone.init_cfg=None"),
        ("mask2former_r50", "generic", "model.backbone.init_cfg=None"),
        ("mask2former_r50", "ade20k", "model.backbone.init_cfg=None"),
    ],
)
def test_a_family_trains_and_is_tested_without_network(model, name, option, data, tmp_path, main):
    root, shards = data[name]
    arguments = [CONFIGS / f"{model}_{name}_mixed.py", "--data-root", root, "--shards", shards, "--work-dir", tmp_path]
    assert main([*map(str, arguments), "--test", "--cfg-options", option, *IN_THIS_PROCESS]) == 0
    scores = json.loads((tmp_path / "test.json").read_text())
    assert scores["images"] == 2 and 0 <= scores["mIoU"] <= 100
    assert list(scores["IoU"]) == read_manifest(shards)["label_space"]["classes"]
    assert torch.load(tmp_path / "iter_2.pth", weights_only=True)["meta"]["iter"] == 2
    assert Path(scores["checkpoint"]).name.startswith("best_" if name == "generic" else "iter_2")


# Runs one of the tools and prints, of each image that the model is trained on, its file and the ids of its labels.
WATCH = """
import runpy, sys
from mmengine.model import BaseModel
forward = BaseModel._run_forward
def watched(self, data, mode):
    for sample in data["data_samples"] if mode == "loss" else []:
        print("SEEN", sample.img_path.rpartition("/")[2], sorted(sample.gt_sem_seg.data.unique().tolist()), flush=True)
    return forward(self, data, mode)
BaseModel._run_forward = watched
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RELEASED = "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py"


def train_released(tool: Path, base: str, root: Path, out: Path, **environment: str) -> list[tuple[str, set[int]]]:
    """Three iterations of SegFormer-B0 on ADE20K as mmseg releases it, with one of our bases: what was seen."""
    config = out / "released.py"
    config.write_text(f'_base_ = [\n    "{CONFIGS}/_base_/{base}",\n    "{RELEASED}",\n]\n')
    options = ["model.backbone.init_cfg=None", "train_cfg.max_iters=3", "default_hooks.checkpoint.interval=3"]
    options += [f"{part}_dataloader.dataset.data_root={root}" for part in ("train", "val", "test")]
    options += ["train_dataloader.dataset.pipeline.2.scale=(128,64)", "model.data_preprocessor.size=(64,64)"]
    options += ["train_dataloader.dataset.pipeline.3.crop_size=(64,64)", *IN_THIS_PROCESS]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **environment}
    command = [sys.executable, "-c", WATCH, tool, config, "--work-dir", out / "out", "--cfg-options", *options]
    done = subprocess.run([*map(str, command)], env=variables, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (out / "out" / "iter_3.pth").is_file()
    return [(name, set(ast.literal_eval(ids))) for name, ids in re.findall(r"^SEEN (\S+) (.*)$", done.stdout, re.M)]


@pytest.mark.parametrize("tool", [TOOL, STOCK_TOOL], ids=["ours", "stock"])
def test_a_released_config_takes_shards_by_one_line(tool, data, tmp_path):
    """Label maps of ADE20K have 0 for "none" and k + 1 for class k; those of shards k."""
    root, shards = data["ade20k"][0], tmp_path / "shards"
    written = write_shards(shards, find_label_space("ade20k", root))
    seen = train_released(tool, "mixed.py", root, tmp_path, SHARDS=str(shards))
    real = [ids for name, ids in seen if "tar#" not in name]
    synthetic = [ids for name, ids in seen if "tar#" in name]
    assert len(real) == len(synthetic) == 3
    assert all(ids <= {2, 6, 20, 255} and len(ids) > 1 for ids in real)  # sky, road and car, which are 3, 7 and 21
    pngs = [members["seg.png"] for members in written.values()]
    stored = [set(np.array(Image.open(io.BytesIO(png))).ravel().tolist()) for png in pngs]
    assert all(any(ids <= known and len(ids) > 9 for known in stored) for ids in synthetic)


def test_a_released_config_paints_on_the_fly_by_one_line(data, tmp_path):
    """Under mmseg's own tool; what is painted has the shifted ids of the real label maps, too."""
    space = find_label_space("ade20k", data["ade20k"][0])
    size = {"height": 32, "width": 64, "z_dim": 8, "cond_channels": 8, "channel_base": 2, "spade_hidden": 8}
    architecture = {"num_classes": space.num_classes, "attention_size": 16, **size}
    (tmp_path / "gan").mkdir()
    save_generator(tmp_path / "gan", Generator(**architecture), architecture, space, {"images_seen": 1})
    seen = train_released(STOCK_TOOL, "on_the_fly.py", data["ade20k"][0], tmp_path, GENERATOR=str(tmp_path / "gan"))
    assert [("~" in name) for name, _ in seen].count(True) == 3 and len(seen) == 6
    assert all(ids <= {2, 6, 20, 255} and len(ids) > 1 for _, ids in seen)


@pytest.mark.parametrize(
    "config",
    [
        str(CONFIGS / "mask2former_r50_generic_real.py"),
        "mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py",
    ],
)
def test_mask2former_without_mmdet_is_one_line(config, data, tmp_path, main, capsys, without_mmdet):
    """mmseg's config imports mmdet; ours lets mmseg's head do so."""
    assert main([config, "--data-root", str(data["generic"][0]), "--work-dir", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "mmdet" in lines[0] and lines[0].startswith("error: ")
    assert f"install it with: {mmdet_install()}" in lines[0]


def test_weights_that_cannot_be_had_are_one_line(tmp_path):
    model = Config.fromfile(CONFIGS / "segformer_b2_generic_real.py").model
    model.backbone.init_cfg.checkpoint = str(tmp_path / "none.pth")
    with pytest.raises(ValueError, match=r"none\.pth.*to start without: --cfg-options model\.backbone\.init_cfg=None"):
        fetch_initial_weights(model)
    model = Config.fromfile(CONFIGS / "upernet_convnext_tiny_generic_real.py").model
    with pytest.raises(ValueError, match=r"timm's convnext_tiny.*--cfg-options model\.backbone\.pretrained=False"):
        fetch_initial_weights(model)  # the tests have no network (conftest.py)


def test_processes_on_a_cpu_have_no_sync_bn():
    cfg = Config.fromfile(CONFIGS / "deeplabv3plus_r50_generic_real.py")
    assert cfg.model.backbone.norm_cfg.type == "SyncBN"
    set_device = torch.cuda.set_device
    try:
        distribute_on_cpu(cfg)
    finally:
        torch.cuda.set_device = set_device
    assert "SyncBN" not in str(cfg.model) and cfg.model.decode_head.norm_cfg.type == "BN"


@pytest.mark.parametrize("compiled", [True, False])
def test_attention_stays_in_pytorch_on_cuda_where_its_op_is_missing(compiled, monkeypatch):
    """mmcv would call the op on CUDA; whether it does, it decides by this name."""
    attention = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
    extension = object() if compiled else compat._MissingOps("mmcv._ext")
    monkeypatch.setattr(attention, "IS_CUDA_AVAILABLE", True)
    monkeypatch.setitem(sys.modules, "mmcv._ext", extension)
    attend_without_ops()
    assert attention.IS_CUDA_AVAILABLE is compiled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_attention_is_the_same_on_cuda_as_on_a_cpu():
    attention = importlib.import_module("mmcv.ops.multi_scale_deform_attn")
    attend_without_ops()
    torch.manual_seed(0)
    module = attention.MultiScaleDeformableAttention(embed_dims=32, num_heads=4, num_levels=2, num_points=4)
    shapes = torch.tensor([[8, 8], [4, 4]])
    inputs = {
        "query": torch.rand(80, 2, 32),
        "value": torch.rand(80, 2, 32),
        "reference_points": torch.rand(2, 80, 2, 2),
        "spatial_shapes": shapes,
        "level_start_index": torch.tensor([0, 64]),
    }
    on_cpu = module(**inputs)
    on_cuda = module.cuda()(**{name: value.cuda() for name, value in inputs.items()})
    torch.testing.assert_close(on_cuda.cpu(), on_cpu, rtol=1e-3, atol=1e-4)

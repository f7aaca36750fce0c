"""The shipped configs build, their kinds differ in the training set alone, and wrong data is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.registry import DATASETS, MODELS
from mmseg.utils import register_all_modules
from mmseg_data import write_data_set, write_shards

from augment.mmseg.backbone import EfficientNetLite0
from augment.mmseg.config import check_data, datasets_of, load_config, parse_options
from dpsims.labels import LabelSpace
from dpsims.pretrained import efficientnet_lite0_weights

FOLDER = Path(__file__).parents[1] / "configs" / "segmenters"
CONFIGS = sorted(FOLDER.glob("*.py"))
ON_THE_FLY = sorted(FOLDER.glob("*_on_the_fly.py"))  # need a generator: test_mmseg_paint.py
REAL = FOLDER / "efficientnet_lite0_fpn_camvid_real.py"
MIXED = FOLDER / "efficientnet_lite0_fpn_camvid_mixed.py"
SYNTHETIC = FOLDER / "efficientnet_lite0_fpn_camvid_synthetic.py"


@pytest.fixture(scope="module", autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Data set and shards for the classes of each of the configs' data sets."""
    root = tmp_path_factory.mktemp("data")
    made = {}
    for name in ("camvid", "streets"):
        space = space_of(FOLDER / "_base_" / "datasets" / f"{name}.py")
        write_shards(root / name / "shards", space)
        made[name] = write_data_set(root / name / "data", space), root / name / "shards"
    return made


def space_of(config: Path) -> LabelSpace:
    metainfo = Config.fromfile(config).metainfo
    return LabelSpace(metainfo["classes"], tuple(tuple(colour) for colour in metainfo["palette"]))


def test_there_are_all_of_them():
    names = {f"{m}_{d}_{k}.py" for m in ("efficientnet_lite0_fpn", "segformer_b0") for d in ("camvid", "streets")
             for k in ("real", "mixed")}  # fmt: skip
    light = "efficientnet_lite0_fpn"
    names |= {f"{light}_{d}_{k}.py" for d in ("camvid", "streets") for k in ("synthetic", "on_the_fly")}
    names |= {"segformer_b0_camvid_on_the_fly.py"}
    assert {file.name for file in CONFIGS} == names


@pytest.mark.parametrize("file", sorted({*CONFIGS} - {*ON_THE_FLY}), ids=lambda file: file.stem)
def test_config_builds(file, data):
    root, shards = data["camvid" if "camvid" in file.name else "streets"]
    kind = file.stem.rpartition("_")[2]
    cfg = load_config(file, data_root=root, shards=None if kind == "real" else shards)
    check_data(cfg)
    model = MODELS.build(cfg.model)
    assert model.decode_head.num_classes == len(cfg.metainfo["classes"])
    assert model.decode_head.loss_decode.avg_non_ignore
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 4 if kind == "synthetic" else 6
    channels, height, width = dataset[len(dataset) - 1]["inputs"].shape
    assert channels == 3 and height <= 96 and width <= 128  # padded to the crop's size in the batch
    if kind == "mixed":
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        mixed = HOOKS.build(cfg.custom_hooks[0]).mixed(loader, cfg, seed=0, device=torch.device("cpu"))
        assert len(mixed.dataset) == 6 + 4 and len(next(iter(mixed))["inputs"]) == 8
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert len(DATASETS.build(loader.dataset)) == 2


@pytest.mark.parametrize("file", [file for file in CONFIGS if "mixed" in file.name], ids=lambda file: file.stem)
def test_mixed_differs_in_its_training_set_alone(file):
    mixed = Config.fromfile(file)
    real = Config.fromfile(file.with_name(file.name.replace("mixed", "real")))
    assert {key for key in {*mixed, *real} if mixed.get(key) != real.get(key)} == {"custom_hooks"}


@pytest.mark.parametrize("file", [file for file in CONFIGS if "synthetic" in file.name], ids=lambda file: file.stem)
def test_synthetic_differs_in_its_training_set_alone(file):
    synthetic = Config.fromfile(file)
    real = Config.fromfile(file.with_name(file.name.replace("synthetic", "real")))
    assert {key for key in {*synthetic, *real} if synthetic.get(key) != real.get(key)} == {"train_dataloader"}
    loader, plain = synthetic.train_dataloader, real.train_dataloader
    assert {key for key in {*loader, *plain} if loader.get(key) != plain.get(key)} == {"dataset"}
    assert loader.dataset.pipeline == plain.dataset.pipeline


def test_segformer_is_mmsegs_own_but_for_what_its_docstring_says(tmp_path):
    (tmp_path / "stock.py").write_text('_base_ = "mmseg::_base_/models/segformer_mit-b0.py"\n')
    stock = Config.fromfile(tmp_path / "stock.py").model
    del stock["_scope_"]  # mmengine's mark of a base from another package
    stock.decode_head.norm_cfg.type = "BN"
    stock.decode_head.loss_decode.avg_non_ignore = True
    assert Config.fromfile(FOLDER / "_base_" / "models" / "segformer_b0.py").model == stock


def test_light_encoder_starts_from_imagenet_and_fits_its_neck():
    encoder = EfficientNetLite0()
    encoder.init_weights()
    weights = efficientnet_lite0_weights()
    state = encoder.timm_model.state_dict()
    assert len(state) > 200
    assert all(torch.equal(state[key], weights[key]) for key in state)
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, 3, 64, 96))
    model = Config.fromfile(REAL).model
    assert [feature.shape[1] for feature in features] == model.neck.in_channels
    strides = [64 // feature.shape[2] for feature in features]
    assert strides == [96 // feature.shape[3] for feature in features] == model.decode_head.feature_strides


def test_environment_sets_size_and_length(monkeypatch):
    for name, value in {"SEG_HEIGHT": "64", "SEG_WIDTH": "96", "SEG_ITERS": "5000", "SEG_BATCH": "2"}.items():
        monkeypatch.setenv(name, value)
    cfg = Config.fromfile(REAL)
    assert cfg.model.data_preprocessor.size == (64, 96)
    assert cfg.train_dataloader.dataset.pipeline[3].crop_size == (64, 96)
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (96, 64)
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == 5000
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 500


def test_root_and_shards_reach_every_data_set(data):
    root, shards = data["camvid"]
    cfg = load_config(MIXED, data_root=root, shards=shards, options={"randomness.seed": 7})
    roots = [
        cfg.train_dataloader.dataset.data_root,
        cfg.val_dataloader.dataset.data_root,
        cfg.test_dataloader.dataset.data_root,
        cfg.data_root,
    ]
    assert roots == [str(root)] * 4
    assert cfg.custom_hooks[0].shards == str(shards)
    assert cfg.randomness.seed == 7


def test_shards_for_a_config_without_are_an_error(data):
    with pytest.raises(ValueError, match=r"--shards .*camvid_real\.py has no use for it; use its"):
        load_config(REAL, shards=data["camvid"][1])


def test_other_classes_are_an_error(data):
    with pytest.raises(ValueError, match=r"label maps in .* have the classes"):
        check_data(load_config(REAL, data_root=data["streets"][0]))
    with pytest.raises(ValueError, match=r"shards in .* have the classes"):
        check_data(load_config(MIXED, data_root=data["camvid"][0], shards=data["streets"][1]))


def test_label_maps_in_other_ids_are_an_error(tmp_path, data):
    """mmseg would read them as they are."""
    root = shutil.copytree(data["camvid"][0], tmp_path / "camvid")
    meta = json.loads((root / "meta.json").read_text())
    (root / "meta.json").write_text(json.dumps(meta | {"ignore_index": 200}))
    with pytest.raises(ValueError, match="ignore_index is 255"):
        check_data(load_config(REAL, data_root=root))
    cfg = load_config(SYNTHETIC, data_root=data["camvid"][0], shards=data["camvid"][1])
    next(part for part in datasets_of(cfg, "train_dataloader") if "shards" in part).reduce_zero_label = True
    with pytest.raises(ValueError, match="reduce_zero_label=True would shift"):
        check_data(cfg)


def test_missing_data_is_named(tmp_path, data):
    with pytest.raises(ValueError, match=f"no such folder: {tmp_path}/none/train/images"):
        check_data(load_config(REAL, data_root=tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="none"):
        check_data(load_config(MIXED, data_root=data["camvid"][0], shards=tmp_path / "none"))
    root = write_data_set(tmp_path / "data", space_of(REAL))
    (root / "train" / "labels" / "003.png").unlink()
    with pytest.raises(ValueError, match=r"1 images in .*train/images have no label map .* such as 003"):
        check_data(load_config(REAL, data_root=root))


def test_png_images_are_found(tmp_path):
    root = write_data_set(tmp_path, space_of(REAL))
    for file in (root / "test" / "images").iterdir():
        file.rename(file.with_suffix(".png"))
    cfg = load_config(REAL, data_root=root)
    check_data(cfg)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 2
    (root / "test" / "images" / "one.jpg").touch()
    with pytest.raises(ValueError, match="images of one kind"):
        check_data(cfg)


def test_options_are_read_as_mmengine_reads_them():
    assert parse_options(["a.b=1", "c=[1,2]", "d=x"]) == {"a.b": 1, "c": [1, 2], "d": "x"}
    assert parse_options([]) == {}
    with pytest.raises(ValueError, match="'nonsense'"):
        parse_options(["nonsense"])

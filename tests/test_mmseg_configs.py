"""The shipped configs build, their kinds differ in the training set alone, and wrong data is named."""

import ast
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
from mmseg_data import write_data_set, write_official, write_shards

from augment.mmseg.backbone import EfficientNetLite0
from augment.mmseg.classes import metainfo_of
from augment.mmseg.config import check_data, datasets_of, load_config, parse_options
from augment.mmseg.initial_weights import without_initial_weights
from dpsims.audit import Auditor
from dpsims.labels import LabelSpace, find_label_space
from dpsims.pretrained import efficientnet_lite0_weights

FOLDER = Path(__file__).parents[1] / "configs" / "segmenters"
ON_THE_FLY = sorted(FOLDER.glob("*_on_the_fly.py"))  # these need a generator: test_mmseg_paint.py
CONFIGS = sorted({*FOLDER.glob("*.py")} - {*ON_THE_FLY})
GENERIC, OFFICIAL = ("camvid", "streets", "generic"), ("ade20k", "cityscapes", "coco_stuff")
MODEL_NAMES = {  # with their millions of parameters, for three classes
    "efficientnet_lite0_fpn": 3.4,
    "segformer_b0": 3.7,
    "segformer_b2": 24.7,
    "segformer_b4": 61.4,
    "upernet_convnext_tiny": 60.1,
    "deeplabv3plus_r50": 43.6,
    "mask2former_r50": 44.0,
}
REAL = FOLDER / "efficientnet_lite0_fpn_camvid_real.py"
MIXED = FOLDER / "efficientnet_lite0_fpn_camvid_mixed.py"
SYNTHETIC = FOLDER / "efficientnet_lite0_fpn_camvid_synthetic.py"


@pytest.fixture(scope="module", autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A data set and shards of its classes, for each of the configs' data sets."""
    root = tmp_path_factory.mktemp("data")
    generic = {name: space_of(FOLDER / "_base_" / "datasets" / f"{name}.py") for name in ("camvid", "streets")}
    generic["generic"] = LabelSpace(("sky", "road", "car"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    made = {}
    for name, space in generic.items():
        made[name] = write_data_set(root / name / "data", space), root / name / "shards"
        write_shards(made[name][1], space)
    for name in OFFICIAL:
        made[name] = write_official(name, root / name / "data"), root / name / "shards"
        write_shards(made[name][1], find_label_space(name, root))
    return made


def space_of(config: Path) -> LabelSpace:
    metainfo = Config.fromfile(config).metainfo
    return LabelSpace(metainfo["classes"], tuple(tuple(colour) for colour in metainfo["palette"]))


def data_of(file: Path) -> str:
    return next(name for name in (*GENERIC, *OFFICIAL) if f"_{name}_" in file.name)


def load(file: Path, data: dict[str, tuple[Path, Path]]) -> Config:
    """Checked, with root and shards."""
    root, shards = data[data_of(file)]
    cfg = load_config(file, data_root=root, shards=None if file.stem.endswith("real") else shards)
    check_data(cfg)
    return cfg


def test_there_is_every_model_for_every_data_set():
    names = {f"{m}_{d}_{k}" for m in MODEL_NAMES for d in ("camvid", "generic", *OFFICIAL) for k in ("real", "mixed")}
    names |= {f"{m}_streets_{k}" for m in ("efficientnet_lite0_fpn", "segformer_b0") for k in ("real", "mixed")}
    names |= {f"efficientnet_lite0_fpn_{d}_synthetic" for d in ("camvid", "streets")}
    assert {file.stem for file in CONFIGS} == names


@pytest.mark.parametrize("file", [file for file in CONFIGS if "mixed" not in file.name], ids=lambda file: file.stem)
def test_config_fits_its_data(file, data):
    """In all that can be seen without the model: heads, crops, data sets."""
    cfg = load(file, data)
    name = data_of(file)
    space = find_label_space(name if name in OFFICIAL else None, data[name][0])
    assert tuple(metainfo_of(next(datasets_of(cfg, "val_dataloader")))["classes"]) == space.classes
    heads = [cfg.model[name] for name in ("decode_head", "auxiliary_head") if name in cfg.model]
    assert [head.num_classes for head in heads] == [space.num_classes] * len(heads)
    for head in heads:
        if "loss_decode" in head:
            assert head.loss_decode.avg_non_ignore
        else:
            assert head.loss_cls.class_weight == [1.0] * space.num_classes + [0.1]
    assert cfg.model.data_preprocessor.size == cfg.crop_size
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == (6 if name in GENERIC and "synthetic" not in file.name else 4)
    channels, height, width = dataset[len(dataset) - 1]["inputs"].shape
    assert channels == 3 and height <= cfg.crop_size[0] and width <= cfg.crop_size[1]  # padded in the batch
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert len(DATASETS.build(loader.dataset)) == 2


@pytest.mark.parametrize("name", [*GENERIC, *OFFICIAL])
def test_a_mixed_batch_is_half_synthetic(name, data):
    model = "efficientnet_lite0_fpn" if name == "streets" else "segformer_b2"
    cfg = load(FOLDER / f"{model}_{name}_mixed.py", data)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    real = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    mixed = HOOKS.build(cfg.custom_hooks[0]).mixed(real, cfg, seed=0, device=torch.device("cpu"))
    assert len(mixed.dataset) == len(real.dataset) + 4
    synthetic = ["tar#" in sample.img_path for sample in next(iter(mixed))["data_samples"]]
    assert sum(synthetic) * 2 == len(synthetic) == cfg.train_dataloader.batch_size


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_model_builds_without_network(name, data):
    cfg = load(FOLDER / f"{name}_generic_real.py", data)
    model = MODELS.build(without_initial_weights(cfg.model))
    assert model.decode_head.num_classes == 3
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(MODEL_NAMES[name], abs=0.1)


@pytest.mark.parametrize("file", [file for file in CONFIGS if "mixed" in file.name], ids=lambda file: file.stem)
def test_mixed_is_its_real_sibling_and_one_line(file):
    _, bases = ast.parse(file.read_text()).body  # after the docstring
    assert ast.unparse(bases) == f"_base_ = ['{file.name.replace('mixed', 'real')}', '_base_/mixed.py']"


@pytest.mark.parametrize("name", [*GENERIC, *OFFICIAL])
def test_mixed_differs_in_its_training_set_alone(name):
    mixed, real = (Config.fromfile(FOLDER / f"segformer_b0_{name}_{kind}.py") for kind in ("mixed", "real"))
    assert {key for key in {*mixed, *real} if mixed.get(key) != real.get(key)} == {"custom_hooks"}


@pytest.mark.parametrize("file", [file for file in CONFIGS if "synthetic" in file.name], ids=lambda file: file.stem)
def test_synthetic_differs_in_its_training_set_alone(file):
    synthetic = Config.fromfile(file)
    real = Config.fromfile(file.with_name(file.name.replace("synthetic", "real")))
    assert {key for key in {*synthetic, *real} if synthetic.get(key) != real.get(key)} == {"train_dataloader"}
    loader, plain = synthetic.train_dataloader, real.train_dataloader
    assert {key for key in {*loader, *plain} if loader.get(key) != plain.get(key)} == {"dataset"}
    assert loader.dataset.pipeline == plain.dataset.pipeline


def test_a_generic_config_takes_its_classes_from_the_root(data):
    root = data["generic"][0]
    cfg = load_config(FOLDER / "deeplabv3plus_r50_generic_real.py", data_root=root)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.data_root == str(root)
        assert loader.dataset.metainfo == {"classes": ("sky", "road", "car"), "palette": [[0] * 3, [1] * 3, [2] * 3]}
    with pytest.raises(ValueError, match=r"generic_real\.py is for any data set .* --data-root names its root"):
        load_config(FOLDER / "deeplabv3plus_r50_generic_real.py")
    with pytest.raises(ValueError, match=r"meta\.json is missing: it names the classes"):
        load_config(FOLDER / "deeplabv3plus_r50_generic_real.py", data_root=root / "train")


def test_an_official_data_set_that_lacks_something_is_named(tmp_path, data):
    config = FOLDER / "segformer_b0_cityscapes_mixed.py"
    with pytest.raises(ValueError, match=r"no such folder: .*none/leftImg8bit/train"):
        check_data(load_config(config, data_root=tmp_path / "none"))
    root = shutil.copytree(data["cityscapes"][0], tmp_path / "cityscapes")
    with pytest.raises(ValueError, match=r"shards in .* have the classes"):
        check_data(load_config(config, data_root=root, shards=data["ade20k"][1]))
    for file in root.rglob("*_labelTrainIds.png"):
        file.unlink()
    message = (
        r"4 images in .*train have no label map in .*, such as .*TrainIds.png; mmseg's .*/cityscapes.py makes them"
    )
    with pytest.raises(ValueError, match=message):
        check_data(load_config(config, data_root=root))


def test_official_sizes_and_lengths_come_from_the_environment(monkeypatch):
    for name, value in {"SEG_HEIGHT": "64", "SEG_WIDTH": "128", "SEG_ITERS": "300", "SEG_BATCH": "3"}.items():
        monkeypatch.setenv(name, value)
    cfg = Config.fromfile(FOLDER / "segformer_b2_cityscapes_real.py")
    assert cfg.model.data_preprocessor.size == cfg.train_dataloader.dataset.pipeline[3].crop_size == (64, 128)
    assert cfg.train_dataloader.dataset.pipeline[2].scale == cfg.val_dataloader.dataset.pipeline[1].scale == (256, 128)
    assert cfg.train_dataloader.batch_size == 3
    assert cfg.train_cfg == {"type": "IterBasedTrainLoop", "max_iters": 300, "val_interval": 30}
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == 30


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


@pytest.mark.parametrize("kind", ["absent", "endings", "capitals", "translated"])
def test_what_is_refused_is_what_the_audit_warns_of(kind, tmp_path, data):
    """tools/check_data.py says it before the GAN is trained, in dpsims, which knows no segmenters."""
    root = shutil.copytree(data["generic"][0], tmp_path / "data")
    config = FOLDER / "segformer_b0_generic_real.py"
    assert not refused(config, root) and not {"absent", "endings", "translated"} & warnings(root)
    if kind == "absent":
        shutil.rmtree(root / "test")
    elif kind == "endings":
        (root / "train/images/001.jpg").rename(root / "train/images/001.png")
    elif kind == "capitals":
        (root / "val/labels/001.png").rename(root / "val/labels/001.PNG")
    else:
        meta = json.loads((root / "meta.json").read_text())
        (root / "meta.json").write_text(json.dumps(meta | {"raw_to_id": {str(id): id for id in (0, 1, 2, 255)}}))
    assert refused(config, root) and ("endings" if kind == "capitals" else kind) in warnings(root)


def refused(config: Path, root: Path) -> bool:
    try:
        check_data(load_config(config, data_root=root))
    except ValueError:
        return True
    return False


def warnings(root: Path) -> set[str]:
    """Kinds of what an audit that passes finds."""
    options = dict(layout="generic", height=32, width=32, instances=False, threads=1)
    audit = Auditor(root=root, space=find_label_space(None, root), **options).run(["train", "val"])
    assert audit.passed
    return {problem.kind for problem in audit.problems}


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


def test_hidden_files_are_no_images(tmp_path):
    root = write_data_set(tmp_path, space_of(REAL))
    for name in ("._000.jpg", ".cover.png"):
        (root / "test" / "images" / name).touch()
    cfg = load_config(REAL, data_root=root)
    check_data(cfg)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 2


def test_options_are_read_as_mmengine_reads_them():
    assert parse_options(["a.b=1", "c=[1,2]", "d=x"]) == {"a.b": 1, "c": [1, 2], "d": "x"}
    assert parse_options([]) == {}
    with pytest.raises(ValueError, match="'nonsense'"):
        parse_options(["nonsense"])

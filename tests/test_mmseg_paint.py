"""Images painted for the batch: real label maps, perturbed and painted, at their share, and the same after a resume."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules
from mmseg_data import write_data_set
from mmseg_run import Watch, streets_space
from mmseg_run import train as train_config
from PIL import Image
from test_mmseg_scorer import nearest_colour

from augment.filter.rules import reject
from augment.mmseg.config import check_data, load_config
from augment.mmseg.paint import PaintSynthetic, painted_pipeline, raw_to_id, real_label_maps
from augment.mmseg.segmenter_filter import SegmenterScorer
from dpsims.generator import Generator
from dpsims.labels import LabelSpace, default_palette, encode_label_png
from dpsims.sample import load_generator, noise, sample_seed, save_generator, to_uint8

SIZE = {"height": 32, "width": 64}
TINY = {"z_dim": 8, "cond_channels": 8, "channel_base": 2, "spade_hidden": 8, "attention_size": 16, "gate_init": 1.0}
CPU = torch.device("cpu")
PACK = {"type": "PackSegInputs"}
LOADING = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data set, and a generator of its classes."""
    register_all_modules(init_default_scope=True)
    root, space = tmp_path_factory.mktemp("data"), streets_space()
    architecture = {"num_classes": space.num_classes, **SIZE, **TINY}
    (root / "gan").mkdir()
    torch.manual_seed(0)
    save_generator(root / "gan", Generator(**architecture), architecture, space, {"images_seen": 1})
    return write_data_set(root / "data", space), root / "gan"


def train(data: tuple[Path, Path], out: Path, **options: object) -> Watch:
    places = {"generator": data[1]}
    return train_config("efficientnet_lite0_fpn_streets_on_the_fly.py", data[0], out, places=places, **options)


def real_data(root: Path, space: LabelSpace, **options: object) -> BaseSegDataset:
    prefix = {"img_path": "train/images", "seg_map_path": "train/labels"}
    metainfo = {"classes": space.classes, "palette": [list(colour) for colour in space.palette]}
    given = {"data_root": str(root), "data_prefix": prefix, "metainfo": metainfo, "pipeline": [*LOADING, PACK]}
    return DATASETS.build({"type": "BaseSegDataset", **given, **options})


def test_painted_for_the_batch_by_schedule_and_the_same_after_a_resume(data, tmp_path):
    schedule = {"share": 1, "schedule": "linear", "end": 0, "until": 4, "perturb": "light"}
    whole = train(data, tmp_path / "whole", iterations=5, **schedule)
    assert whole.count("~") == [4, 3, 2, 1, 0]
    names = [name for batch in whole.batches for name in batch if "~" in name]
    assert sorted(names[:6]) == [f"{number:03d}~0" for number in range(6)]  # pass by pass
    assert len(set(names)) == 10 and all(name.endswith("~1") for name in names[6:])

    first = train(data, tmp_path / "stopped", iterations=5, stop=2, **schedule)
    rest = train(data, tmp_path / "stopped", iterations=5, **schedule)
    assert first.batches + rest.batches == whole.batches


def test_a_loss_weight_counts_painted_pixels_so_much(data, tmp_path):
    losses = []
    for weight in (1, 0.25):
        out = tmp_path / str(weight)
        losses += train(data, out, iterations=2, share=1, loss_weight=weight, seed=1).losses[:1]
    assert losses[1] == pytest.approx(losses[0] / 4, rel=1e-5)


def test_a_painted_sample_is_what_the_generator_makes_of_the_label_map(data):
    hook = PaintSynthetic(str(data[1]), precision="fp32", seed=7)
    part = hook.synthetic_part(real_data(data[0], streets_space()), [*LOADING, PACK], CPU)
    assert len(part) == 6
    batch = hook.paint({"inputs": ["real", part[6 + 2]["inputs"]], "data_samples": ["real", None]})
    assert batch["inputs"][0] == batch["data_samples"][0] == "real"
    image, sample = batch["inputs"][1], batch["data_samples"][1]

    label_map = np.array(Image.open(data[0] / "train/labels/002.png"))[16:48]  # the middle
    z = noise([sample_seed(7, "002", 1)], TINY["z_dim"])
    with torch.no_grad():
        wanted = to_uint8(load_generator(data[1]).generator(torch.from_numpy(label_map)[None].long(), z))[0]  # RGB
    assert (image.flip(0).permute(1, 2, 0).int() - wanted.int()).abs().max() <= 1
    assert torch.equal(sample.gt_sem_seg.data[0], torch.from_numpy(label_map).long())
    assert sample.img_path == "painted://002~1"


def test_wrong_pixels_are_rejected_by_the_limits_of_a_filter(tmp_path):
    space = LabelSpace(("sky", "road", "car"), default_palette(3))
    root = write_data_set(tmp_path / "data", space)
    architecture = {"num_classes": 3, **SIZE, **TINY}
    for folder in ("gan", "filter"):
        (tmp_path / folder).mkdir()
    save_generator(tmp_path / "gan", Generator(**architecture), architecture, space, {"images_seen": 1})
    config, checkpoint = nearest_colour(tmp_path)
    scorer = SegmenterScorer(str(config), checkpoint, space, CPU)
    limits = {"sky": 1.2, "road": 0.3, "car": None}
    settings = {**scorer.describe(), "window": 1}
    summary = {"classes": space.classes, "limits": limits, "origin": scorer.origin(), "settings": settings}
    (tmp_path / "filter" / "filter.json").write_text(json.dumps(summary))

    raw, filtered = (
        PaintSynthetic(str(tmp_path / "gan"), decisions=decisions) for decisions in (None, str(tmp_path / "filter"))
    )
    found = []
    for hook in (raw, filtered):
        part = hook.synthetic_part(real_data(root, space), [*LOADING, PACK], CPU)
        batch = hook.paint({"inputs": [part[2]["inputs"]], "data_samples": [None]})
        found.append((batch["inputs"][0], batch["data_samples"][0].gt_sem_seg.data[0].byte().numpy()))
    (image, before), (same, after) = found
    assert torch.equal(image, same)
    losses, _ = scorer.score([image.flip(0).permute(1, 2, 0).numpy()], [before])  # RGB
    assert np.array_equal(after, reject(losses[0], before, np.array([1.2, 0.3, np.inf])))
    gone = [((before == label) & (after == 255)).mean() for label in range(3)]
    assert gone[0] > 0 and gone[1] > 0 and gone[2] == 0


def test_versions_are_functions_of_seed_and_number(data):
    hook = PaintSynthetic(str(data[1]), perturb="light", seed=1)
    part, again = (hook.synthetic_part(real_data(data[0], streets_space()), [*LOADING, PACK], CPU) for _ in range(2))
    versions = [part[3 + 6 * version]["inputs"] for version in range(4)]
    assert len({it.seed for it in versions}) == 4
    assert len({it.label_map.tobytes() for it in versions}) > 1
    for version, sample in enumerate(versions):
        other = again[3 + 6 * version]["inputs"]
        assert other.seed == sample.seed and np.array_equal(other.label_map, sample.label_map)


@pytest.mark.parametrize(("raw", "options"), [((0, 1, 2, 255), {}), ((0, 1, 2, 3, 255), {"reduce_zero_label": True})])
def test_files_are_read_as_mmseg_reads_them(raw, options, tmp_path):
    space = LabelSpace(("a", "b", "c"), default_palette(3))
    root = write_data_set(tmp_path, space, images=1)
    label_map = np.random.default_rng(0).choice(raw, (64, 64)).astype(np.uint8)
    (root / "train/labels/000.png").write_bytes(encode_label_png(label_map))
    real = real_data(root, space, **options)
    (source,) = real_label_maps(real)
    assert source.source_key == "000"
    assert (raw_to_id(real, 3) is None) == (not options)
    read = source.read(LabelSpace(space.classes, space.palette, raw_to_id(real, 3)))
    assert np.array_equal(read, real[0]["data_samples"].gt_sem_seg.data[0].numpy())


def test_classes_that_a_config_leaves_out_are_ignored(data):
    real = real_data(data[0], streets_space())
    real.get_data_info = lambda index: {"reduce_zero_label": False, "label_map": {0: 1, 1: 255, 2: 0}}
    assert raw_to_id(real, 2) == {0: 1, 1: 255, 2: 0, 255: 255}


def test_other_label_maps_than_those_of_the_real_data(data, tmp_path):
    space = streets_space()
    others = write_data_set(tmp_path / "others", space, images=3)
    hook = PaintSynthetic(str(data[1]), labels=str(others / "train"))
    part = hook.synthetic_part(real_data(data[0], space), [*LOADING, PACK], CPU)
    assert len(part) == 3
    wanted = np.array(Image.open(others / "train/labels/001.png"))[16:48]
    assert np.array_equal(part[3 + 1]["inputs"].label_map, wanted)
    with pytest.raises(ValueError, match="2 of 2 label maps are of the val split"):
        PaintSynthetic(str(data[1]), labels=str(others / "val")).synthetic_part(
            real_data(data[0], space), [*LOADING, PACK], CPU
        )


def test_errors(data, tmp_path):
    with pytest.raises(ValueError, match="a pipeline begins with LoadImageFromFile and LoadAnnotations"):
        painted_pipeline([{"type": "LoadImageFromFile"}, {"type": "RandomFlip"}])
    other = LabelSpace(("a", "b"), default_palette(2))
    real = real_data(write_data_set(tmp_path, other), other)
    with pytest.raises(ValueError, match="the images of .*gan have the classes"):
        PaintSynthetic(str(data[1])).synthetic_part(real, [*LOADING, PACK], CPU)

    config = Path(__file__).parents[1] / "configs/segmenters/efficientnet_lite0_fpn_streets_on_the_fly.py"
    with pytest.raises(ValueError, match="no snapshot here: nowhere is missing"):
        check_data(load_config(config, data_root=data[0], generator=Path("nowhere")))
    cfg = load_config(config, data_root=data[0], generator=data[1])
    check_data(cfg)
    cfg.custom_hooks[0].perturb = "nothing"
    with pytest.raises(ValueError, match="no perturbation is called 'nothing'"):
        check_data(cfg)
    with pytest.raises(ValueError, match="--generator x: .*real.py has no use for it; use its `_on_the_fly` sibling"):
        load_config(config.with_name("efficientnet_lite0_fpn_streets_real.py"), generator=Path("x"))

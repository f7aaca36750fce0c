"""Train on synthetic, test on real: equal images give equal scores, a stopped call goes on, and leaks are refused."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmseg_data import write_data_set, write_shards

from augment.mmseg.checkpoint import save_plain_checkpoints
from augment.mmseg.evaluate import score_each_class
from augment.mmseg.light_config import light_config
from augment.mmseg.train_on_synthetic import Training, arm_config, check_settings, train_and_test, train_arm
from augment.record import Record
from augment.shards import Sample, open_manifest, read_stats, total_of, write_manifest, write_shard
from dpsims.labels import LabelSpace, default_palette

CONFIGS = Path(__file__).parents[1] / "configs" / "segmenters"
SPACE = LabelSpace(("sky", "road", "car"), default_palette(3))
SIZE = {"height": 32, "width": 64, "batch_size": 2, "workers": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("real"), SPACE)


def pack_into_shards(split: Path, folder: Path, source_split: str = "train") -> Path:
    """A split's own images, byte for byte, as a folder of shards."""
    description = {"label_space": SPACE.to_meta(), "generator_sha256": "0" * 64, "plan": {}}
    open_manifest(folder, description)
    samples = []
    for index, image in enumerate(sorted((split / "images").iterdir())):
        record = Record(f"00000{index:04d}", 0, image.stem, source_split, 0, seed=index)
        label_map = (split / "labels" / f"{image.stem}.png").read_bytes()
        members = {"jpg": image.read_bytes(), "seg.png": label_map, "json": b"{}"}
        samples.append(Sample(record, members=members, class_pixels=(0, 0, 0)))
    write_shard(folder, 0, samples, SPACE.num_classes)
    write_manifest(folder, description, total_of([read_stats(folder, 0)]))
    return folder


def test_config_is_the_shipped_one_for_other_classes_without_validation(monkeypatch):
    sizes = {"SEG_HEIGHT": "64", "SEG_WIDTH": "160", "SEG_BATCH": "3", "SEG_ITERS": "5000"}
    for name, value in sizes.items():
        monkeypatch.setenv(name, value)
    shipped = Config.fromfile(CONFIGS / "efficientnet_lite0_fpn_camvid_real.py")
    for name in sizes:
        monkeypatch.delenv(name)
    space = LabelSpace(shipped.metainfo["classes"], tuple(tuple(colour) for colour in shipped.metainfo["palette"]))
    numbers = {"height": 64, "width": 160, "batch_size": 3, "iterations": 5000, "workers": 2}
    ours = light_config(space, Path("data/camvid"), **numbers).to_dict()
    shipped.val_dataloader = shipped.val_cfg = shipped.val_evaluator = None
    shipped.default_hooks.checkpoint.save_best = None
    shipped.test_dataloader.num_workers = 2
    assert ours == shipped.to_dict()

    shards = light_config(space, Path("data/camvid"), **numbers, shards=Path("shards")).to_dict()
    synthetic = Config.fromfile(CONFIGS / "efficientnet_lite0_fpn_camvid_synthetic.py").to_dict()
    del synthetic["train_dataloader"]["dataset"]["decisions"]  # these shards are not filtered
    assert {key for key in ours if ours[key] != shards[key]} == {"train_dataloader"}
    assert shards["train_dataloader"]["dataset"].keys() == synthetic["train_dataloader"]["dataset"].keys()
    assert shards["train_dataloader"]["dataset"]["pipeline"] == ours["train_dataloader"]["dataset"]["pipeline"]


def test_label_maps_in_other_ids_are_refused(root, tmp_path):
    """The generator would be given their ids as they are, and so would the segmenter."""
    other = shutil.copytree(root, tmp_path / "other")
    for change in ({"ignore_index": 200}, {"raw_to_id": {"0": 255, "1": 0, "2": 1, "3": 2}}):
        (other / "meta.json").write_text(json.dumps(SPACE.to_meta() | change))
        with pytest.raises(ValueError, match="meta.json: mmseg configs read label maps whose ignore_index is 255"):
            arm_config(Training(other, iterations=3, **SIZE))


def test_shards_of_the_real_images_score_as_these_and_nothing_is_trained_twice(root, tmp_path):
    shards = pack_into_shards(root / "train", tmp_path / "shards")
    out, training = tmp_path / "out", Training(root, iterations=3, **SIZE)
    synthetic = train_arm(training, out / "a", shards, seeds=(0, 5))
    real = train_arm(training, out / "b", seeds=(0, 5))
    scores = ("mIoU", "mIoU_std", "mIoU_of_seeds", "IoU")
    assert {key: synthetic[key] for key in scores} == {key: real[key] for key in scores}
    assert list(real["IoU"]) == list(SPACE.classes)
    one, other = real["mIoU_of_seeds"]
    assert one != other
    assert real["mIoU"] == pytest.approx((one + other) / 2)
    assert real["mIoU_std"] == pytest.approx(abs(one - other) / 2**0.5)
    assert synthetic["images"] == real["images"] == {"train": 6, "test": 2}
    assert (real["iterations"], real["seeds"], real["height"], real["width"]) == (3, [0, 5], 32, 64)
    assert json.loads((out / "b" / "scores.json").read_text()) == real
    meta = torch.load(out / "a" / "synthetic-seed5" / "iter_3.pth", weights_only=True)["meta"]
    assert (meta["iter"], meta["seed"]) == (3, 5)

    # Killed between training and test: the weights are tested again, and no other arm or seed is looked at.
    (out / "b" / "real-seed5" / "test.json").unlink()
    times = {file: file.stat().st_mtime_ns for file in out.glob("*/*/*.*")}
    assert train_arm(training, out / "a", shards, seeds=(0, 5)) == synthetic
    assert train_arm(training, out / "b", seeds=(0, 5)) == real
    changed = {file.parent.name for file, time in times.items() if file.stat().st_mtime_ns != time}
    assert changed <= {"real-seed5"}
    for log in out.glob("*/*-seed*"):  # each in a folder of its own
        assert len(list(log.glob("*/vis_data/scalars.json"))) == 1
    only = train_arm(training, out / "b", seeds=(5,))
    assert only["mIoU"] == other and only["mIoU_std"] is None

    longer = Training(root, iterations=4, **SIZE)
    message = r"made with other settings \(iterations: 3 → 4\); choose another folder"
    with pytest.raises(ValueError, match=message):
        train_arm(longer, out / "b")
    with pytest.raises(ValueError, match=message):
        check_settings(out / "b", longer.settings(None))
    check_settings(out / "b", training.settings(None))


def test_segmenters_are_trained_on_the_device_that_is_asked_for(root, tmp_path, monkeypatch):
    monkeypatch.setattr("mmengine.runner.runner.get_device", lambda: "meta")  # what mmengine would choose
    training = Training(root, iterations=2, **SIZE)
    with pytest.raises(NotImplementedError, match="meta"):  # by torch: without a device the choice is mmengine's
        train_arm(training, tmp_path / "theirs")
    train_arm(training, tmp_path / "ours", device=torch.device("cpu"))
    (tmp_path / "ours" / "real-seed0" / "test.json").unlink()
    train_arm(training, tmp_path / "ours", device=torch.device("cpu"))  # from its checkpoint


def test_scores_of_files_that_have_changed_since_are_refused(tmp_path):
    root = write_data_set(tmp_path / "real", SPACE)
    shards = pack_into_shards(root / "train", tmp_path / "shards")
    training = Training(root, iterations=2, **SIZE)
    train_arm(training, tmp_path / "a", shards)
    train_arm(training, tmp_path / "b")
    (root / "train" / "images" / "000.jpg").write_bytes((root / "train" / "images" / "001.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"b was made with other settings \(files_sha256\.train: '[^;]*'\)"):
        train_arm(training, tmp_path / "b")
    train_arm(training, tmp_path / "a", shards)  # sees none of these
    (root / "test" / "labels" / "000.png").write_bytes((root / "test" / "labels" / "001.png").read_bytes())
    with pytest.raises(ValueError, match=r"a was made with other settings \(files_sha256\.test: '[^;]*'\)"):
        train_arm(training, tmp_path / "a", shards)
    other = pack_into_shards(root / "train", tmp_path / "others")
    with pytest.raises(ValueError, match=r"files_sha256\.test: .*; shards_sha256: '[^;]*'\)"):
        train_arm(training, tmp_path / "a", other)


NOTED: list[int] = []


@HOOKS.register_module()
class NoteIterations(Hook):
    """Notes each iteration, and stops the run after some of them as a kill does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after

    def after_train_iter(self, runner: object, batch_idx: int, **kwargs: object) -> None:
        NOTED.append(runner.iter)
        if len(NOTED) == self.stop_after:
            raise KeyboardInterrupt


def test_a_stopped_training_goes_on_from_its_checkpoint(root, tmp_path):
    cfg = light_config(SPACE, root, iterations=6, **SIZE)
    cfg.default_hooks.checkpoint.interval = 2
    save_plain_checkpoints(cfg)
    score_each_class(cfg)
    hooks = cfg.custom_hooks
    stopped = copy.deepcopy(cfg)
    stopped.custom_hooks = [*hooks, {"type": "NoteIterations", "stop_after": 4, "priority": "VERY_HIGH"}]
    with pytest.raises(KeyboardInterrupt):
        train_and_test(stopped, tmp_path / "real-seed0", 0)
    assert NOTED == [0, 1, 2, 3]  # the checkpoint of the fourth was not written any more
    cfg.custom_hooks = [*hooks, {"type": "NoteIterations"}]
    scores = train_and_test(cfg, tmp_path / "real-seed0", 0)
    assert NOTED == [0, 1, 2, 3, 2, 3, 4, 5]
    assert scores["images"] == 2 and scores["checkpoint"].endswith("iter_6.pth")


def test_what_makes_no_sense_is_refused_before_anything_is_trained(root, tmp_path):
    shards = pack_into_shards(root / "train", tmp_path / "shards")

    def refused(message: str, shards: Path = shards, root: Path = root, **changed: object) -> None:
        seeds = changed.pop("seeds", (0,))
        with pytest.raises(ValueError, match=message):
            train_arm(Training(root, **{"iterations": 3, **SIZE, **changed}), tmp_path / "out", shards, seeds=seeds)
        assert not (tmp_path / "out").exists()

    refused("at least 2 iterations, not 1", iterations=1)
    refused("batch size is at least 1, not 0", batch_size=0)
    refused(r"different numbers, not \[1, 1\]", seeds=(1, 1))
    refused("cannot be tested on what it is trained on", train_split="test")
    refused("not in the generic layout", root=tmp_path)
    refused("no such folder: .*/night/images", test_split="night")
    leak = pack_into_shards(root / "test", tmp_path / "leak", source_split="test")
    refused("2 of 2 samples in .*leak were made from label maps of the test split", shards=leak)
    other = LabelSpace(("sky", "car", "road"), default_palette(3))
    write_shards(tmp_path / "other", other)
    refused("label maps in .* have the classes", shards=tmp_path / "other")

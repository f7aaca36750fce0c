"""A segmenter as a filter's scorer, by hand; and a filter laid over shards in training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from filter_shards import ByColour, run, write_planted
from mmengine.config import Config
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from test_mmseg_scorer import COLOURS, SPACE, labels, nearest_colour, paint

from augment.filter.rules import SampleRules
from augment.filter.run import kept_keys, read_decisions
from augment.mmseg.config import load_config
from augment.mmseg.mix import MixSynthetic
from augment.mmseg.segmenter_filter import SegmenterScorer, find_checkpoint, open_again, sums_masks
from augment.mmseg.shard_dataset import ShardSegDataset, index_shards
from augment.shards import read_member, read_rows
from dpsims.labels import LabelSpace, default_palette


def by_hand(image: np.ndarray, names: tuple[str, ...], name: str) -> np.ndarray:
    """-log softmax of 2 c·x - |c|² at one class: what `nearest_colour` computes."""
    x = image / 127.5 - 1
    colours = np.array([COLOURS[it] for it in names]) / 127.5 - 1
    logits = 2 * x @ colours.T - (colours**2).sum(axis=1)
    return np.log(np.exp(logits).sum(axis=-1)) - logits[..., names.index(name)]


def scorer_of(folder: Path, names: tuple[str, ...]) -> SegmenterScorer:
    config, checkpoint = nearest_colour(folder, names)
    return SegmenterScorer(str(config), checkpoint, SPACE, torch.device("cpu"))


def test_losses_by_hand(tmp_path):
    image, label_map = paint("ssr", "crc"), labels([0, 1, 1], [2, 255, 0])
    losses, fake = scorer_of(tmp_path, SPACE.classes).score([image, image], [label_map, label_map])
    assert fake is None and losses.shape == (2, 2, 3)
    for row, column in np.argwhere(label_map != 255):
        name = SPACE.classes[label_map[row, column]]
        assert losses[0, row, column] == pytest.approx(by_hand(image, SPACE.classes, name)[row, column], rel=1e-4)
    assert losses[0, 1, 1] == 0 and np.array_equal(losses[0], losses[1])


def test_classes_are_matched_by_name_and_all_of_the_segmenters_compete(tmp_path):
    names = ("car", "building", "sky", "road")
    image, label_map = paint("sb", "rc"), labels([0, 0], [1, 2])
    losses, _ = scorer_of(tmp_path, names).score([image], [label_map])
    for row, column in np.ndindex(2, 2):
        name = SPACE.classes[label_map[row, column]]
        assert losses[0, row, column] == pytest.approx(by_hand(image, names, name)[row, column], rel=1e-4)
    assert losses[0, 0, 1] > losses[0, 0, 0]  # a building where the label map says sky


def test_sums_of_masks_stand_for_probabilities_by_their_shares(tmp_path):
    scorer = scorer_of(tmp_path, SPACE.classes)
    scorer.sums_masks = True
    sums = torch.tensor([3.0, 1.0, 0.0]).view(3, 1, 1).expand(3, 1, 2)
    found = scorer.losses(sums, torch.tensor([[0, 2]]))
    assert found[0, 0] == pytest.approx(-np.log(0.75)) and found[0, 1] > 15


def test_a_head_of_one_channel_is_refused(tmp_path):
    config, checkpoint = nearest_colour(tmp_path)
    config.write_text(config.read_text() + 'model["decode_head"].update(num_classes=2, out_channels=1, threshold=0.3)')
    state = {"decode_head.conv_seg.weight": torch.zeros(1, 3, 1, 1), "decode_head.conv_seg.bias": torch.zeros(1)}
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": ("sky", "road")}}}, checkpoint)
    with pytest.raises(ValueError, match="FCNHead gives one channel for two classes"):
        SegmenterScorer(str(config), checkpoint, LabelSpace(("sky", "road"), default_palette(2)), torch.device("cpu"))


def summary_of(scorer: SegmenterScorer) -> dict:
    """What `filter.json` says of it."""
    return json.loads(json.dumps({"settings": {**scorer.describe(), "window": 1}, "origin": scorer.origin()}))


def test_it_is_opened_again_from_what_a_filter_says_of_it(tmp_path):
    scorer = scorer_of(tmp_path, SPACE.classes)
    again = open_again(summary_of(scorer), SPACE, (2, 3), torch.device("cpu"))
    assert again.describe() == scorer.describe() and again.origin() == scorer.origin()


def test_limits_are_of_the_very_network_that_they_were_measured_with(tmp_path):
    summary = summary_of(scorer_of(tmp_path, SPACE.classes))
    summary["settings"]["sha256"] = "0" * 64  # then the training went on, and wrote another one into its place
    with pytest.raises(ValueError, match=r"nearest\.pth is not what the filter has looked with \(sha256: '0+.* → "):
        open_again(summary, SPACE, (2, 3), torch.device("cpu"))


def test_a_filter_at_another_size_is_another_one(tmp_path):
    described = []
    for width in (64, 96):
        resize = f'dict(type="Resize", scale=({width}, 32), keep_ratio=False),'
        config, checkpoint = nearest_colour(tmp_path, resize=resize)
        described.append(SegmenterScorer(str(config), checkpoint, SPACE, torch.device("cpu")).describe())
    assert described[0]["sha256"] == described[1]["sha256"] and described[0] != described[1]


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        ("FPNHead", False),
        ("SegformerHead", False),
        ("PointHead", False),
        ("MaskFormerHead", True),
        ("Mask2FormerHead", True),
        ("SideAdapterCLIPHead", True),
    ],
)
def test_mask_classification_is_told_from_a_softmax(name, sums):
    """By the classes of mmseg: what is no BaseDecodeHead has no logits, and SAN, which is one, has none either."""
    kind = MODELS.get(name)
    assert sums_masks(kind.__new__(kind)) == sums


def test_the_best_checkpoint_of_a_work_dir_is_taken(tmp_path):
    for name in ("iter_10.pth", "best_mIoU_iter_5.pth"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_10.pth"))
    assert find_checkpoint(tmp_path) == tmp_path / "best_mIoU_iter_5.pth"
    (tmp_path / "best_mIoU_iter_5.pth").unlink()
    assert find_checkpoint(tmp_path) == find_checkpoint(tmp_path / "iter_10.pth") == tmp_path / "iter_10.pth"
    with pytest.raises(ValueError, match="is neither a file nor a work dir with checkpoints"):
        find_checkpoint(tmp_path / "nowhere")


# Laid over shards -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_planted(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def decisions(shards, tmp_path_factory) -> Path:
    """Rejects what was painted over, and drops the samples that look the most fake."""
    out = tmp_path_factory.mktemp("decisions")
    run(shards, out, ByColour(), SampleRules(drop_fakest=0.4))
    return out


@pytest.fixture(autouse=True)
def scope():
    register_all_modules(init_default_scope=True)


LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]


def test_only_kept_samples_are_there_with_filtered_label_maps(shards, decisions):
    kept = sorted(kept_keys(decisions, shards))
    assert 0 < len(kept) < len(list(read_decisions(decisions)))
    images = {row["key"]: row for shard in range(3) for row in read_rows(shards, shard)}
    filtered = {row["key"]: row | {"shard": shard} for shard in range(3) for row in read_rows(decisions, shard)}
    dataset = ShardSegDataset(str(shards), decisions=str(decisions), pipeline=LOAD)
    assert len(dataset) == len(kept)
    for sample, key in zip(dataset, kept, strict=True):
        expected = torch.frombuffer(bytearray(read_member(decisions, filtered[key], "seg.png")), dtype=torch.uint8)
        assert expected.numel()
        path = sample["data_samples"].metainfo
        offset, size = images[key]["members"]["png"]
        assert path["img_path"].endswith(f"#{offset}+{size}") and str(decisions) in path["seg_map_path"]
    rejected = sum(int((sample["data_samples"].gt_sem_seg.data == 255).sum()) for sample in dataset)
    assert rejected == sum(8 + filtered[key]["rejected"] for key in kept)  # a column of 8 had no label before


def test_without_decisions_and_with_none_the_shards_are_as_they_are(shards):
    assert len(ShardSegDataset(str(shards), decisions="none", pipeline=LOAD)) == len(index_shards(shards)) == 11


def test_decisions_come_from_the_environment_too(monkeypatch):
    """Under mmseg's own tools nothing else names them."""
    monkeypatch.delenv("DECISIONS", raising=False)
    for expected in ("none", "runs/filtered"):
        for name in ("mixed", "on_the_fly", "synthetic"):
            cfg = Config.fromfile(f"configs/segmenters/efficientnet_lite0_fpn_camvid_{name}.py")
            taker = cfg.train_dataloader.dataset if name == "synthetic" else cfg.custom_hooks[0]
            assert taker.get("decisions") == expected
        monkeypatch.setenv("DECISIONS", "runs/filtered")


def test_a_config_takes_decisions_by_an_option_and_refuses_those_of_other_shards(shards, decisions, tmp_path):
    config = Path("configs/segmenters/segformer_b0_streets_mixed.py").resolve()
    cfg = load_config(config, shards=shards, decisions=decisions)
    hook = next(it for it in cfg.custom_hooks if "shards" in it)
    assert hook.decisions == str(decisions)
    mixing = MixSynthetic(**{key: value for key, value in hook.items() if key != "type"})
    assert mixing.decisions == str(decisions)
    summary = json.loads((decisions / "filter.json").read_text())
    summary["settings"]["shards"]["manifest_sha256"] = "0" * 64
    other = tmp_path / "other"
    other.mkdir()
    (other / "filter.json").write_text(json.dumps(summary))
    (other / "decisions.jsonl").write_bytes((decisions / "decisions.jsonl").read_bytes())
    with pytest.raises(ValueError, match="is of other shards than those in"):
        index_shards(shards, other)
    real = config.with_name("segformer_b0_streets_real.py")
    with pytest.raises(ValueError, match="--decisions .*segformer_b0_streets_real.py has no use for it"):
        load_config(real, decisions=decisions)

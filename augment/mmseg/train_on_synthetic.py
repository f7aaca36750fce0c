"""Train on synthetic images, test on real ones: what the images are worth to a segmenter that sees no others.

    OUT/settings.json              what decides the scores; a call with other settings is refused
    OUT/{synthetic,real}-seedN/    work dir of one training
    OUT/scores.json                the result

A training counts as finished once its `test.json` is written; until then the same call goes on with it.
"""

import copy
import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev

import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint

from augment.mmseg.checkpoint import save_plain_checkpoints
from augment.mmseg.config import check_data
from augment.mmseg.evaluate import score_each_class, score_split
from augment.mmseg.light_config import light_config
from augment.mmseg.runner import BriefRunner
from augment.mmseg.shard_dataset import index_shards, read_label_space
from augment.report.scores import mean_of, read_test
from augment.shards import committed_shards, differences, read_manifest, read_rows, read_stats
from augment.sources import SPLITS
from augment.storage import write_text
from dpsims.labels import load_label_space
from dpsims.sample import file_digests


@dataclass(frozen=True)
class Training:
    """How the light segmenter is trained and tested, whatever images it is trained on.

    Nothing is chosen on real images: the last weights are tested.

    Attributes:
        data_root: real data in the generic layout.
        height, width: of the segmenter's input; the generator's.
        workers: processes that read images, per training; of no effect on the scores.

    Raises:
        ValueError: numbers that make no sense, data of another layout, or a test on the training split.
    """

    data_root: Path
    height: int
    width: int
    iterations: int
    batch_size: int = 8
    workers: int = 2
    train_split: str = "train"
    test_split: str = "test"

    def __post_init__(self) -> None:
        if self.iterations < 2:  # the first warms up
            raise ValueError(f"a training takes at least 2 iterations, not {self.iterations}")
        if self.batch_size < 1:
            raise ValueError(f"the batch size is at least 1, not {self.batch_size}")
        if self.train_split == self.test_split:
            raise ValueError(f"the segmenter cannot be tested on what it is trained on: split {self.test_split}")
        check_generic_layout(self.data_root)

    def settings(self, shards: dict | None) -> dict:
        """All that decides the scores of an arm, as far as it is known before there are shards.

        Args:
            shards: what `shards.json` says of the synthetic images, but for the totals; None for the real arm.
        """
        decisive = {key: value for key, value in asdict(self).items() if key != "workers"}
        splits = (self.test_split,) if shards else (self.train_split, self.test_split)
        content = {split: split_sha256(self.data_root, split) for split in splits}
        return {**decisive, "data_root": str(self.data_root.resolve()), "files_sha256": content, "shards": shards}


def train_arm(
    training: Training,
    out: Path,
    shards: Path | None = None,
    *,
    seeds: Sequence[int] = (0,),
    device: torch.device | None = None,
) -> dict:
    """Train the light segmenter on shards alone, or else on the real training images alone; test it on real ones.

    The same call goes on where an earlier one was stopped, and trains no finished seed again; other `seeds` may be
    asked for later.

    Args:
        out: folder for all that this writes.
        shards: made by `augment.synthesize`, from label maps of another split than the test's.
        device: to train on; None is a CUDA device if there is one.

    Returns:
        The content of `scores.json`: the settings, `images` (in `train` and `test`), `seeds`, `mIoU` and each class's
        `IoU` (means over the seeds, in percent; None for a class that is neither in the labels nor predicted),
        `mIoU_of_seeds`, and `mIoU_std`, their standard deviation (None with one seed).

    Raises:
        ValueError: seeds that make no sense, data of other classes or of the test split, or an `out` of other settings;
            before anything is trained.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds are one or more different numbers, not {list(seeds)}")
    if shards is not None:
        check_not_tested_on(shards, training.test_split)
    cfg = arm_config(training, shards)
    cfg.device = device and str(device)
    made = shards and {key: value for key, value in read_manifest(shards).items() if key != "totals"}
    loaders = {"train": cfg.train_dataloader, "test": cfg.test_dataloader}
    images = {name: count_images(loader.dataset) for name, loader in loaders.items()}
    settings = {**training.settings(made), "images": images, "shards_sha256": shards and shards_sha256(shards)}
    keep_settings(out, settings)

    arm = "synthetic" if shards else "real"
    tests = [train_and_test(cfg, out / f"{arm}-seed{seed}", seed) for seed in seeds]
    result = {**settings, "seeds": list(seeds), **mean_scores(tests)}
    write_text(out / "scores.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def arm_config(training: Training, shards: Path | None = None) -> Config:
    """The config of an arm, its data looked at."""
    space = read_label_space(shards) if shards else load_label_space(training.data_root / "meta.json")
    cfg = light_config(space, shards=shards, **vars(training))
    check_data(cfg, ("train_dataloader", "test_dataloader"))
    save_plain_checkpoints(cfg)
    score_each_class(cfg)
    return cfg


def check_generic_layout(root: Path) -> None:
    """Tell other layouts apart before a missing folder does."""
    if not (root / "meta.json").is_file():
        raise ValueError(
            f"{root} is not in the generic layout, the only one that is read here: meta.json is missing, beside "
            "{train,val,test}/{images,labels}"
        )


def check_not_tested_on(shards: Path, test_split: str) -> None:
    """Images that were made from the label maps of the test would give its scenes away to the training."""
    held_out = SPLITS.get(test_split, test_split)
    rows = [row for shard in committed_shards(shards) for row in read_rows(shards, shard)]
    leaking = sum(row["split"] == held_out for row in rows)
    if leaking:
        raise ValueError(
            f"{leaking} of {len(rows)} samples in {shards} were made from label maps of the {held_out} split, on which "
            "the segmenter is to be tested; synthesize from the training split"
        )


def split_sha256(root: Path, split: str) -> str:
    """Of a split's images and label maps, and of what their ids mean."""
    folders = (root / split / kind for kind in ("images", "labels"))
    files = [root / "meta.json", *(file for folder in folders for file in sorted(folder.iterdir()))]
    return joint_sha256([file for file in files if file.is_file()])


def joint_sha256(files: Sequence[Path]) -> str:
    """Of the content of files in this order, whatever they are called."""
    return hashlib.sha256("".join(file_digests(files)).encode()).hexdigest()


def shards_sha256(shards: Path) -> str:
    """Of all samples, by what the shards' stats say."""
    tars = (read_stats(shards, shard)["sha256"]["tar"] for shard in committed_shards(shards))
    return hashlib.sha256("".join(tars).encode()).hexdigest()


def count_images(dataset: ConfigDict) -> int:
    """Of a data set that `check_data` has looked at."""
    if "shards" in dataset:
        return len(index_shards(Path(dataset.shards)))
    folder = Path(dataset.data_root, dataset.data_prefix.img_path)
    return sum(1 for _ in folder.glob(f"*{dataset.img_suffix}"))


def check_settings(out: Path, settings: dict) -> None:
    """See that what is there already is of these settings; what they do not name is not asked."""
    file = out / "settings.json"
    if file.is_file():
        kept = json.loads(file.read_text())
        changed = differences({key: kept.get(key) for key in settings}, settings)
        if changed:
            raise ValueError(f"{out} was made with other settings ({'; '.join(changed)}); choose another folder")


def keep_settings(out: Path, settings: dict) -> None:
    """Write `settings.json`, or see that the one which is there says the same."""
    check_settings(out, settings)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "settings.json", json.dumps(settings, indent=1, ensure_ascii=False) + "\n")


def train_and_test(cfg: Config, work_dir: Path, seed: int) -> dict:
    """One segmenter from its latest checkpoint, if there is one, to its `test.json`, which is returned."""
    file = work_dir / "test.json"
    if file.is_file():
        return read_test(file)
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(work_dir)
    cfg.resume = (work_dir / "last_checkpoint").is_file()  # names a checkpoint that is complete
    cfg.randomness.seed = seed
    # mmengine keeps progress and logs in globals under these names: none may come twice in a process
    cfg.experiment_name = cfg.visualizer.name = f"{work_dir.name}-{uuid.uuid4().hex}"
    runner = BriefRunner.from_cfg(cfg)
    runner.train()
    checkpoint = find_latest_checkpoint(str(work_dir))
    return score_split(runner, "test", {"config": cfg.filename, "checkpoint": checkpoint, "seed": seed})


def mean_scores(tests: list[dict]) -> dict:
    """One arm's scores over its seeds."""
    of_seeds = [test["mIoU"] for test in tests]
    return {
        "mIoU": mean_of(of_seeds),
        "mIoU_std": stdev(of_seeds) if len(of_seeds) > 1 else None,
        "mIoU_of_seeds": of_seeds,
        "IoU": {name: mean_of(test["IoU"][name] for test in tests) for name in tests[0]["IoU"]},
    }

"""Train on synthetic images, test on real ones: what the images are worth to a segmenter that sees no others.

    OUT/settings.json              what decides the scores; a call with other settings is refused
    OUT/{synthetic,real}-seedN/    work dir of one training
    OUT/train_on_synthetic.json    the result

A training counts as finished once its `test.json` is written; until then the same call goes on with it.
"""

import copy
import json
import uuid
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import find_latest_checkpoint

from augment.mmseg.checkpoint import save_plain_checkpoints
from augment.mmseg.config import check_data
from augment.mmseg.evaluate import score_each_class, score_test_split
from augment.mmseg.light_config import light_config
from augment.mmseg.runner import BriefRunner
from augment.mmseg.shard_dataset import index_shards, read_label_space
from augment.record import SPLITS
from augment.report.scores import mean_of, read_test
from augment.shards import committed_shards, differences, read_manifest, read_rows, write_text

ARMS = ("synthetic", "real")


def train_on_synthetic(
    shards: Path,
    data_root: Path,
    out: Path,
    *,
    height: int,
    width: int,
    iterations: int = 600,
    seeds: Sequence[int] = (0,),
    batch_size: int = 8,
    workers: int = 2,
    train_split: str = "train",
    test_split: str = "test",
) -> dict:
    """Train the light segmenter on shards alone and, as the reference, on real images alone; test both on real images.

    Both arms have the same iterations and seeds, and nothing is chosen on real images: the last weights are tested. It
    trains on a CUDA device if there is one. The same call goes on where an earlier one was stopped, and trains no
    finished arm and seed again; more `seeds` may be asked for later.

    Args:
        shards: made by `augment.synthesize`, from label maps of another split than `test_split`.
        data_root: real data with the same classes, in the generic layout.
        out: folder for all that this writes.
        height, width: of the segmenter's input; the generator's.
        workers: processes that read images, per training.

    Returns:
        The content of `train_on_synthetic.json`: the settings, `images` (in the two arms' training and in the test),
        `seeds`, and in `arms` for synthetic and real `mIoU` and each class's `IoU` (means over the seeds, in percent;
        None for a class that is neither in the labels nor predicted) and `mIoU_of_seeds`.

    Raises:
        ValueError: numbers that make no sense, data of another layout, of other classes or of the test split, or an
            `out` of other settings; before anything is trained.
    """
    if iterations < 1 or batch_size < 1:
        raise ValueError(f"iterations and batch size are at least 1, not {iterations} and {batch_size}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds are one or more different numbers, not {list(seeds)}")
    if train_split == test_split:
        raise ValueError(f"the segmenter cannot be tested on what it is trained on: split {test_split}")
    check_generic_layout(data_root)
    check_not_tested_on(shards, test_split)
    settings = {
        "height": height,
        "width": width,
        "iterations": iterations,
        "batch_size": batch_size,
        "train_split": train_split,
        "test_split": test_split,
    }
    configs = {
        arm: light_config(
            read_label_space(shards),
            data_root,
            workers=workers,
            shards=shards if arm == "synthetic" else None,
            **settings,
        )
        for arm in ARMS
    }
    for cfg in configs.values():
        check_data(cfg, ("train_dataloader", "test_dataloader"))
        save_plain_checkpoints(cfg)
        score_each_class(cfg)
    images = {arm: count_images(configs[arm].train_dataloader.dataset) for arm in ARMS}
    images["test"] = count_images(configs["real"].test_dataloader.dataset)
    made = {key: value for key, value in read_manifest(shards).items() if key != "totals"}
    keep_settings(out, {**settings, "images": images, "data_root": str(data_root.resolve()), "shards": made})

    tests: dict[str, list[dict]] = {arm: [] for arm in ARMS}
    for seed in seeds:
        for arm in ARMS:
            tests[arm].append(train_and_test(configs[arm], out / f"{arm}-seed{seed}", seed))
    arms = {arm: mean_scores(tests[arm]) for arm in ARMS}
    result = {**settings, "images": images, "seeds": list(seeds), "arms": arms}
    write_text(out / "train_on_synthetic.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


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


def count_images(dataset: ConfigDict) -> int:
    """Of a data set that `check_data` has looked at."""
    if "shards" in dataset:
        return len(index_shards(Path(dataset.shards)))
    folder = Path(dataset.data_root, dataset.data_prefix.img_path)
    return sum(1 for _ in folder.glob(f"*{dataset.img_suffix}"))


def keep_settings(out: Path, settings: dict) -> None:
    """Write `settings.json`, or see that the one which is there says the same."""
    file = out / "settings.json"
    if file.is_file():
        changed = differences(json.loads(file.read_text()), settings)
        if changed:
            raise ValueError(f"{out} holds trainings of other settings ({'; '.join(changed)}); choose another folder")
        return
    out.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")


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
    return score_test_split(runner, {"config": cfg.filename, "checkpoint": checkpoint, "seed": seed})


def mean_scores(tests: list[dict]) -> dict:
    """One arm's scores over its seeds."""
    of_seeds = [test["mIoU"] for test in tests]
    per_class = {name: mean_of(test["IoU"][name] for test in tests) for name in tests[0]["IoU"]}
    return {"mIoU": mean_of(of_seeds), "mIoU_of_seeds": of_seeds, "IoU": per_class}

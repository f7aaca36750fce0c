"""Generators on trial: a segmenter trained on nothing but their images, and the same trained on the real ones.

    OUT/NAME/settings.json  a digest of the label maps that its images are made from
    OUT/NAME/shards         a generator's images of the training label maps
    OUT/NAME/segmenters     what was trained on them
    OUT/real/HEIGHTxWIDTH   what was trained on the real images, once for all generators of that size

What is there already is not made again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from augment.factory import Settings
from augment.mmseg.train_on_synthetic import (
    Training,
    arm_config,
    check_settings,
    joint_sha256,
    keep_settings,
    train_arm,
)
from augment.plan import Plan
from augment.shards import check_manifest
from augment.sources import HELD_OUT, SPLITS, find_label_maps
from augment.synthesize import check_instances, describe, synthesize
from dpsims.sample import Snapshot

SHARD_SIZE = 512  # images, at most


@dataclass(frozen=True)
class Trial:
    """A generator with all that its two arms are made of.

    Attributes:
        folder: OUT/NAME.
        real: where the real arm is.
        plan: of images of the training split's label maps.
        seeds: of the segmenters, in both arms.
    """

    snapshot: Snapshot
    folder: Path
    real: Path
    plan: Plan
    synthesis: Settings
    training: Training
    seeds: Sequence[int]

    def check(self) -> None:
        """All that can be looked at before anything is made.

        Raises:
            ValueError: data that is missing or of other classes, label maps without the instances that the generator
                takes, or folders with shards or trainings of other settings or of other files.
        """
        arm_config(self.training)
        check_instances(self.snapshot, self.plan.sources)
        check_settings(self.folder, self.sources())
        shards = describe(self.snapshot, self.plan, self.synthesis)
        check_manifest(self.folder / "shards", shards)
        check_settings(self.folder / "segmenters", self.training.settings(shards))
        check_settings(self.real, self.training.settings(None))

    def sources(self) -> dict:
        """What the shards are made of beyond their plan, which knows the label maps by their names."""
        files = [file for source in self.plan.sources for file in source.files(instances=self.snapshot.instances)]
        return {"labels_sha256": joint_sha256(files)}

    def run(self, device: torch.device, *, batch_size: int, threads: int) -> dict[str, dict]:
        """Make what is not there yet; gives both arms, "synthetic" and "real", as of `train_arm`.

        Args:
            device: where the generator is, and the segmenters are trained.
            batch_size: images at once, at most.
            threads: that read label maps and encode images.
        """
        shards = self.folder / "shards"
        keep_settings(self.folder, self.sources())
        work = {"device": device, "batch_size": batch_size, "threads": threads, "progress": True}
        synthesize(self.snapshot, self.plan, shards, self.synthesis, **work)
        options = {"seeds": self.seeds, "device": device}
        return {
            "synthetic": train_arm(self.training, self.folder / "segmenters", shards, **options),
            "real": train_arm(self.training, self.real, **options),
        }


def plan_trials(
    snapshots: Sequence[tuple[str, Snapshot]],
    out: Path,
    data_root: Path,
    *,
    iterations: int,
    num_seeds: int,
    samples: int,
    seed: int,
    bf16: bool,
    workers: int,
    train_split: str,
    test_split: str,
) -> list[Trial]:
    """A checked trial for each generator.

    Args:
        snapshots: with the generators' names.
        data_root: in the generic layout.
        iterations: of a segmenter's training.
        num_seeds: segmenters per arm.
        samples: images per training label map.
        seed, bf16: of the synthesis.
        workers: processes that read images while a segmenter is trained.

    Raises:
        ValueError: as of `Training` and `Trial.check`, or two generators would share a folder.
    """
    # A name is a path where two folders are called the same, or where a snapshot lies deeper in its run.
    folders = [out / name.strip("/").replace("/", "_") for name, _ in snapshots]
    shared = [name for folder, (name, _) in zip(folders, snapshots, strict=True) if folders.count(folder) > 1]
    if shared:
        raise ValueError(f"the generators {' and '.join(shared)} would share a folder in {out}; rename one of them")
    splits = {"train_split": train_split, "test_split": test_split}
    options = {"iterations": iterations, "workers": workers, **splits}
    trainings = [Training(data_root, it.height, it.width, **options) for _, it in snapshots]
    others = {*HELD_OUT} - {SPLITS.get(test_split, test_split)}  # held out of something else
    label_files = find_label_maps(data_root / train_split, others)
    plan = Plan(label_files, [samples] * len(label_files), shard_size=max(SHARD_SIZE, samples), seed=seed)
    synthesis = Settings(bf16=bf16)
    trials = []
    for folder, (_, snapshot), training in zip(folders, snapshots, trainings, strict=True):
        real = out / "real" / f"{snapshot.height}x{snapshot.width}"
        trial = Trial(snapshot, folder, real, plan, synthesis, training, range(num_seeds))
        trial.check()
        trials.append(trial)
    return trials

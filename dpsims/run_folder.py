"""The folder of a training run: its configuration, its log, and the checkpoints that it resumes from."""

import dataclasses
import fcntl
import json
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path
from typing import TextIO

import torch
import yaml

from dpsims.config import TrainConfig, differences
from dpsims.sample import replace

# What may change when a run goes on: how long, how often it reports, where it runs, and what does not touch the result.
FREE_OPTIONS = {"out", "init_from", "data.root", "data.workers", "run.device", "run.total_kimg", "run.wandb"}
FREE_OPTIONS |= {f"run.{name}_kimg" for name in ("log", "sample", "checkpoint", "keep")}
FREE_OPTIONS |= {f"run.{name}" for name in ("activation_checkpointing", "compile")}
FREE_OPTIONS |= {f"validation.{name}" for name in ("every_kimg", "network", "max_maps", "metric", "patience_kimg")}
FREE_OPTIONS |= {f"{network}.weights" for network in ("discriminator.backbone", "loss.contrastive", "validation")}

# What torch.load and zipfile raise at bytes that are not those of a checkpoint. Other errors are of the machine.
TORN = (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError)


class RunFolder:
    """What a run leaves under one root.

    config.yaml              the merged configuration
    log.jsonl, tensorboard/  losses and figures by images seen
    samples/                 grids of samples
    checkpoint.pt            the state to resume from; checkpoint.previous.pt is the one before
    generator.*              the newest snapshot; best/ holds that with the best validation so far
    kept/IMAGES/             every `run.keep_kimg`, a checkpoint and a snapshot for good

    Making one only looks whether the folder is free or of the same run; `claim` writes.

    Raises:
        ValueError: the folder holds a run with other options.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.root = Path(config.out)
        self.config = dataclasses.asdict(config)
        self.config_file = self.root / "config.yaml"
        self.checkpoint_file = self.root / "checkpoint.pt"
        self.previous_file = self.root / "checkpoint.previous.pt"
        self.new_file = self.root / "checkpoint.new.pt"  # whole, and about to become the newest
        self.torn: set[Path] = set()
        self.lock: TextIO | None = None
        self.log_file = self.root / "log.jsonl"
        self.samples = self.root / "samples"
        self.tensorboard = self.root / "tensorboard"
        self.best = self.root / "best"
        self.kept = self.root / "kept"
        if self.config_file.exists():
            changed = differences(yaml.safe_load(self.config_file.read_text()), self.config)
            refused = {key: values for key, values in changed.items() if key not in FREE_OPTIONS}
            if refused:
                listed = "; ".join(f"{key}: {old!r} → {new!r}" for key, (old, new) in refused.items())
                raise ValueError(f"{self.root} holds a run with other options ({listed}); choose another out=DIR")

    def claim(self) -> None:
        """Make the folder, lock it for this process, and write the configuration into it.

        Raises:
            ValueError: another process trains here.
        """
        self.samples.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.root / ".lock", "w")
        try:
            fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # this process', not its data workers'
        except OSError:
            self.release()
            raise ValueError(
                f"{self.root}: another process is training here; end it, or choose another out=DIR"
            ) from None
        self.write(self.config_file, yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))

    def release(self) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def write(self, file: Path, text: str) -> None:
        temporary = file.with_suffix(".tmp")
        temporary.write_text(text)
        replace(temporary, file)

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def save_checkpoint(self, state: dict) -> None:
        """Write `checkpoint.pt`; the one that was there becomes `checkpoint.previous.pt`, if it was whole."""
        temporary = self.checkpoint_file.with_suffix(".tmp")
        torch.save(state, temporary)
        replace(temporary, self.new_file)
        if self.checkpoint_file.exists() and self.checkpoint_file not in self.torn:
            os.replace(self.checkpoint_file, self.previous_file)
        os.replace(self.new_file, self.checkpoint_file)
        self.torn.discard(self.checkpoint_file)

    def keep_checkpoint(self, images_seen: int) -> Path:
        """Give the newest checkpoint a second name for good, and return the folder that holds it."""
        folder = self.kept / f"{images_seen:09d}"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "checkpoint.pt"
        temporary = kept.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(self.checkpoint_file, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.checkpoint_file, temporary)
        replace(temporary, kept)
        return folder

    def load_checkpoint(self) -> dict | None:
        """The newest state that is whole; None where nothing was saved yet. Only tensors and plain values are read.

        Raises:
            ValueError: there are checkpoints, and all are torn.
            OSError: one cannot be read.
        """
        files = [self.new_file, self.checkpoint_file, self.previous_file]
        files = [file for file in files + sorted(self.kept.glob("*/checkpoint.pt"), reverse=True) if file.exists()]
        for file in files:
            try:
                return read_checkpoint(file)
            except ValueError as error:
                self.torn.add(file)
                print(f"warning: {error}; going back to the one before", file=sys.stderr, flush=True)
        if files:
            raise ValueError(f"{self.root}: all {len(files)} checkpoints are torn; choose another out=DIR")
        return None

    # Log ------------------------------------------------------------------------------------------------------------

    def log(self, row: dict) -> None:
        with open(self.log_file, "a") as stream:
            stream.write(json.dumps(row) + "\n")

    def rewind_log(self, images_seen: int) -> None:
        """Drop rows from after the checkpoint, which are about to come again, and a row cut short by a kill."""
        if not self.log_file.exists():
            return
        kept = []
        for line in self.log_file.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if row["images_seen"] <= images_seen:
                kept.append(line + "\n")
        self.write(self.log_file, "".join(kept))


def run_of(snapshot: Path) -> Path | None:
    """The run folder that a snapshot lies in: RUN itself, RUN/best, RUN/kept/IMAGES, or a file there."""
    folder = (snapshot if snapshot.is_dir() else snapshot.parent).absolute()
    candidates = (folder, folder.parent, folder.parent.parent)
    return next((run for run in candidates if (run / "config.yaml").is_file()), None)


def read_checkpoint(file: Path) -> dict:
    """A checkpoint whose bytes are those that were written: torch's archives carry a checksum of every tensor.

    Raises:
        ValueError: it is torn, or holds more than tensors and plain values.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            torn = archive.testzip()
        if torn is None:
            return torch.load(file, map_location="cpu", weights_only=True)
        reason = f"the checksum of its {torn!r} is wrong"
    except TORN as error:
        reason = f"{type(error).__name__}: {error}"
    raise ValueError(f"{file} cannot be used ({reason})")

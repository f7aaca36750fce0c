"""The folder of a training run: its configuration, its log, and the checkpoint that it resumes from."""

import dataclasses
import json
import os
from pathlib import Path

import torch
import yaml

from dpsims.config import TrainConfig, differences
from dpsims.sample import replace

# What may change when a run goes on: how long, how often it reports, and where it runs.
FREE_OPTIONS = {"out", "data.root", "data.workers", "run.device", "run.total_kimg"}
FREE_OPTIONS |= {f"run.{name}_kimg" for name in ("log", "sample", "checkpoint")}


class RunFolder:
    """`config.yaml`, `log.jsonl`, `checkpoint.pt` and the folders `samples` and `tensorboard` under one root."""

    def __init__(self, config: TrainConfig) -> None:
        self.root = Path(config.out)
        self.checkpoint_file = self.root / "checkpoint.pt"
        self.log_file = self.root / "log.jsonl"
        self.samples = self.root / "samples"
        self.tensorboard = self.root / "tensorboard"
        self._claim(dataclasses.asdict(config))
        self.samples.mkdir(exist_ok=True)

    def _claim(self, config: dict) -> None:
        """Write `config.yaml`, or make sure that the one there is of the same run."""
        file = self.root / "config.yaml"
        if file.exists():
            changed = differences(yaml.safe_load(file.read_text()), config)
            refused = {key: values for key, values in changed.items() if key not in FREE_OPTIONS}
            if refused:
                listed = "; ".join(f"{key}: {old!r} → {new!r}" for key, (old, new) in refused.items())
                raise ValueError(f"{self.root} holds a run with other options ({listed}); choose another out=DIR")
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        replace(temporary, file)

    def save_checkpoint(self, state: dict) -> None:
        temporary = self.checkpoint_file.with_suffix(".tmp")
        torch.save(state, temporary)
        replace(temporary, self.checkpoint_file)

    def load_checkpoint(self) -> dict | None:
        """The state to resume from; None at the start. Only tensors and plain values are read."""
        if not self.checkpoint_file.exists():
            return None
        return torch.load(self.checkpoint_file, map_location="cpu", weights_only=True)

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
        temporary = self.log_file.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, self.log_file)

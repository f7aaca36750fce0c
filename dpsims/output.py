"""What a run shows of itself while it trains: the log, TensorBoard, a line on the screen, grids, snapshots."""

import dataclasses
import importlib.util
import os
import secrets
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

import dpsims
from dpsims.build import architecture
from dpsims.gan_step import Batch
from dpsims.grid import save_grid
from dpsims.guard import CollapseGuard
from dpsims.provenance import source_commit
from dpsims.sample import noise, save_generator, to_uint8
from dpsims.trainer import Trainer
from dpsims.watch import observe


class Output:
    """The first rank's side of training that is not training. `with Output(trainer, total) as output:`"""

    def __init__(self, trainer: Trainer, total: int) -> None:
        self.trainer, self.folder, self.run = trainer, trainer.folder, trainer.config.run
        self.total = total
        self.folder.rewind_log(trainer.images_seen)
        self.guard = CollapseGuard()
        self.terms: dict[str, list[float]] = defaultdict(list)
        self.since, self.seen_then = time.perf_counter(), trainer.images_seen

    def __enter__(self) -> "Output":
        self.wandb = start_wandb(self.trainer) if self.run.wandb else None
        seen = self.trainer.images_seen
        purge = seen + 1 if seen else 0  # what came after the checkpoint comes again; what came with it does not
        self.writer = SummaryWriter(str(self.folder.tensorboard), purge_step=purge)
        self.bar = tqdm(total=self.total, initial=seen, unit="img", desc="train", smoothing=0.05, disable=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        self.writer.close()
        if self.wandb is not None:
            self.wandb.finish(exit_code=int(kind is not None))

    def say(self, text: str) -> None:
        if self.bar.disable:
            print(text, flush=True)
        else:
            self.bar.write(text)

    def add(self, terms: dict[str, float]) -> None:
        """A step's losses and gradient norms."""
        for term, value in terms.items():
            self.terms[term].append(value)
        self.bar.update(self.run.batch_size)

    def log(self, batch: Batch) -> None:
        """A row of the log: means since the last one, and a look at this batch."""
        trainer = self.trainer
        seen, now = trainer.images_seen, time.perf_counter()
        rate = (seen - self.seen_then) / (now - self.since)
        means = {term: sum(values) / len(values) for term, values in self.terms.items()}
        with trainer.autocast:
            looked = observe(trainer.step, trainer.ema.net, trainer.space, batch, trainer.random())
        row = means | looked.figures
        if trainer.device.type == "cuda":
            row["Memory/peak_gb"] = torch.cuda.max_memory_allocated(trainer.device) / 1e9
        self.folder.log({"images_seen": seen, **row, "images_per_second": round(rate, 3)})
        classes = {f"Accuracy/real/{name}": share for name, share in looked.class_accuracy.items()}
        for name, value in (row | classes | {"images_per_second": rate}).items():
            self.writer.add_scalar(name, value, seen)
        for name, values in looked.logits.items():
            self.writer.add_histogram(name, values, seen)
        self._tell(rate, means)
        for warning in self.guard.check(row):
            self.say(f"warning: {warning}")
        self.terms.clear()
        self.since, self.seen_then = time.perf_counter(), seen

    def figures(self, values: dict[str, float]) -> None:
        """A row of the log with what a validation found."""
        seen = self.trainer.images_seen
        self.folder.log({"images_seen": seen, **values})
        for name, value in values.items():
            self.writer.add_scalar(name, value, seen)
        self.say(f"validation at {seen} images: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))

    @torch.inference_mode()
    def sample_grid(self) -> Path:
        """Label map | real | several z, the same maps and z each time, by the averaged generator."""
        trainer = self.trainer
        z = noise(range(self.run.sample_noises), trainer.step.G.z_dim).to(trainer.device)
        rows = []
        for index in np.linspace(0, len(trainer.val_set) - 1, self.run.sample_maps).round().astype(int):
            item = trainer.val_set[int(index), 0]
            label_map = item["label_map"].unsqueeze(0).to(trainer.device)
            offsets = item["offsets"].unsqueeze(0).to(trainer.device) if "offsets" in item else None
            with trainer.autocast:
                fakes = trainer.ema.net(label_map, z, offsets)
            cells = to_uint8(torch.cat([item["real"].unsqueeze(0), fakes.float().cpu()])).numpy()
            rows.append([trainer.space.colorize(item["label_map"].numpy().astype(np.uint8)), *cells])
        file = self.folder.samples / f"{trainer.images_seen:09d}.png"
        grid = save_grid(file, rows)
        self.writer.add_image("samples", grid, trainer.images_seen, dataformats="HWC")
        return file

    def save_snapshot(self, folder: Path, **remarks: object) -> None:
        """The averaged generator with where it comes from, and what else is to be remarked of it."""
        trainer, config = self.trainer, self.trainer.config
        training = {
            "images_seen": trainer.images_seen,
            "data": config.data.name,
            "train_images": len(trainer.train_set),
            "seed": config.seed,
            "tau_diversity": trainer.step.tau_diversity,
            "backbone": config.discriminator.backbone.name,
            "init_from": config.init_from,
            "dpsims": dpsims.__version__,
            "commit": source_commit(),
            "torch": torch.__version__,
            **remarks,
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_generator(folder, trainer.ema.net, architecture(config, trainer.space), trainer.space, training)

    def save(self, *, keep: bool) -> None:
        """The newest snapshot and the checkpoint behind it; with `keep` both for good, too."""
        self.writer.flush()
        self.save_snapshot(self.folder.root)
        self.folder.save_checkpoint(self.trainer.state_dict())
        if keep:
            self.save_snapshot(self.folder.keep_checkpoint(self.trainer.images_seen))

    def _tell(self, rate: float, means: dict[str, float]) -> None:
        """The losses, behind the progress bar or, where there is no terminal for one, on a line of their own."""
        losses = {
            term.removeprefix("Loss/"): f"{value:.3g}" for term, value in means.items() if term.startswith("Loss/")
        }
        self.bar.set_postfix(losses)
        if self.bar.disable:
            seen = self.trainer.images_seen
            left = (self.total - seen) / rate / 60
            print(f"{seen}/{self.total} img, {rate:.3g} img/s, {left:.0f} min left", losses, flush=True)


def start_wandb(trainer: Trainer) -> object:
    """Mirror TensorBoard to Weights & Biases; a run that goes on stays one run there."""
    import wandb

    file = trainer.folder.root / "wandb_id.txt"
    if not file.exists():
        trainer.folder.write(file, secrets.token_hex(8))
    return wandb.init(
        project=trainer.config.run.wandb,
        id=file.read_text(),
        resume="allow",
        name=trainer.folder.root.name,
        dir=str(trainer.folder.root),
        config=dataclasses.asdict(trainer.config),
        sync_tensorboard=True,
    )


def check_wandb(project: str | None) -> None:
    """See that Weights & Biases is there and knows the account, before hours of work meet that question."""
    if project is None:
        return
    if importlib.util.find_spec("wandb") is None:
        raise ValueError(f"run.wandb={project} needs Weights & Biases: pip install wandb")
    import wandb

    online = os.environ.get("WANDB_MODE", "online") == "online" and os.environ.get("RANK", "0") == "0"
    if online and not wandb.login(prompt=False):
        raise ValueError(f"run.wandb={project}: no account is known here; run `wandb login`, or set WANDB_MODE=offline")

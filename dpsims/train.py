"""The training loop. Time is counted in images seen; the same configuration in the same folder goes on where it was."""

import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

import dpsims
from dpsims.build import architecture, build_dataset, build_step
from dpsims.config import TrainConfig
from dpsims.ema import EMA
from dpsims.gan_step import Batch, GANStep
from dpsims.grid import save_grid
from dpsims.hardware import pick_device, use_bf16
from dpsims.run_folder import RunFolder
from dpsims.sample import noise, save_generator, to_uint8
from dpsims.sampling import StreamSampler, balanced_weights
from dpsims.stop import StopSignal, ignore_interrupts


class Trainer:
    """Everything that changes during training, and the few things one does with it."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.train_set = build_dataset(config, config.data.train_split, augment=True)
        self.space = self.train_set.space
        presence = self.train_set.class_presence()  # reads every label map: a bad one stops the run here
        self.weights = balanced_weights(presence) if config.data.balanced else None
        self.grid_set = build_dataset(config, config.data.val_split or config.data.train_split, augment=False)

        self.device = pick_device(config.run.device)
        self.bf16 = use_bf16(self.device, config.run.precision)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
        torch.manual_seed(config.seed)
        self.step: GANStep = build_step(config, self.space)
        for net in (self.step.G, self.step.D, self.step.contrast):
            if net is not None:
                net.train().to(self.device, memory_format=torch.channels_last)  # the faster one on CPU and GPU
        self.ema = EMA(self.step.G, halflife_kimg=config.optim.ema_halflife_kimg, rampup=config.optim.ema_rampup)
        self.params = self.step.trainable()
        rates = {"G": config.optim.lr_G, "D": config.optim.lr_D}
        betas = tuple(config.optim.betas)
        self.optimizers = {name: torch.optim.Adam(self.params[name], rates[name], betas) for name in ("D", "G")}
        self.losses = {"D": self.step.discriminator_loss, "G": self.step.generator_loss}
        self.images_seen = 0

        self.folder = RunFolder(config)  # last: a folder is not claimed by what cannot be built

    # Resuming -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        return {
            "images_seen": self.images_seen,
            "tau_diversity": self.step.tau_diversity,
            "G": self.step.G.state_dict(),
            "D": self.step.D.state_dict(),
            "contrast": self.step.contrast.state_dict() if self.step.contrast is not None else {},
            "ema": self.ema.net.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        self.images_seen = state["images_seen"]
        self.step.tau_diversity = state["tau_diversity"]
        self.step.G.load_state_dict(state["G"])
        self.step.D.load_state_dict(state["D"])
        if self.step.contrast is not None:
            self.step.contrast.load_state_dict(state["contrast"])
        self.ema.net.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])

    # Data -----------------------------------------------------------------------------------------------------------

    def batches(self, start: int) -> Iterator[Batch]:
        """Training batches from position `start` of the stream on, without end."""
        sampler = StreamSampler(len(self.train_set), weights=self.weights, seed=self.config.seed, start=start)
        workers = self.config.data.workers
        loader = DataLoader(
            self.train_set,
            self.config.run.batch_size,
            sampler=sampler,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=ignore_interrupts,
        )
        for batch in loader:
            batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
            yield Batch(**batch | {"real": batch["real"].to(memory_format=torch.channels_last)})

    def random(self, purpose: int) -> torch.Generator:
        """The random numbers of one phase at this point of training: a function of the seed and images_seen."""
        seed = np.random.SeedSequence((self.config.seed, self.images_seen, purpose)).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) >> 1)

    # Training -------------------------------------------------------------------------------------------------------

    def calibrate_diversity(self) -> None:
        """τ_div of eq. 7, with the generator as it starts, over the training set or `tau_images` of it."""
        diversity = self.config.loss.diversity
        if diversity.weight == 0 or diversity.tau is not None:
            return
        count = math.ceil(min(len(self.train_set), diversity.tau_images) / self.config.run.batch_size)
        generator = self.random(purpose=2)
        with self.autocast:
            batches = tqdm(islice(self.batches(0), count), "τ_div (eq. 7)", total=count, leave=False, disable=None)
            distances = [self.step.mean_distance(batch, generator).item() for batch in batches]
        self.step.tau_diversity = sum(distances) / len(distances)

    def train_batch(self, batch: Batch) -> dict[str, float]:
        """One step of D, one of G. A loss that is not finite stops the run before any weight is touched by it."""
        logs = {}
        for purpose, name in enumerate(("D", "G")):
            with self.autocast:
                loss, terms = self.losses[name](batch, self.random(purpose))
            values = dict(zip(terms, torch.stack(list(terms.values())).tolist(), strict=True))
            bad = [f"{term} is {value}" for term, value in values.items() if not math.isfinite(value)]
            if bad:
                step = self.images_seen // len(batch)
                raise FloatingPointError(f"step {step} ({self.images_seen} images seen): {', '.join(bad)}")
            optimizer = self.optimizers[name]
            optimizer.zero_grad(set_to_none=True)
            loss.backward(inputs=self.params[name])  # this phase's leaves only: no requires_grad toggling
            optimizer.step()
            logs |= values
        self.images_seen += len(batch)
        self.ema.update(self.step.G, images_seen=self.images_seen, batch_size=len(batch))
        return logs

    # Output ---------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Snapshot first, checkpoint last: where a checkpoint stands, its snapshot does."""
        training = {
            "images_seen": self.images_seen,
            "data": self.config.data.name,
            "train_images": len(self.train_set),
            "seed": self.config.seed,
            "tau_diversity": self.step.tau_diversity,
            "backbone": self.config.discriminator.backbone.name,
            "dpsims": dpsims.__version__,
            "torch": torch.__version__,
        }
        save_generator(self.folder.root, self.ema.net, architecture(self.config, self.space), self.space, training)
        self.folder.save_checkpoint(self.state_dict())

    @torch.inference_mode()
    def sample_grid(self) -> Path:
        """Label map | real | several z, the same maps and z each time, by the averaged generator."""
        run = self.config.run
        z = noise(range(run.sample_noises), self.step.G.z_dim).to(self.device)
        rows = []
        for index in np.linspace(0, len(self.grid_set) - 1, run.sample_maps).round().astype(int):
            item = self.grid_set[int(index), 0]
            label_map = item["label_map"].unsqueeze(0).to(self.device)
            offsets = item["offsets"].unsqueeze(0).to(self.device) if "offsets" in item else None
            with self.autocast:
                fakes = self.ema.net(label_map, z, offsets)
            cells = to_uint8(torch.cat([item["real"].unsqueeze(0), fakes.float().cpu()])).numpy()
            rows.append([self.space.colorize(item["label_map"].numpy().astype(np.uint8)), *cells])
        file = self.folder.samples / f"{self.images_seen:09d}.png"
        save_grid(file, rows)
        return file


def train(config: TrainConfig) -> Path:
    """Train, or go on training, until `run.total_kimg`. Returns the run folder.

    Raises:
        ValueError: the data or an option is wrong; nothing was trained.
        FloatingPointError: a loss is not finite; names the step and the term.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM, after a checkpoint.
    """
    trainer = Trainer(config)
    folder, run = trainer.folder, config.run
    state = folder.load_checkpoint()
    if state is None:
        trainer.calibrate_diversity()
    else:
        trainer.load_state_dict(state)
    folder.rewind_log(trainer.images_seen)
    _announce(trainer, resumed=state is not None)

    total = math.ceil(run.total_kimg * 1000 / run.batch_size) * run.batch_size
    sums: dict[str, float] = {}
    steps, since = 0, time.perf_counter()
    writer = SummaryWriter(str(folder.tensorboard), purge_step=trainer.images_seen)
    progress = tqdm(total=total, initial=trainer.images_seen, unit="img", desc="train", smoothing=0.05, disable=None)
    with StopSignal() as stop, writer, progress:
        if trainer.images_seen == 0:
            trainer.sample_grid()
        batches = trainer.batches(trainer.images_seen)
        while trainer.images_seen < total:
            logs = trainer.train_batch(next(batches))
            steps += 1
            for term, value in logs.items():
                sums[term] = sums.get(term, 0.0) + value
            progress.update(run.batch_size)
            last = trainer.images_seen >= total or stop.requested

            if last or _due(trainer.images_seen, run.log_kimg, run.batch_size):
                means = {term: value / steps for term, value in sums.items()}
                rate = steps * run.batch_size / (time.perf_counter() - since)
                folder.log({"images_seen": trainer.images_seen, **means, "images_per_second": round(rate, 3)})
                for term, value in means.items():
                    writer.add_scalar(term, value, trainer.images_seen)
                _tell(progress, trainer.images_seen, rate, means)
                sums, steps, since = {}, 0, time.perf_counter()
            if last or _due(trainer.images_seen, run.sample_kimg, run.batch_size):
                trainer.sample_grid()
            if last or _due(trainer.images_seen, run.checkpoint_kimg, run.batch_size):
                trainer.save()
            if stop.requested:
                raise KeyboardInterrupt(f"stopped at {trainer.images_seen} images; the same command goes on")
    return folder.root


def _due(images_seen: int, kimg: float, batch_size: int) -> bool:
    """Whether this step crossed a multiple of `kimg` thousand images."""
    every = kimg * 1000
    return images_seen // every > (images_seen - batch_size) // every


def _tell(progress: tqdm, images_seen: int, rate: float, means: dict[str, float]) -> None:
    """The losses, behind the progress bar or, where there is no terminal for one, on a line of their own."""
    losses = {term.removeprefix("Loss/"): f"{value:.3g}" for term, value in means.items()}
    progress.set_postfix(losses)
    if progress.disable:
        left = (progress.total - images_seen) / rate / 60
        print(f"{images_seen}/{progress.total} img, {rate:.3g} img/s, {left:.0f} min left", losses, flush=True)


def _announce(trainer: Trainer, *, resumed: bool) -> None:
    config, data = trainer.config, trainer.config.data
    millions = {name: sum(p.numel() for p in params) / 1e6 for name, params in trainer.params.items()}
    backbone = config.discriminator.backbone
    print(
        f"{data.name}: {len(trainer.train_set)} images of {data.train_split}, {trainer.space.num_classes} classes, "
        f"{data.height}x{data.width}, {'balanced' if data.balanced else 'uniform'} sampling\n"
        f"G {millions['G']:.1f} M and D {millions['D']:.1f} M trainable parameters, D on a "
        f"{'frozen' if backbone.frozen else 'trained'} {backbone.name}; device {trainer.device}, "
        f"{'bf16' if trainer.bf16 else 'fp32'}; "
        f"τ_div {trainer.step.tau_diversity:.4g}\n"
        f"{'goes on at' if resumed else 'starts at'} {trainer.images_seen / 1000:g} of {config.run.total_kimg:g} kimg: "
        f"{trainer.folder.root}",
        flush=True,
    )

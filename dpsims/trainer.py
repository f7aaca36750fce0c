"""Everything that changes during training, and the one thing it does: a step of D, then one of G."""

import copy
import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, parametrize
from tqdm import tqdm

from dpsims import distributed, losses
from dpsims.build import build_dataset, build_step
from dpsims.config import TrainConfig
from dpsims.ema import EMA
from dpsims.gan_step import Batch, GANStep, Phase
from dpsims.hardware import pick_device, use_bf16
from dpsims.loader import load
from dpsims.noise import StepRandom
from dpsims.recompute import recompute_discriminator, recompute_generator
from dpsims.run_folder import RunFolder
from dpsims.sampling import StreamSampler, balanced_weights
from dpsims.transfer import take_over

TAU_BATCH = 64  # images at once in the calibration of τ_div, at most: the paper's batch


class Trainer:
    """A run at some point of its training: at the start, or where the checkpoints in its folder say.

    Under torchrun each process is one of these, with its share of every batch. All hold the same weights.

    Attributes:
        share: images of a step on this rank.
        space: the label space of the data.
        val_set: without augmentation; the training split where there is no other.
        account: in words, what `init_from` brought; None where it did not.
        weights: P(image), or None for uniform sampling.
        images_seen: the time of training.
        resumed: whether it started from a checkpoint.

    Raises:
        ValueError: the data, an option or the folder is wrong; the folder was not touched.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device = pick_device(config.run.device)
        distributed.launch(self.device)
        self.share, remainder = divmod(config.run.batch_size, distributed.world_size())
        if remainder or not self.share:
            raise ValueError(
                f"run.batch_size={config.run.batch_size} is the images of all {distributed.world_size()} processes "
                "together, and must divide by their number"
            )
        self.folder = RunFolder(config)
        self.train_set = build_dataset(config, config.data.train_split, augment=True)
        self.space = self.train_set.space
        self.val_set = build_dataset(config, config.data.val_split or config.data.train_split, augment=False)
        state = self.folder.load_checkpoint()
        at = None if state is None else state["images_seen"]
        if distributed.anywhere(distributed.from_first(at) != at, self.device):
            raise ValueError(f"out={config.out} is not one folder for all processes; all machines must share it")

        self.bf16 = use_bf16(self.device, config.run.precision)
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
        torch.manual_seed(config.seed)
        self.step: GANStep = build_step(config, self.space)
        self.account = None
        if config.init_from is not None and state is None:
            self.account = take_over(self.step.G, self.space, Path(config.init_from))
        for net in (self.step.G, self.step.D, self.step.contrast):
            if net is not None:
                net.train().to(self.device, memory_format=torch.channels_last)  # the faster one on CPU and GPU
        native = self.device.type == "cuda"
        trained = [] if self.step.D.backbone.frozen else [self.step.D.backbone]
        for net in (self.step.G, *([self.step.contrast.projectors] if self.step.contrast is not None else [])):
            distributed.synchronize_batch_norm(net, native=native)
        for net in (self.step.D.conditioning, *trained):
            distributed.synchronize_batch_norm(net, native=native and config.loss.r1.weight == 0)
        self.ema = EMA(self.step.G, halflife_kimg=config.optim.ema_halflife_kimg, rampup=config.optim.ema_rampup)
        phases = self.step.phases()
        self.params = {name: phase.trainable() for name, phase in phases.items()}
        rates = {"G": config.optim.lr_G, "D": config.optim.lr_D}
        betas = tuple(config.optim.betas)
        self.optimizers = {name: torch.optim.Adam(self.params[name], rates[name], betas) for name in phases}
        self.images_seen = 0
        if state is not None:
            self.load_state_dict(state)
            self.weights = self._saved_weights(state["sampler"])
        else:
            self.weights = self._sampling_weights()
        self.resumed = state is not None

        if config.run.activation_checkpointing:
            recompute_generator(self.step.G)
            recompute_discriminator(self.step.D)
        if config.run.compile:
            for block in (*self.step.G.levels, *self.step.G.blocks, *self.step.D.blocks):
                block.compile()
        self.phases: dict[str, Phase] = {name: distributed.wrap(phase) for name, phase in phases.items()}
        if distributed.rank() == 0:
            self.folder.claim()  # last: a folder is not claimed by what cannot be built

    # State ----------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """All that the run needs to go on: random numbers and data order follow from the seed and `images_seen`."""
        return {
            "images_seen": self.images_seen,
            "sampler": {
                "images": len(self.train_set),
                "weights": None if self.weights is None else torch.from_numpy(self.weights),
            },
            "tau_diversity": self.step.tau_diversity,
            "rng": torch.get_rng_state(),
            "G": self.step.G.state_dict(),
            "D": self.step.D.state_dict(),
            "contrast": self.step.contrast.state_dict() if self.step.contrast is not None else {},
            "ema": self.ema.net.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        self.images_seen = state["images_seen"]
        self.step.tau_diversity = state["tau_diversity"]
        torch.set_rng_state(state["rng"])
        self.step.G.load_state_dict(state["G"])
        self.step.D.load_state_dict(state["D"])
        if self.step.contrast is not None:
            self.step.contrast.load_state_dict(state["contrast"])
        self.ema.net.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])

    # Data -----------------------------------------------------------------------------------------------------------

    def _sampling_weights(self) -> Float[np.ndarray, " n"] | None:
        """P(image) of a new run. The first rank reads every label map, so a bad one stops the run here."""
        if distributed.rank() == 0:
            presence = self.train_set.class_presence()
            weights = balanced_weights(presence) if self.config.data.balanced else None
        return distributed.from_first(weights if distributed.rank() == 0 else None)

    def _saved_weights(self, sampler: dict) -> Float[np.ndarray, " n"] | None:
        if sampler["images"] != len(self.train_set):
            raise ValueError(
                f"data.root={self.config.data.root} holds {len(self.train_set)} training images; the run in "
                f"{self.folder.root} is of {sampler['images']}"
            )
        return None if sampler["weights"] is None else sampler["weights"].numpy()

    def batches(self, start: int) -> Iterator[Batch]:
        """Training batches of this rank from position `start` of the stream on, without end."""
        rank, ranks = distributed.rank(), distributed.world_size()
        stream = StreamSampler(
            len(self.train_set),
            weights=self.weights,
            seed=self.config.seed,
            start=start,
            batch_size=self.share * ranks,
            rank=rank,
            ranks=ranks,
        )
        for step, batch in enumerate(self._load(stream, self.share)):
            first = start + (step * ranks + rank) * self.share
            yield self._to_device(batch, first)

    def every_image(self, size: int) -> Iterator[Batch]:
        """Each training image once, in the order of a uniform pass; a last batch of one is left out."""
        stream = StreamSampler(len(self.train_set), weights=None, seed=self.config.seed, start=0)
        for step, batch in enumerate(self._load(list(islice(stream, len(self.train_set))), size)):
            if len(batch["real"]) > 1:
                yield self._to_device(batch, step * size)

    def _load(self, sampler: Iterable[tuple[int, int]], size: int) -> Iterator[dict[str, Tensor]]:
        """Items of the training set in batches, on the CPU."""
        pin_memory = self.device.type == "cuda"
        return load(self.train_set, sampler, size, workers=self.config.data.workers, pin_memory=pin_memory)

    def _to_device(self, batch: dict[str, Tensor], first: int) -> Batch:
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        batch["real"] = batch["real"].to(memory_format=torch.channels_last)
        return Batch(**batch, positions=range(first, first + len(batch["real"])))

    def random(self) -> StepRandom:
        """The random numbers at this point of training."""
        return StepRandom(self.config.seed, self.images_seen)

    # Training -------------------------------------------------------------------------------------------------------

    def calibrate_diversity(self) -> None:
        """τ_div of eq. 7, with the generator as it starts, over the training set or `tau_images` of it.

        It is kept in `tau_div.json`. Every rank computes it, on the same images.
        """
        diversity = self.config.loss.diversity
        if diversity.weight == 0 or diversity.tau is not None:
            return
        file = self.folder.root / "tau_div.json"
        kept = json.loads(file.read_text())["tau_div"] if distributed.rank() == 0 and file.exists() else None
        kept = distributed.from_first(kept)
        if kept is not None:
            self.step.tau_diversity = kept
            return
        images = min(len(self.train_set), diversity.tau_images or len(self.train_set))
        size = max(2, min(self.config.run.micro_batch or self.config.run.batch_size, TAU_BATCH, images))
        start = copy.deepcopy(self.ema.net).train()  # G as it is now, whose statistics the calibration may move
        quiet = True if distributed.rank() else None
        distances = {}
        with self.autocast, tqdm(total=images, desc="τ_div (eq. 7)", unit="img", leave=False, disable=quiet) as bar:
            for batch in islice(self.every_image(size), math.ceil(images / size)):
                distances[batch.positions] = self.step.mean_distance(start, batch, self.random()).item()
                bar.update(len(batch))
        self.step.tau_diversity = distributed.from_first(sum(distances.values()) / len(distances))
        if distributed.rank() == 0:
            found = {"tau_div": self.step.tau_diversity, "images": sum(map(len, distances)), "batch_size": size}
            self.folder.write(file, json.dumps(found | {"space": diversity.space}) + "\n")

    def train_batch(self, batch: Batch) -> dict[str, float]:
        """One step of D, one of G, on this rank's share of the images. Returns the terms of the losses of all ranks.

        Raises:
            FloatingPointError: a term or a gradient is not finite; this phase's weights are untouched.
        """
        config, joint = self.config, self.config.run.batch_size
        random, step = self.random(), self.images_seen // joint
        if config.loss.weigh_classes:
            pixels = distributed.total(losses.class_pixels(batch.label_map, self.space.num_classes))
            total = batch.label_map.numel() * distributed.world_size()
            batch = dataclasses.replace(batch, class_weights=losses.class_weights(pixels, total))
        r1 = config.loss.r1
        extra = {"D": (r1.weight > 0 and step % r1.every == 0,), "G": ()}
        logs = {}
        for name, optimizer in self.optimizers.items():
            optimizer.zero_grad(set_to_none=True)
            terms = self._accumulate(name, batch, random, *extra[name])
            norm = clip_grad_norm_(self.params[name], config.optim.clip_norm or math.inf)
            values = distributed.mean(torch.stack([*terms.values(), norm.detach()]))
            values = dict(zip([*terms, f"Gradient/{name}"], values.tolist(), strict=True))
            bad = [f"{term} is {value}" for term, value in values.items() if not math.isfinite(value)]
            if bad:
                raise FloatingPointError(f"step {step} ({self.images_seen} images seen): {', '.join(bad)}")
            optimizer.step()
            logs |= values
        self.images_seen += joint
        self.ema.update(self.step.G, images_seen=self.images_seen, batch_size=joint)
        return logs

    def _accumulate(self, name: str, batch: Batch, *inputs: object) -> dict[str, Tensor]:
        """Gradients of a phase, over micro-batches; returns its terms, averaged over the images."""
        phase, params = self.phases[name], self.params[name]
        parts = batch.split(self.config.run.micro_batch or len(batch))
        sums: dict[str, Tensor] = {}
        for index, part in enumerate(parts):
            with ExitStack() as stack:
                if index + 1 < len(parts) and distributed.world_size() > 1:
                    stack.enter_context(phase.no_sync())  # the last micro-batch averages the sum over the ranks
                stack.enter_context(parametrize.cached())  # spectral norm once per pass, not once per call
                with self.autocast:
                    loss, terms = phase(part, *inputs)
                share = len(part) / len(batch)
                (loss * share).backward(inputs=params)  # this phase's leaves only: no requires_grad toggling
            for term, value in terms.items():
                sums[term] = sums.get(term, 0.0) + value.detach() * share
        return sums

"""The training loop. Time is counted in images seen; the same configuration in the same folder goes on where it was."""

import math
from contextlib import nullcontext
from pathlib import Path

from dpsims import distributed
from dpsims.config import TrainConfig
from dpsims.output import Output, check_wandb
from dpsims.stop import StopSignal
from dpsims.trainer import Trainer
from dpsims.validate import Validation, read_best


def train(config: TrainConfig) -> Path:
    """Train, or go on training, until `run.total_kimg` or until validation has not improved for too long.

    Under torchrun, each process calls this; the first one writes. Returns the run folder.

    Raises:
        ValueError: the data or an option is wrong.
        FloatingPointError: a loss or gradient is not finite; names the step and the term.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM, after a checkpoint.
    """
    check_wandb(config.run.wandb)
    trainer = Trainer(config)
    try:
        run_to_the_end(trainer)
    finally:
        trainer.folder.release()
    return trainer.folder.root


def run_to_the_end(trainer: Trainer) -> None:
    """The loop, and what comes before it: validation made ready, τ_div calibrated."""
    config, run = trainer.config, trainer.config.run
    first = distributed.rank() == 0
    validation, every = None, config.validation.every_kimg
    if every is not None and first:
        backbone = trainer.step.D.backbone
        validation = Validation(config, trainer.val_set, backbone, trainer.device, trainer.bf16)
    if not trainer.resumed:
        trainer.calibrate_diversity()
    if first:
        announce(trainer)

    total = math.ceil(run.total_kimg * 1000 / run.batch_size) * run.batch_size
    finished = trainer.images_seen >= total or distributed.from_first(first and out_of_patience(trainer, validation))
    if finished:
        return
    with StopSignal() as stop, Output(trainer, total) if first else nullcontext() as output:
        if first and trainer.images_seen == 0:
            output.sample_grid()
        batches = trainer.batches(trainer.images_seen)
        while not finished:
            try:
                batch = next(batches)
            except ValueError:
                if first:
                    output.save(keep=False)  # the image can be mended or taken out, and the run goes on from here
                raise
            terms = trainer.train_batch(batch)
            stopped = distributed.anywhere(stop.requested, trainer.device)
            finished = trainer.images_seen >= total
            validating = every is not None and (finished or due(trainer, every))

            if first:
                output.add(terms)
                if finished or stopped or due(trainer, run.log_kimg):
                    output.log(batch)
                if finished or stopped or due(trainer, run.sample_kimg):
                    output.sample_grid()
                keep = run.keep_kimg is not None and due(trainer, run.keep_kimg)
                if finished or stopped or keep or validating or due(trainer, run.checkpoint_kimg):
                    output.save(keep=keep)
                if validating:
                    judge(trainer, validation, output)
            if validating and distributed.from_first(first and out_of_patience(trainer, validation)):
                finished = True
                if first:
                    output.say(f"no better validation for {config.validation.patience_kimg:g} kimg: this is the end")
            if stopped and not finished:
                distributed.barrier()  # torchrun ends the others as soon as one is gone
                raise KeyboardInterrupt(f"stopped at {trainer.images_seen} images; the same command goes on")
    distributed.barrier()  # nobody leaves while the first one writes


def due(trainer: Trainer, kimg: float) -> bool:
    """Whether the last step crossed a multiple of `kimg` thousand images."""
    every, seen = kimg * 1000, trainer.images_seen
    return seen // every > (seen - trainer.config.run.batch_size) // every


def judge(trainer: Trainer, validation: Validation, output: Output) -> None:
    """Validate the averaged generator; the best one so far becomes the snapshot in `best/`."""
    figures = validation.figures(trainer.ema.net)
    output.figures(figures)
    value, best = figures[validation.key], read_best(trainer.folder.best, validation.key)
    if best is None or value < best["value"]:
        output.save_snapshot(trainer.folder.best, validation={"figure": validation.key, "value": value})


def out_of_patience(trainer: Trainer, validation: Validation | None) -> bool:
    """Whether the best validation is longer ago than `validation.patience_kimg`."""
    patience = trainer.config.validation.patience_kimg
    best = read_best(trainer.folder.best, validation.key) if patience is not None else None
    return best is not None and trainer.images_seen - best["images_seen"] >= patience * 1000


def announce(trainer: Trainer) -> None:
    config, data = trainer.config, trainer.config.data
    millions = {name: sum(p.numel() for p in params) / 1e6 for name, params in trainer.params.items()}
    backbone, ranks = config.discriminator.backbone, distributed.world_size()
    lines = [
        f"{data.name}: {len(trainer.train_set)} images of {data.train_split}, {trainer.space.num_classes} classes, "
        f"{data.height}x{data.width}, {'balanced' if data.balanced else 'uniform'} sampling",
        f"G {millions['G']:.1f} M and D {millions['D']:.1f} M trainable parameters, D on a "
        f"{'frozen' if backbone.frozen else 'trained'} {backbone.name}",
        f"device {trainer.device}{f' and {ranks - 1} more' if ranks > 1 else ''}, "
        f"{'bf16' if trainer.bf16 else 'fp32'}, {config.run.batch_size} images a step",
    ]
    if config.loss.diversity.weight > 0:
        lines.append(f"τ_div {trainer.step.tau_diversity:.4g}")
    if trainer.account is not None:
        lines.append(trainer.account)
    lines.append(
        f"{'goes on at' if trainer.resumed else 'starts at'} {trainer.images_seen / 1000:g} of "
        f"{config.run.total_kimg:g} kimg: {trainer.folder.root}"
    )
    print(*lines, sep="\n", flush=True)

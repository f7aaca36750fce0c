"""Train an mmsegmentation model on real images, on synthetic ones, or on both, and test it on real ones.

    python tools/train_segmenter.py configs/segmenters/segformer_b0_camvid_real.py --data-root data/camvid --test
    python tools/train_segmenter.py configs/segmenters/segformer_b0_camvid_mixed.py --data-root data/camvid \\
        --shards runs/camvid/shards --test
    python tools/train_segmenter.py configs/segmenters/segformer_b0_camvid_on_the_fly.py --data-root data/camvid \\
        --generator runs/camvid/gan --test

What it finds hard, for tools/budget.py, which may not see the test split:

    python tools/train_segmenter.py CONFIG --data-root data/camvid --test-only CHECKPOINT --split val

The configs read SEG_ITERS, SEG_HEIGHT, SEG_WIDTH and SEG_BATCH from the environment. Several GPUs:

    torchrun --nproc-per-node 4 tools/train_segmenter.py CONFIG --launcher pytorch
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config

    from augment.mmseg.runner import BriefRunner

LAUNCHERS = {  # of mmengine; what starts the processes, and a variable that it gives them
    "pytorch": ("torchrun", "RANK"),
    "slurm": ("srun", "SLURM_PROCID"),
    "mpi": ("mpirun", "OMPI_COMM_WORLD_LOCAL_RANK"),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="an mmengine config, such as those in configs/segmenters")
    parser.add_argument("--data-root", type=Path, help="root of the real data, for all splits")
    parser.add_argument("--shards", type=Path, help="folder of synthetic shards, for a _mixed or _synthetic config")
    parser.add_argument(
        "--decisions", type=Path, help="folder of tools/filter.py, whose verdict is laid over synthetic samples"
    )
    parser.add_argument("--generator", type=Path, help="run folder or snapshot of the GAN, for an _on_the_fly config")
    parser.add_argument("--work-dir", type=Path, help="output folder (default: runs/segmenters/CONFIG)")
    parser.add_argument("--resume", action="store_true", help="go on from the latest checkpoint in the work dir")
    parser.add_argument("--seed", type=int, help="seed of weights, order and augmentation (default: the config's)")
    parser.add_argument("--amp", action="store_true", help="mixed precision; needs a CUDA device")
    parser.add_argument("--launcher", choices=["none", *LAUNCHERS], default="none", help="of several processes, if any")
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="other settings of the config"
    )
    testing = parser.add_mutually_exclusive_group()
    test_help = "after training, test the checkpoint that is best on val; the last one where val is what is tested"
    testing.add_argument("--test", action="store_true", help=test_help)
    testing.add_argument("--test-only", type=Path, metavar="CHECKPOINT", help="do not train; test this checkpoint")
    split_help = "to test on; the scores are WORK_DIR/test.json or val.json (default: test)"
    parser.add_argument("--split", choices=["test", "val"], help=split_help)
    args = parser.parse_args(argv)
    if args.split is not None and not (args.test or args.test_only):
        parser.error("--split is of a test: it goes with --test or --test-only")
    if args.launcher != "none":
        starter, variable = LAUNCHERS[args.launcher]
        if variable not in os.environ:
            parser.error(f"--launcher {args.launcher} goes with {starter}, which starts this command in each process")
    args.split = args.split or "test"
    args.work_dir = args.work_dir or Path("runs/segmenters") / args.config.stem
    return args


def build_config(args: argparse.Namespace) -> tuple["Config", dict]:
    """The config as this command wants it, its data and checkpoints looked at; what to say of its test in the file."""
    import torch
    from mmengine.runner import find_latest_checkpoint

    from augment.mmseg.checkpoint import load_checkpoint, save_plain_checkpoints
    from augment.mmseg.compat import attend_without_ops
    from augment.mmseg.config import check_data, load_config, parse_options, synthetic_hooks
    from augment.mmseg.evaluate import choose_nothing_on_test, score_each_class, take_val_split
    from augment.mmseg.initial_weights import fetch_initial_weights, without_initial_weights
    from augment.mmseg.mix import check_loss_weight
    from augment.mmseg.packages import require_packages
    from augment.mmseg.runner import distribute_on_cpu

    cuda = torch.cuda.is_available()
    if args.amp and not cuda:
        raise ValueError("--amp needs a CUDA device, and torch finds none; leave it out on a CPU")
    cfg = load_config(
        args.config,
        data_root=args.data_root,
        shards=args.shards,
        generator=args.generator,
        decisions=args.decisions,
        options=parse_options(args.cfg_options),
    )
    require_packages(cfg.model, args.config.name)
    attend_without_ops()
    cfg.work_dir = str(args.work_dir)
    cfg.launcher = args.launcher
    cfg.resume = args.resume and args.test_only is None
    if args.seed is not None:
        cfg.merge_from_dict({"randomness.seed": args.seed})
    if args.amp:
        cfg.merge_from_dict({"optim_wrapper.type": "AmpOptimWrapper", "optim_wrapper.loss_scale": "dynamic"})
    if args.launcher != "none" and not cuda:
        distribute_on_cpu(cfg)
    save_plain_checkpoints(cfg)
    choose_nothing_on_test(cfg)
    provenance = take_val_split(cfg) if args.split == "val" else {}
    score_each_class(cfg)

    if args.test_only is not None:
        cfg.load_from = str(args.test_only)
        check_data(cfg, ("test_dataloader",))
    else:
        check_data(cfg)
        for hook in synthetic_hooks(cfg):
            check_loss_weight(cfg.model, hook.get("loss_weight", 1))
    starts = [cfg.load_from, find_latest_checkpoint(cfg.work_dir) if cfg.resume else None]
    for file in starts:
        if file is not None and "://" not in file:
            load_checkpoint(file)  # a file that is refused is a user's error, told before any work starts
    if args.test_only is not None or starts[1] is not None:
        without_initial_weights(cfg.model)
    else:
        fetch_initial_weights(cfg.model)
    return cfg, provenance


def train_and_test(args: argparse.Namespace, runner: "BriefRunner", provenance: dict) -> list[str]:
    """What the options ask for; returns what is to be told of it."""
    from mmengine.dist import barrier
    from mmengine.runner import find_latest_checkpoint

    from augment.mmseg.checkpoint import load_weights
    from augment.mmseg.evaluate import format_scores, score_split

    checkpoint = args.test_only
    if checkpoint is None:
        runner.train()
        barrier()  # the first process may still be writing the checkpoint that all are about to load
        # without a validation there is no best one
        checkpoint = runner.message_hub.runtime_info.get("best_ckpt") or find_latest_checkpoint(runner.work_dir)
        if args.test:
            load_weights(runner, checkpoint)
    lines = [f"work dir: {runner.work_dir}", f"checkpoint: {checkpoint}"]
    if args.test or args.test_only is not None:
        tested = {"config": str(args.config), "checkpoint": str(checkpoint), **provenance}
        scores = score_split(runner, args.split, tested)
        file = Path(runner.work_dir) / f"{args.split}.json"
        lines += [f"{args.split} split ({file}), IoU in percent:", format_scores(scores)]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    from mmengine.dist import is_main_process

    from augment.mmseg.checkpoint import load_weights
    from augment.mmseg.runner import BriefRunner
    from dpsims.stop import stop_by_terminate

    stop_by_terminate()  # or the processes that load data would outlive this one
    try:
        cfg, provenance = build_config(args)
        runner = BriefRunner.from_cfg(cfg)
        if args.test_only is not None:
            load_weights(runner, str(args.test_only))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped before the start", file=sys.stderr)
        return 130
    try:
        lines = train_and_test(args, runner, provenance)
    except KeyboardInterrupt:
        print("\nstopped; the same command with --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    if is_main_process():
        print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What synthetic images are worth to a segmenter: trained with and without them, with all labels and with few.

For each label fraction and each seed, the same segmenter is trained in every arm and tested on real images. The report
says with what certainty the arms differ. The same command goes on where it stopped, on several GPUs side by side.

    python tools/gain.py configs/segmenters/efficientnet_lite0_fpn_camvid_real.py --data-root data/camvid \\
        --generator 1=runs/gan 0.25=runs/gan25 --arms mixed pretrain on-the-fly --out runs/gain

A generator for a fraction of the labels is to have seen no others. This makes such a data set to train it on:

    python tools/subset.py --data-root data/camvid --fraction 0.25 --out runs/camvid25
    python tools/train_gan.py data.root=runs/camvid25 out=runs/gan25 …
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from endings import plain_ending
from filter_options import check_words

from augment.report.gain import write_gain_report
from augment.report.gain_trained import BUDGETS
from augment.stages import Timings, run_side_by_side
from dpsims.stop import stop_by_terminate

SCORERS = ("segmenter", "discriminator")  # of tools/filter.py
# What this command gives other tools itself: another value would be of other images than the report tells of.
GIVEN = {
    "synthesis": ("--generator", "--labels", "--out", "--perturb"),
    "filter": ("--shards", "--scorer", "--out", "--config", "--checkpoint", "--data-root", "--gan"),
}

if TYPE_CHECKING:
    from augment.mmseg.comparison import Comparison


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, quoted = parser.add_argument, {"type": shlex.split, "metavar": "'OPTION …'"}
    add("config", type=Path, help="of the segmenter on real images, such as those in configs/segmenters")
    add("--data-root", type=Path, required=True, metavar="DIR", help="the real data, in the generic layout")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of everything")
    add("--fractions", type=float, nargs="+", metavar="F", help="of the labels (default: those of the generators)")
    add("--generator", nargs="+", default=[], metavar="F=RUN", help="of each fraction: run folder or snapshot")
    arms_help = (
        "beside real: synthetic (alone), mixed (with real ones in each batch), pretrain (synthetic, then real), "
    )
    arms_help += "on-the-fly (mixed, painted while it trains); ARM-filtered goes by a filter (default: the four)"
    add("--arms", nargs="+", metavar="ARM", help=arms_help)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the segmenters (default: 0 1 2)")
    add("--iterations", type=int, help="of a training on real images (default: the config's)")
    add("--equal", nargs="+", choices=BUDGETS, default=list(BUDGETS),
        help="in all arms: iterations, or epochs of real data (default: a table for each)")  # fmt: skip
    add("--share", type=float, default=0.5, help="of synthetic samples in a mixed batch (default: %(default)s)")
    add("--schedule", default="constant", help="of that share: constant, or linear to 0 (default: %(default)s)")
    add("--pretraining", type=float, default=0.5, help="share of the iterations that come first (default: %(default)s)")
    add("--loss-weight", type=float, default=1, help="of synthetic pixels (default: %(default)s)")
    add("--perturb", help="the label maps, in all synthetic arms: a preset or a file, as of tools/synthesize.py")
    add("--synthesis", default=[], help="more of tools/synthesize.py, as in --synthesis='--samples 16'", **quoted)
    filter_help = "of filtered arms: the segmenter on real images of the first seed, or the GAN's discriminator"
    add("--scorer", choices=SCORERS, default=SCORERS[0], help=f"{filter_help} (default: %(default)s)")
    add("--filter", default=[], help="more of tools/filter.py, as in --filter='--max-rejected 0.5'", **quoted)
    add("--jobs", type=int, help="trainings at once (default: one for each GPU, on a CPU one)")
    add("--report-only", action="store_true", help="train nothing; report what is finished")
    return parser.parse_args(argv)


def build(arguments: argparse.Namespace) -> "Comparison":
    """What is to be compared; raises a ValueError for options that make no sense."""
    from augment.mmseg.arms import KINDS, REAL, Mix, parse_arms
    from augment.mmseg.comparison import Comparison, find_parts
    from augment.mmseg.config import load_config

    arms = parse_arms(arguments.arms or KINDS)
    mix = Mix(arguments.share, arguments.pretraining, arguments.loss_weight, arguments.schedule)
    for option, given in GIVEN.items():
        check_not_given(f"--{option}", getattr(arguments, option), given)
    try:
        check_words(arguments.filter, arguments.scorer)  # now: the filter may come after hours of training
    except ValueError as error:
        raise ValueError(f"--filter: {error}") from None
    if arguments.filter and not any(arm.filtered for arm in arms):
        raise ValueError("--filter is of filtered arms, and there is none: --arms … mixed-filtered")
    if len(set(arguments.seeds)) != len(arguments.seeds):
        raise ValueError(f"--seeds are different numbers, not {arguments.seeds}")
    if min(arguments.seeds) < 0:
        raise ValueError(f"--seeds are at least 0, not {min(arguments.seeds)}")
    for option, least in (("iterations", 2), ("jobs", 1)):
        value = getattr(arguments, option)
        if value is not None and value < least:
            raise ValueError(f"--{option} is at least {least}, not {value}")
    generators = parse_generators(arguments.generator)
    fractions = arguments.fractions or sorted(generators) or [1.0]
    if len(set(fractions)) != len(fractions):
        raise ValueError(f"--fractions are different numbers, not {fractions}")
    for fraction in generators.keys() - set(fractions):
        raise ValueError(f"--generator {fraction:g}={generators[fraction]}: {fraction:g} is not among the --fractions")
    needed = any(arm.kind != REAL for arm in arms)
    return Comparison(
        config=arguments.config,
        out=arguments.out.absolute(),
        parts=find_parts(
            arguments.data_root.absolute(), arguments.out.absolute(), fractions, generators, needed=needed
        ),
        arms=arms,
        mix=mix,
        seeds=arguments.seeds,
        iterations=arguments.iterations
        or load_config(arguments.config, data_root=arguments.data_root).train_cfg.max_iters,
        budgets=arguments.equal,
        synthesis=arguments.synthesis,
        perturb=arguments.perturb,
        scorer=arguments.scorer,
        filtering=arguments.filter,
    )


def check_not_given(option: str, words: Sequence[str], given: Sequence[str]) -> None:
    """See that no word is, or begins, an option that is given already: argparse would take the later one."""
    for word in words:
        name = word.partition("=")[0]
        taken = next((it for it in given if len(name) > len("--") and it.startswith(name)), None)
        if taken:
            raise ValueError(f"{option}={word!r}: {taken} is given by this command, which would not know of another")


def parse_generators(texts: Sequence[str]) -> dict[float, Path]:
    """`F=RUN` → fraction → run."""
    found = {}
    for text in texts:
        fraction, equals, run = text.partition("=")
        try:
            found[float(fraction)] = Path(run)
        except ValueError:
            equals = ""
        if not equals or not run:
            raise ValueError(f"--generator {text!r} is FRACTION=RUN, such as 0.25=runs/gan25")
    return found


def places(jobs: int | None) -> list[dict[str, str]]:
    """For each training at once, what it sees: GPUs in turn, or its share of the CPU's cores."""
    gpus = torch.cuda.device_count()
    jobs = jobs or gpus or 1
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # of all GPUs, those that are this command's
        names = visible.split(",") if visible else [f"{index}" for index in range(gpus)]
        return [{"CUDA_VISIBLE_DEVICES": names[index % gpus]} for index in range(jobs)]
    share = f"{max(1, (os.cpu_count() or 1) // jobs)}"
    return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share)} for _ in range(jobs)]


def main() -> None:
    arguments = parse_args()
    stop_by_terminate()
    with plain_ending("stopped; the same command goes on"):  # a ChildProcessError is an OSError
        if not arguments.report_only:
            comparison = build(arguments)
            stages = comparison.prepare()
            print(f"{len(stages)} stages in {arguments.out}; what the tools say is in {arguments.out / 'logs'}")
            timings = Timings(comparison.out / "timings.json")
            run_side_by_side(stages, timings, places(arguments.jobs), comparison.out / "logs")
        page, sentence = write_gain_report(arguments.out, partial=arguments.report_only)
    print(f"{sentence}\nopen it in a browser: {page}")


if __name__ == "__main__":
    main()

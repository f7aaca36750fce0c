"""The whole job on built-in data, by the project's own tools: data, GAN, shards, segmenters, report.

    python demo/run.py --out runs/demo

Each command is shown before it runs; it can be typed as it stands. The same call again goes on where it stopped.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from augment.report.machine import describe_machine
from augment.report.write import write_report
from augment.storage import write_text

ROOT = Path(__file__).resolve().parents[1]
SEGMENTER = "configs/segmenters/efficientnet_lite0_fpn_streets_{arm}.py"
DATA = ("--train", "80", "--val", "20", "--test", "80", "--height", "64", "--width", "96")
SIZE = {"SEG_HEIGHT": "64", "SEG_WIDTH": "96"}
ABOUT = (
    "The “real” photos of this demo are street scenes drawn by code, so that nothing has to be downloaded; all sizes "
    "are chosen for ten minutes on two CPU cores."
)


@dataclass(frozen=True)
class Stage:
    """One tool, once.

    Attributes:
        arguments: of the interpreter: the tool and its options, from the project's root.
        product: a file that the stage leaves, from the project's root.
        inputs: products of earlier stages that it was made from.
        environment: variables set for it alone.
        skip: do not start the tool where the product is there; other tools see for themselves what is left to do.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    product: Path
    inputs: tuple[Path, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    skip: bool = False

    @property
    def command(self) -> str:
        """As one would type it."""
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*variables, shlex.join([short(sys.executable), *self.arguments])])


def plan(arguments: argparse.Namespace) -> list[Stage]:
    """The stages of the demo, in order."""
    out = Path(short(arguments.out.absolute()))
    data, gan, shards = out / "data", out / "gan", out / "shards"
    meta, generator, manifest = data / "meta.json", gan / "generator.safetensors", shards / "shards.json"
    stages = [
        Stage(
            "data",
            "Draw the street scenes",
            ("demo/make_data.py", "--out", f"{data}", *DATA, *arguments.data_options),
            product=meta,
        ),
        Stage(
            "gan",
            "Train the GAN",
            ("tools/train_gan.py", "experiment=demo", f"data.root={data}", f"out={gan}", *arguments.gan_options),
            product=generator,
            inputs=(meta,),
        ),
        Stage(
            "shards",
            "Make synthetic photos",
            (
                *("tools/synthesize.py", "--generator", f"{gan}", "--labels", f"{data / 'train'}"),
                *("--samples", f"{arguments.samples}", "--out", f"{shards}"),
            ),
            product=manifest,
            inputs=(meta, generator),
        ),
    ]
    environment = {**SIZE, "SEG_ITERS": f"{arguments.iterations}"}
    for seed in arguments.seeds:
        for arm, images in (("real", "real images"), ("mixed", "real and synthetic images")):
            work_dir = out / "segmenters" / f"{arm}-seed{seed}"
            stages.append(
                Stage(
                    work_dir.name,
                    f"Segmenter on {images}, seed {seed}",
                    (
                        *("tools/train_segmenter.py", SEGMENTER.format(arm=arm), "--data-root", f"{data}"),
                        *(("--shards", f"{shards}") if arm == "mixed" else ()),
                        *("--seed", f"{seed}", "--work-dir", f"{work_dir}", "--resume", "--test"),
                    ),
                    product=work_dir / "test.json",
                    inputs=(meta, manifest) if arm == "mixed" else (meta,),
                    environment=environment,
                    skip=True,
                )
            )
    return stages


class Timings:
    """`timings.json`: the machine, and how long each stage took until it was finished for the first time."""

    def __init__(self, file: Path) -> None:
        self.file = file
        content = json.loads(file.read_text()) if file.exists() else {"stages": []}
        self.stages: dict[str, dict] = {noted["name"]: noted for noted in content["stages"]}

    def start(self, stage: Stage) -> None:
        """Note that a stage starts: anew, or again to finish an earlier start or to go on with other options."""
        noted = self.stages.get(stage.name)
        if noted and noted["finished"]:
            if not (ROOT / stage.product).exists():
                noted = None  # what it left was deleted since
            elif noted["command"] == stage.command:
                return
        seconds, starts = (noted["seconds"], noted["starts"]) if noted else (0.0, 0)
        described = {"name": stage.name, "title": stage.title, "command": stage.command}
        self.stages[stage.name] = {**described, "seconds": seconds, "starts": starts + 1, "finished": False}
        self.save()

    def stop(self, stage: Stage, seconds: float, finished: bool) -> None:
        noted = self.stages[stage.name]
        if not noted["finished"]:
            noted |= {"seconds": round(noted["seconds"] + seconds, 2), "finished": finished}
            self.save()

    def save(self) -> None:
        content = {"machine": describe_machine(), "stages": list(self.stages.values())}
        write_text(self.file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def run_stages(stages: list[Stage], timings: Timings) -> None:
    """Run what is not finished, in order.

    Raises:
        ValueError: what is there of an earlier call does not fit this one; nothing was run.
        ChildProcessError: a tool failed.
    """
    for stage in stages:
        check(stage, timings)
    for number, stage in enumerate(stages, start=1):
        print(f"\n── {number}/{len(stages)} {stage.title} ──", flush=True)
        if stage.skip and (ROOT / stage.product).exists():
            print(f"finished before: {stage.product}", flush=True)
            continue
        print(f"$ {stage.command}", flush=True)
        timings.start(stage)
        since = time.perf_counter()
        code = call(stage)
        seconds = time.perf_counter() - since
        timings.stop(stage, seconds, finished=code == 0)
        if code:
            raise ChildProcessError(
                f"stage {number} of {len(stages)}, {stage.name}, ended with exit code {code} after {seconds:.0f} s. "
                "Its own message is above; the same command goes on from here"
            )
        print(f"took {seconds:.0f} s", flush=True)


def check(stage: Stage, timings: Timings) -> None:
    """See that what a stage left in an earlier call may stay: its inputs are there, its options were the same."""
    if not (ROOT / stage.product).exists():
        return
    lost = [file for file in stage.inputs if not (ROOT / file).exists()]
    if lost:
        raise ValueError(f"{stage.product} was made from {lost[0]}, which is gone; delete {stage.product.parent}, too")
    noted = timings.stages.get(stage.name)
    if stage.skip and noted and noted["command"] != stage.command:
        raise ValueError(
            f"{stage.product} is from another command ({noted['command']}); delete {stage.product.parent} or take "
            "another --out"
        )


def call(stage: Stage) -> int:
    """Run the stage's tool to its end; on Ctrl-C the tool, which got it too, may save what it has."""
    process = subprocess.Popen([sys.executable, *stage.arguments], cwd=ROOT, env=os.environ | stage.environment)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait() or 130  # as a shell counts Ctrl-C


def short(path: str | Path) -> str:
    """A path as seen from the project's root, if it is under it."""
    path = Path(path)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/demo"), help="folder of everything (default: %(default)s)")
    add("--seeds", type=int, nargs="+", default=[0, 1], help="of the segmenters, each in both arms (default: 0 1)")
    add("--samples", type=int, default=4, help="synthetic photos per label map (default: %(default)s)")
    add("--iterations", type=int, default=300, help="of each segmenter's training (default: %(default)s)")
    quoted = {"type": shlex.split, "default": [], "metavar": "'OPTION …'"}
    add("--data-options", help="more of demo/make_data.py, as in --data-options='--train 40 --seed 1'", **quoted)
    add("--gan-options", help="more of tools/train_gan.py, as in --gan-options='run.total_kimg=20'", **quoted)
    arguments = parser.parse_args()
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        run_stages(plan(arguments), Timings(arguments.out / "timings.json"))
        page, job = write_report(arguments.out, about=ABOUT)
    except (ValueError, OSError) as error:  # ChildProcessError is one
        sys.exit(f"error: {error}")
    print(f"\n── Report ──\n{job['result']['sentence']}\nopen it in a browser: {page}")


if __name__ == "__main__":
    main()

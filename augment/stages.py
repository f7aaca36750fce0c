"""A job of several tools: which are run, in what order or side by side, what each took, and where to go on.

Each stage is a command that can be typed as it stands, from the project's root.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tqdm import tqdm

from augment.report.machine import describe_machine
from augment.storage import write_text

ROOT = Path(__file__).resolve().parents[1]
POLL = 0.2  # seconds between looks at what has ended
TAIL = 12  # lines of a failed tool's log that are shown


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

    def is_command(self, noted: str) -> bool:
        """Whether that was this command, whatever Python was called by."""
        words, place = shlex.split(noted), len(self.environment)
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return words[:place] == variables and words[place + 1 :] == list(self.arguments)


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
            elif stage.is_command(noted["command"]):
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
    if stage.skip and noted and not stage.is_command(noted["command"]):
        raise ValueError(
            f"{stage.product} is from another command ({noted['command']}); delete {stage.product.parent} or take "
            "another --out"
        )


def call(stage: Stage) -> int:
    """Run the stage's tool to its end; on Ctrl-C the tool, which got it too, may save what it has."""
    process = start(stage)
    try:
        return process.wait()
    except KeyboardInterrupt:
        return process.wait() or 130  # as a shell counts Ctrl-C


def start(stage: Stage, environment: Mapping[str, str] | None = None, log: IO[bytes] | None = None) -> subprocess.Popen:
    """Its tool as a process, with variables beyond its own; what it says goes into the log, if there is one."""
    command, variables = [sys.executable, *stage.arguments], {**os.environ, **stage.environment, **(environment or {})}
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log and subprocess.STDOUT)


def run_side_by_side(
    stages: Sequence[Stage], timings: Timings, places: Sequence[Mapping[str, str]], logs: Path
) -> None:
    """Run what is not finished, each stage once its inputs are there, as many at once as there are places.

    A bar counts the stages; what the tools say goes into `logs`, a file for each stage. After a failure nothing new is
    started, and what runs goes on to its end.

    Args:
        places: variables of each place, such as the GPU that its stages see.

    Raises:
        ValueError: as of `run_stages`.
        ChildProcessError: a tool failed; the message has the end of its log.
    """
    for stage in stages:
        check(stage, timings)
    done = [stage for stage in stages if stage.skip and (ROOT / stage.product).exists()]
    waiting = [stage for stage in stages if stage not in done]
    running: dict[int, tuple[Stage, subprocess.Popen, float]] = {}  # by place
    failure = ""
    logs.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=len(stages), initial=len(done), unit="stage", disable=None, smoothing=0)
    try:
        while running or (waiting and not failure):
            for place, variables in enumerate(places):
                stage = next((stage for stage in waiting if is_ready(stage, stages, done)), None)
                if place in running or stage is None or failure:
                    continue
                waiting.remove(stage)
                timings.start(stage)
                tqdm.write(f"{stage.title}\n  $ {stage.command}")
                with open(logs / f"{stage.name.replace('/', '-')}.log", "ab") as log:
                    running[place] = (stage, start(stage, variables, log), time.perf_counter())
            bar.set_postfix_str(", ".join(stage.name for stage, _, _ in running.values()))
            time.sleep(POLL)
            for place, (stage, process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[place]
                seconds = time.perf_counter() - since
                timings.stop(stage, seconds, finished=process.returncode == 0)
                if process.returncode:
                    log = logs / f"{stage.name.replace('/', '-')}.log"
                    failure = failure or describe_failure(stage, process.returncode, seconds, log)
                    continue
                done.append(stage)
                bar.update()
    finally:
        for _, process, _ in running.values():
            process.terminate()
        for stage, process, since in running.values():
            process.wait()
            timings.stop(stage, time.perf_counter() - since, finished=False)
        bar.close()
    if failure:
        raise ChildProcessError(failure)


def is_ready(stage: Stage, stages: Sequence[Stage], done: Sequence[Stage]) -> bool:
    """Whether all that makes its inputs is done."""
    return all(other in done for other in stages if other.product in stage.inputs)


def describe_failure(stage: Stage, code: int, seconds: float, log: Path) -> str:
    last = "\n".join(f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-TAIL:])
    return f"{stage.name} ended with exit code {code} after {seconds:.0f} s; the end of {log}:\n{last}"


def short(path: str | Path) -> str:
    """A path as seen from the project's root, if it is under it."""
    path = Path(path)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

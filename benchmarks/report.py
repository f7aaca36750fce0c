"""The JSON document that every benchmark prints: command, environment, and a result for each setting."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import torch

from benchmarks.environment import environment

S = TypeVar("S")


def run(
    name: str, arguments: Sequence[str], settings: Sequence[S], measure: Callable[[S], dict], out: Path | None
) -> None:
    """Measure every setting and print the document. One that runs out of memory, or to NaN, is a result with `error`.

    Args:
        name: of the benchmark; with `arguments`, its command line, the document's `command`.
        settings: dataclass instances.
        measure: setting → figures.
        out: gets the document after every setting, so that a run that is stopped leaves what it has.
    """
    command = shlex.join(["python", "-m", f"benchmarks.{name}", *arguments])
    document = {"command": command, "environment": environment(), "results": []}
    for number, setting in enumerate(settings, 1):
        options = dataclasses.asdict(setting)
        listed = " ".join(f"{key}={value}" for key, value in options.items())
        print(f"{number}/{len(settings)}: {listed}", file=sys.stderr, flush=True)
        try:
            figures = measure(setting)
        except (torch.OutOfMemoryError, BrokenProcessPool, FloatingPointError) as error:
            figures = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
            print(figures["error"], file=sys.stderr, flush=True)
        document["results"].append({"setting": options, **figures})
        if out:
            write(out, document)
    print(json.dumps(document, indent=1))


def write(file: Path, document: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(file)

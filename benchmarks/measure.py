"""Seconds, bytes and the FLOP floor, measured so that they can be compared.

**FLOP floor.** `FLOPs` are those of convolutions, matrix products and attention, two per multiply-add, as torch's
`FlopCounterMode` sees them; element-wise work, norms, resampling and memory traffic count nothing. `R` is the rate of
one large square matrix product in the same precision on the same device, timed in the same process between the timed
passes; the best of its turns counts, for it stands for what the machine can do. Then

    floor_seconds = FLOPs / R        efficiency = floor_seconds / (median of the measured seconds)

so an efficiency of 1 is a pass that multiplies all the time at the speed of a matrix product. It can exceed 1 where a
convolution algorithm (Winograd, for one) gets by with fewer multiplications than the definition has.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch

R = TypeVar("R")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MATMUL_SIZE = {"cpu": 2048, "cuda": 8192}  # large enough for the full rate, small beside what is measured


class Matmul:
    """The yardstick: a product of two square matrices.

    In fp32 on CUDA it may use TF32 where cuDNN's convolutions may (torch's default), or they would beat their floor.
    """

    def __init__(self, device: torch.device, dtype: str) -> None:
        size = MATMUL_SIZE[device.type]
        self.a, self.b = torch.randn(2, size, size, device=device).to(DTYPES[dtype])
        self.flops = 2 * size**3
        self.tf32 = device.type == "cuda" and torch.backends.cudnn.allow_tf32

    def __call__(self) -> None:
        before = torch.get_float32_matmul_precision()
        if self.tf32:
            torch.set_float32_matmul_precision("high")
        torch.mm(self.a, self.b)
        torch.set_float32_matmul_precision(before)


def in_turns(tasks: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every task in every round. In turns, so that a slow minute of the machine hits all tasks alike."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            synchronize(device)
            start = time.perf_counter()
            task()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def against_floor(flops: int, seconds: Sequence[float], matmul: Matmul, matmul_seconds: Sequence[float]) -> dict:
    """The floor of a pass of so many FLOPs, and how near its median comes to it."""
    floor = flops / matmul.flops * min(matmul_seconds)
    return {"floor_seconds": short(floor), "efficiency": short(floor / statistics.median(seconds))}


def rate(matmul: Matmul, matmul_seconds: Sequence[float]) -> dict[str, float]:
    """FLOPs per second of the yardstick; `max` is the R of the floor."""
    return spread([matmul.flops / seconds for seconds in matmul_seconds])


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": short(min(values)), "median": short(statistics.median(values)), "max": short(max(values))}


def short(value: float) -> float:
    """Four digits: more than any of the figures is good for."""
    return float(f"{value:.4g}")


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def autocast(device: torch.device, dtype: str) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16")


def current_memory(device: torch.device) -> int:
    """Bytes: of tensors on a GPU, of the whole process (resident) on a CPU."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _process_memory("VmRSS")


def peak_memory(device: torch.device) -> int:
    """The highest `current_memory` since the process began."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _process_memory("VmHWM")


def _process_memory(field: str) -> int:
    """Not getrusage: its peak starts from that of the parent process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024  # given in kB
    raise ValueError(f"/proc/self/status has no {field}: peak memory on a CPU is measured on Linux only")


def run_alone(function: Callable[..., R], *arguments: object) -> R:
    """The result of a function of a module in a fresh process, so that its memory is its own.

    What it prints goes to stderr: stdout is for the JSON document.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_print_to_stderr) as pool:
        return pool.submit(function, *arguments).result()


def _print_to_stderr() -> None:
    os.dup2(2, 1)

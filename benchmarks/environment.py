"""What a figure was measured on: hardware, software versions, commit, and how busy the machine was."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from augment.report.machine import describe_machine

INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that decide how fast a CPU multiplies
ROOT = Path(__file__).parents[1]


def environment() -> dict:
    """Plain values, ready for JSON. Figures want a quiet machine: `load_average` (1, 5, 15 minutes) tells."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        **describe_machine(),
        "cpu_instructions": cpu_instructions(),
        "torch_threads": torch.get_num_threads(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "gpus": gpus(),
        "cuda": torch.version.cuda,  # that torch was built on
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
    }


def cpu_instructions() -> list[str]:
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.is_file() else set()
    return [name for name in INSTRUCTIONS if name in words]


def gpus() -> list[dict]:
    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return [
        {
            "name": gpu.name,
            "memory_bytes": gpu.total_memory,
            "compute_capability": f"{gpu.major}.{gpu.minor}",
            "multiprocessors": gpu.multi_processor_count,
        }
        for gpu in found
    ]


def commit() -> str | None:
    """The commit of this checkout, with "+" where files differ from it; None outside a checkout."""
    try:
        head, changes = (
            subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")

"""The machine and the versions that a result comes from."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "dpsims-augment",
    "torch",
    "torchvision",
    "timm",
    "torch-fidelity",
    "torchmetrics",
    "numpy",
    "webdataset",
    "onedl-mmsegmentation",
    "onedl-mmengine",
    "onedl-mmcv",
    "mmsegmentation",
    "mmengine",
    "mmcv",
    "mmcv-lite",
)


def describe_machine() -> dict:
    """CPU, cores that this process may use, memory in bytes, GPUs, system, and the packages' versions."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := installed(name))},
    }


def cpu_model() -> str:
    """As the system calls it; the architecture where it does not say."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such question on this system
        return None


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

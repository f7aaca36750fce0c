"""What to compute on, in which precision, and in how much memory."""

import os
from pathlib import Path

import torch

PRECISIONS = ("auto", "bf16", "fp32")


def pick_device(name: str) -> torch.device:
    """A device by name; "auto" is CUDA where there is one, else the CPU. Each of torchrun's ranks gets its own GPU.

    Raises:
        ValueError: no such device, or one of another kind, which nothing here was run on.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r}: {error}") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {name!r}: it is cpu or cuda, not {device.type}")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def use_bf16(device: torch.device, precision: str) -> bool:
    """Whether to autocast to bf16: under "bf16", and under "auto" where the hardware multiplies matrices in it.

    That is CUDA from Ampere on, and CPUs with AMX or AVX512-BF16 (with the second alone, on one core of an AMD EPYC, a
    training step at 96x128 is 1.5 times faster than in fp32). fp16 is no choice: UNet discriminators go NaN under it.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()
        native = capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False)
    return precision == "bf16" or (precision == "auto" and native)


def main_memory(groups_of_process: Path = Path("/proc/self/cgroup"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may take: all that the machine has, or what its container is allowed (cgroups 1 or 2).

    A file that is not there, cannot be read or holds no number sets no limit.
    """
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for line in _read(groups_of_process).splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") > 1 else ("", "none", "")
        if controllers == "":
            root, name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for place in (group, *group.parents):  # the limit of each counts; a container may see itself as the root
            limit = _read(root / place / name).strip()
            if limit.isdecimal() and int(limit) > 0:  # else "max", or nothing that we know
                limits.append(int(limit))
    return min(limits)


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except (OSError, ValueError):  # the second of a path with a zero byte
        return ""

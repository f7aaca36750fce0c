"""What to compute on, and in which precision."""

import os

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

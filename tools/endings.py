"""How a tool ends that cannot go on: what a person can do about it, in a line, and an exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def plain_ending(
    stopped: str = "stopped",
    *,
    faults: tuple[type[Exception], ...] = (ValueError, OSError),
    batch_size: int | None = None,
) -> Iterator[None]:
    """End the tool with status 2 after a fault, with 130 after Ctrl-C; other exceptions keep their traceback.

    Args:
        stopped: what is said after Ctrl-C, such as what stays.
        faults: exceptions whose message is for the person who called the tool.
        batch_size: what --batch-size is, for tools that have it: where a GPU's memory is full, less may fit.
    """
    try:
        yield
    except faults as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except torch.OutOfMemoryError:
        if batch_size is None:
            raise
        print(f"error: the GPU's memory is full; --batch-size is {batch_size}, try less", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(130)

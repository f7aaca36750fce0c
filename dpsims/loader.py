"""Batches of a data set, loaded by worker processes; a bad item is one line, whichever process has met it."""

from collections.abc import Iterable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from dpsims.stop import ignore_interrupts


class _Guarded(Dataset):
    """Another's items, or the ValueErrors of bad ones, which a worker would hand over as the text of a traceback."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, item: object) -> object:
        try:
            return self.dataset[item]
        except ValueError as error:
            return ValueError(str(error))


def _collate(items: list) -> object:
    return next((item for item in items if isinstance(item, ValueError)), None) or default_collate(items)


def load(
    dataset: Dataset, items: Iterable[object], batch_size: int, *, workers: int, pin_memory: bool = False
) -> Iterator:
    """Batches of these items in order, on the CPU; the last one may be smaller.

    Args:
        items: what the data set is asked for, one after the other; may be without end.
        workers: processes that load; 0 loads in this one.

    Raises:
        ValueError: an item that the data set cannot give; its message names the file.
    """
    loader = DataLoader(
        _Guarded(dataset),
        batch_size,
        sampler=items,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=ignore_interrupts,
        generator=torch.Generator(),  # of the workers' seeds, which nothing uses: leave the global one alone
    )
    for batch in loader:
        if isinstance(batch, ValueError):
            raise batch
        yield batch

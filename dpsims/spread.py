"""Some of many, at equal distances: data sets are often in the order of a drive or a video."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def spread_indices(count: int, most: int | None = None) -> list[int]:
    """Of `count` items all, or `most` at equal distances, the first and the last among them."""
    if most is None or count <= most:
        return list(range(count))
    return [int(index) for index in np.linspace(0, count - 1, most).round()]


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items."""
    return [items[index] for index in spread_indices(len(items), most)]

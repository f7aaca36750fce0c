"""Other label maps to take objects and halves from: loaded when asked for, a bounded number kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from augment.perturb.scene import Scene
from augment.perturb.statistics import COLUMNS

BYTES_PER_PIXEL = 9  # of a scene: ids, instances, numbers of regions


class Donors:
    """The label maps by source key, and an index of their objects. Threads may share it.

    Args:
        load: source key → scene at the frame's size.
        objects: source key → rows of its objects (`MapSummary.objects`); plain JSON. Keys without objects count, too.
        megabytes: of scenes that stay in memory, those used last.
    """

    def __init__(
        self, load: Callable[[str], Scene], objects: Mapping[str, Sequence[Sequence[int]]], *, megabytes: int = 256
    ) -> None:
        self.keys = list(objects)
        counts = [len(rows) for rows in objects.values()]
        self.owner = np.repeat(np.arange(len(self.keys)), counts)  # (N,) which key an object is of
        flat = [row for rows in objects.values() for row in rows]
        self.objects: Int[np.ndarray, "n 9"] = np.array(flat, np.int64).reshape(-1, len(COLUMNS))
        self._load, self._bytes = load, megabytes * 10**6
        self._scenes: OrderedDict[str, Scene] = OrderedDict()
        self._lock = threading.Lock()

    def scene(self, source_key: str) -> Scene:
        """The label map of that name; two threads that ask for it at the same time may both read it."""
        with self._lock:
            if source_key in self._scenes:
                self._scenes.move_to_end(source_key)
                return self._scenes[source_key]
        scene = self._load(source_key)
        with self._lock:
            self._scenes[source_key] = scene
            kept = max(1, self._bytes // (BYTES_PER_PIXEL * scene.label_map.size))
            while len(self._scenes) > kept:
                self._scenes.popitem(last=False)
        return scene

    def key_of(self, row: int) -> str:
        """Source key of an object of the index."""
        return self.keys[self.owner[row]]

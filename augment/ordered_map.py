"""Work in threads that keeps its order and looks ahead only so far."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

POLL = 0.1  # seconds between looks at whether anybody still waits


@contextmanager
def thread_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that, when the block is left early, drops what has not begun: Ctrl-C waits for one task per thread."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def ordered_map(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """`map` in the pool's threads: results in the order of the items, at most `ahead` of them under way."""
    pending: deque[Future[R]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        while pending and (len(pending) >= ahead or pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def in_background(items: Iterable[T], ahead: int) -> Iterator[T]:
    """The items, made in a thread of their own while the last ones are used; at most `ahead` of them wait.

    An error in the making is raised here, after the items before it. The thread ends with this iterator.
    """
    waiting: Queue[tuple[T | None, BaseException | None, bool]] = Queue(ahead)
    left = threading.Event()

    def put(item: T | None, error: BaseException | None, last: bool) -> None:
        while not left.is_set():
            try:
                waiting.put((item, error, last), timeout=POLL)
                return
            except Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item, None, False)
                if left.is_set():
                    return
            put(None, None, True)
        except BaseException as error:
            put(None, error, True)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error, last = waiting.get()
            if error is not None:
                raise error
            if last:
                return
            yield item
    finally:
        left.set()
        thread.join()

"""Stopping politely: the first SIGINT or SIGTERM asks the loop to finish its step, one some seconds later breaks in.

Where there is no such loop, SIGTERM breaks in as Ctrl-C does.
"""

import multiprocessing
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

ECHO = 3.0  # seconds in which a second signal is the first one again: launchers pass on what a terminal sent to all


class StopSignal:
    """`with StopSignal() as stop:` and look at `stop.requested` once per step. Inert outside the main thread."""

    def __init__(self) -> None:
        self.requested = False
        self.since = 0.0
        self.previous: dict[int, object] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self.since = True, time.monotonic()
        elif time.monotonic() - self.since > ECHO:
            raise KeyboardInterrupt


def ignore_interrupts(worker: int) -> None:
    """For data workers: what stops a group of processes reaches them, too, but it is the loop that decides when."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def stop_by_terminate() -> None:
    """Let SIGTERM do what Ctrl-C does: leave nothing half-written; and let neither make data workers print anything."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)  # or torch tells of workers that SIGTERM has ended, too
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    sys.excepthook = _report  # forked workers inherit it


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, but not in a data worker whose batch nobody takes any more.

    Workers hand their tensors over from a thread, which ends in such an error where the tool stops in the middle of it.
    """
    nobody_takes_it = isinstance(error, ConnectionError | EOFError)
    if not (nobody_takes_it and multiprocessing.parent_process() is not None):
        sys.__excepthook__(kind, error, trace)

import signal
import subprocess
import sys

import pytest

from dpsims import stop
from dpsims.stop import StopSignal


def test_the_first_signal_asks_and_its_echo_is_one_with_it():
    with StopSignal() as signals:
        assert not signals.requested
        signal.raise_signal(signal.SIGINT)
        assert signals.requested
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)


def test_a_later_one_breaks_in(monkeypatch):
    monkeypatch.setattr(stop, "ECHO", -1.0)
    with StopSignal():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_signals_are_as_before():
    before = signal.getsignal(signal.SIGINT)
    with StopSignal():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


STOPPED_WHILE_A_BATCH_COMES = """
import multiprocessing.reduction
import sys
import time

import torch
from torch.utils.data import DataLoader

from dpsims.stop import stop_by_terminate


def stop(connection):
    raise KeyboardInterrupt


stop_by_terminate()
loader = iter(DataLoader(torch.arange(4), num_workers=1))
multiprocessing.reduction.recv_handle = stop
try:
    next(loader)
except KeyboardInterrupt:
    time.sleep(1)  # the worker's thread meets the closed connection
    print("stopped", file=sys.stderr)
"""


def test_a_worker_whose_batch_nobody_takes_says_nothing():
    command = [sys.executable, "-c", STOPPED_WHILE_A_BATCH_COMES]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == "stopped\n"

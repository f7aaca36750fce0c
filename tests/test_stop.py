import signal

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

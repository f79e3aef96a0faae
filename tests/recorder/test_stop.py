"""The wish to stop, from a signal handler above all."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

import pytest

from sockrec.recorder.stop import Stop


def test_it_ends_a_wait_at_once_and_stays_set() -> None:
    stop = Stop()
    assert not stop.is_set()
    assert not stop.wait(0.01)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    assert stop.wait(30)
    assert time.monotonic() - began < 10
    stop.set()
    assert stop.is_set()
    assert stop.wait(30)


@pytest.mark.timeout(60)
def test_a_signal_handler_may_set_it_at_any_moment() -> None:
    """With an Event this hangs within some thousand signals: the handler runs while the wait has its lock."""
    stops: list[Stop] = []

    def handler(_number: int, _frame: FrameType | None) -> None:
        stops[-1].set()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        for number in range(5000):
            stops[:] = [Stop()]
            signal.setitimer(signal.ITIMER_REAL, 0.00001 + number % 50 / 1e6)
            while not stops[-1].wait(0.00001):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

"""The recorder's thrift over minutes, on a clock and a CPU of the test's own."""

from __future__ import annotations

import itertools

import pytest

from sockrec.kernel import host
from sockrec.recorder import thrift
from sockrec.recorder.thrift import Thrift

SECOND = 1_000_000


class Played:
    """A recorder whose samples cost what the test says: the seconds at which it took all sockets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: float | None, startup_us: int = 0) -> None:
        self.now_us, self.cpu_us = 77 * SECOND, 0
        self.samples: list[int] = []
        monkeypatch.setattr(host, "boot_us", lambda: self.now_us)
        for clock in ("cpu_us", "thread_us"):
            monkeypatch.setattr(thrift, clock, lambda: self.cpu_us)
        self.thrift = Thrift(share, startup_us)

    def run(self, ticks: int, first_us: int, sample_us: int, listeners_us: int) -> None:
        """Tick once a second."""
        for tick in range(ticks):
            self.now_us = (77 + tick) * SECOND
            if self.thrift.wants_all(tick):
                self.cpu_us += sample_us if tick else first_us
                self.thrift.sampled(tick)
                self.samples.append(tick)
            else:
                self.cpu_us += listeners_us
            self.thrift.account(tick)


@pytest.mark.parametrize("startup_us", [0, 300_000])
def test_five_minutes_cost_their_share_and_no_more(monkeypatch: pytest.MonkeyPatch, startup_us: int) -> None:
    """As measured on 100,000 sockets: the first sample 1.2 s, the others 0.2 s, listeners 2 ms."""
    played = Played(monkeypatch, 0.05, startup_us)
    played.run(300, 1_200_000, 200_000, 2_000)
    allowed = 0.05 * 300 * SECOND
    assert 0.85 * allowed < startup_us + played.cpu_us <= allowed


def test_an_expensive_first_sample_does_not_put_off_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, 0.05)
    played.run(300, 1_600_000, 250_000, 2_000)
    assert played.samples[1] == 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(played.samples)]
    assert max(gaps) <= 15, "and from there on they are spread evenly"


def test_where_listeners_take_all_of_the_share_a_minute_has_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, 0.05)
    played.run(600, 500_000, 90_000, 80_000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(played.samples)]
    assert max(gaps) == 60


def test_but_none_that_would_take_all_of_the_share_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, 0.05)
    played.run(600, 6_000_000, 6_000_000, 0)
    # What one costs is known from the second on.
    gaps = [later - earlier for earlier, later in itertools.pairwise(played.samples[1:])]
    assert min(gaps) > 60


@pytest.mark.parametrize(("listeners_us", "percent"), [(80_000, 8.0), (45_000, None)])
def test_listeners_that_alone_take_more_than_the_share_are_told(
    monkeypatch: pytest.MonkeyPatch, listeners_us: int, percent: float | None
) -> None:
    played = Played(monkeypatch, 0.05)
    played.run(10, 500_000, 400_000, listeners_us)
    assert played.thrift.listeners_percent is None, "too early to tell"
    played = Played(monkeypatch, 0.05)
    played.run(200, 500_000, 400_000, listeners_us)
    found = played.thrift.listeners_percent
    assert found == (None if percent is None else pytest.approx(percent, rel=0.05))


def test_without_a_limit_every_tick_is_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(monkeypatch, None)
    played.run(50, 5_000_000, 900_000, 2_000)
    assert played.samples == list(range(50))

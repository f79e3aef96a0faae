"""How processes ended that nobody watched, as the process connector announces it."""

from __future__ import annotations

import pytest

from sockrec.recorder.events.causes import Cause, Closing
from tests.recorder.events.support import made_up, process_exits
from tests.recorder.events.test_causes import EXITING, LATER, MS, NOW, OPEN_CASE, SERVER, SOON, Case

WORKER = 107
"""A thread of the server that is not its last."""


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(made_up(monkeypatch))


def announce(case: Case, *exits: tuple[int, int, int, int]) -> None:
    """Announce exits, each as time, thread, process and status."""
    case.causes.announced(process_exits(exits))


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (3 << 8, Cause("exit", SERVER, "server", exit_code=3)),
        (0x8B, Cause("signal", SERVER, "server", signal=11)),
    ],
)
def test_an_exit_that_no_pidfd_saw_has_its_status(case: Case, status: int, cause: Cause) -> None:
    case.observe(exits=EXITING)
    assert case.of(OPEN_CASE) is None, "it may still come"
    announce(case, (NOW, SERVER, SERVER, status))
    assert case.of(OPEN_CASE) == cause
    assert [(end.pid, end.not_after, end.cause) for end in case.causes.process_ends(SOON)] == [
        (SERVER, EXITING[0][0], cause)
    ]
    assert case.causes.process_ends(SOON) == [], "once"


def test_a_status_of_an_earlier_thread_of_that_number_is_not_its(case: Case) -> None:
    announce(case, (NOW - 600 * MS, SERVER, SERVER, 3 << 8))
    case.observe(exits=EXITING)
    assert case.of(OPEN_CASE) is None


def test_one_that_closes_and_exits_unwatched_is_told_with_its_end(case: Case) -> None:
    case.observe(exits=[(NOW + 5 * MS, SERVER, b"server")])
    announce(case, (NOW + 6 * MS, SERVER, SERVER, 3 << 8))
    assert case.of(OPEN_CASE) == Cause("close", SERVER, "server", exit_code=3)


def test_a_thread_that_ends_is_no_end_of_its_process(case: Case) -> None:
    case.observe(exits=[(NOW + 5 * MS, WORKER, b"worker")])
    announce(case, (NOW + 6 * MS, WORKER, SERVER, 0))
    assert case.of(OPEN_CASE) == Cause("close", SERVER, "server")
    assert case.causes.process_ends(SOON) == []


def test_the_process_of_a_dead_thread_is_known(case: Case) -> None:
    """A worker of the holder closed it and ended: not another process, of the worker's number."""
    case.observe(exits=[(NOW + 5 * MS, WORKER, b"worker")])
    announce(case, (NOW + 6 * MS, WORKER, SERVER, 0))
    closed = Closing(NOW, NOW, WORKER, (SERVER,), SERVER, "server")
    assert case.of(closed) == Cause("close", SERVER, "server")


@pytest.mark.parametrize("holders", [(SERVER,), ()])
def test_the_process_of_a_dead_thread_is_waited_for(case: Case, holders: tuple[int, ...]) -> None:
    """The announcement trails the exit; where no sample saw the holder, it alone tells the process."""
    closed = Closing(NOW, NOW, WORKER, holders, *((SERVER, "server") if holders else (None, None)))
    case.observe(exits=[(NOW + 5 * MS, WORKER, b"worker")])
    assert case.of(closed) is None
    announce(case, (NOW + 6 * MS, WORKER, SERVER, 0))
    assert case.of(closed) == Cause("close", SERVER, "server")


def test_a_thread_of_another_process_closed_it_and_ended(case: Case) -> None:
    case.observe(exits=[(NOW + 5 * MS, WORKER, b"worker")])
    announce(case, (NOW + 6 * MS, WORKER, 200, 0))
    closed = Closing(NOW, NOW, WORKER, (SERVER,), SERVER, "server")
    assert case.of(closed) == Cause("other process", SERVER, "server", by_pid=200, by_program="admin")


def test_where_exits_are_not_announced_its_name_is_told_in_the_end(case: Case) -> None:
    case.observe(exits=[(NOW + 5 * MS, WORKER, b"worker")])
    closed = Closing(NOW, NOW, WORKER, (), None, None)
    assert case.of(closed) is None
    assert case.of(closed, LATER) == Cause("close", None, "worker")


def test_a_process_that_makes_threads_for_ever_takes_no_more_room(case: Case) -> None:
    for thread in range(1000, 1100):
        announce(case, (NOW, thread, SERVER, 0))
    assert len(case.causes._announced_of[SERVER]) <= 8
    announce(case, (NOW + 6 * MS, SERVER, SERVER, 5 << 8))
    case.observe(exits=[(NOW + 5 * MS, SERVER, b"server")])
    assert case.of(OPEN_CASE) == Cause("close", SERVER, "server", exit_code=5)

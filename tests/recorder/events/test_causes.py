"""Why listeners and processes ended, from what the trace and the pidfds say; nothing of it is guessed."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field, replace

import pytest

from sockrec.kernel.exits import Exit
from sockrec.kernel.process_events import Exec, OomKill, Signal
from sockrec.recorder.events.causes import PATIENCE_US, Cause, Causes, Closing
from sockrec.recorder.events.people import People
from tests.recorder.events.support import Host, made_up, thread_exits

MS = 1_000_000  # nanoseconds
NOW = 1000 * MS
NOW_US = NOW // 1000
# Later than programs that end by themselves take, sooner than the patience is over.
SOON = NOW_US + 300_000
LATER = NOW_US + PATIENCE_US
UNTIL = NOW + 200 * MS
SERVER = 100


@dataclass
class Case:
    """Causes on a made-up host, where process 100 is `server`, 200 `admin` and 300 `helper`."""

    host: Host
    people: People = field(default_factory=People)

    def __post_init__(self) -> None:
        for pid, program in ((SERVER, "server"), (200, "admin"), (300, "helper")):
            self.host.add(pid, program)
        self.holders = {SERVER: "server"}
        self.causes = Causes(self.people, self.holders.get)

    def observe(
        self,
        *,
        exits: list[tuple[int, int, bytes]] | None = None,
        execs: list[Exec] | None = None,
        signals: list[Signal] | None = None,
        oom: list[OomKill] | None = None,
        until: int = UNTIL,
    ) -> None:
        told = thread_exits(exits or [], others={107})
        self.people.observe(told, execs or [])
        self.causes.observe(told, execs or [], signals or [], oom or [], until)

    def ended(self, pid: int = SERVER, status: int | None = None, *, at_us: int = NOW_US) -> None:
        self.causes.ended([Exit(pid, at_us - 100, at_us + 100, status)])

    def of(self, closing: Closing, now_us: int = SOON) -> Cause | None:
        return self.causes.of(closing, now_us)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(made_up(monkeypatch))


def closing(thread: int | None = SERVER, holders: tuple[int, ...] = (SERVER,), *, at: int = NOW) -> Closing:
    first = at if thread is not None else at - 50 * MS
    return Closing(first, at, thread, holders, SERVER if holders else None, "server" if holders else None)


def sent(number: int, sender: int | None, *, target: int = SERVER, at: int = NOW - 1000) -> Signal:
    return Signal(at, number, 0, target, "server", True, sender, True)


EXITING = [(NOW - 500, SERVER, b"server")]
OPEN_CASE = closing()


def test_its_holder_closed_it(case: Case) -> None:
    case.observe()
    assert case.of(OPEN_CASE) == Cause("close", SERVER, "server")


def test_it_waits_until_an_exec_would_be_known(case: Case) -> None:
    case.observe(until=NOW)
    assert case.of(OPEN_CASE) is None
    assert case.of(OPEN_CASE, LATER) == Cause("close", SERVER, "server")
    assert case.causes.of(OPEN_CASE, SOON, at_once=True) == Cause("close", SERVER, "server")


def test_one_that_closes_and_ends_right_then_is_told_with_its_end(case: Case) -> None:
    case.observe()
    assert case.of(OPEN_CASE, NOW_US + 100_000) is None
    case.ended(status=None, at_us=NOW_US + 5000)
    assert case.of(OPEN_CASE) is None
    case.ended(status=256, at_us=NOW_US + 5000)
    assert case.of(OPEN_CASE, NOW_US + 6000) == Cause("close", SERVER, "server", exit_code=1)


def test_one_that_ends_long_after_it_closed_is_told_without(case: Case) -> None:
    case.observe()
    case.ended(status=256, at_us=NOW_US + PATIENCE_US + 5000)
    assert case.of(OPEN_CASE, LATER + 6000) == Cause("close", SERVER, "server")


def test_another_process_closed_it(case: Case) -> None:
    case.observe()
    found = case.of(closing(thread=200))
    assert found == Cause("other process", SERVER, "server", by_pid=200, by_program="admin")


def test_the_recorder_that_looked_at_it_did_not_close_it(case: Case) -> None:
    """Who looks at a descriptor as it is given up has its file last, and closes it."""
    case.host.add(os.getpid(), "sockrec")
    case.observe()
    ours = closing(thread=os.getpid())
    assert case.of(ours) is None  # its holder may be about to end
    assert case.of(ours, LATER) == Cause("close", SERVER, "server")
    case.ended(status=signal.SIGSEGV, at_us=NOW_US + 5000)
    assert case.of(ours) == Cause("signal", SERVER, "server", signal=signal.SIGSEGV)


def test_one_of_several_holders_closed_it_last(case: Case) -> None:
    case.observe()
    assert case.of(closing(thread=200, holders=(SERVER, 200))) == Cause("close", 200, "admin")


def test_nobody_known_to_hold_it_closed_it_himself(case: Case) -> None:
    case.observe()
    assert case.of(closing(thread=200, holders=())) == Cause("close", 200, "admin")


def test_an_interrupt_is_nobody(case: Case) -> None:
    case.observe()
    assert case.of(closing(thread=-1)) == Cause(None, SERVER, "server")


def test_a_thread_of_its_holder_closed_it(case: Case) -> None:
    case.host.add(SERVER, "server", thread=107)
    case.observe()
    assert case.of(closing(thread=107)) == Cause("close", SERVER, "server")


def test_a_thread_that_is_gone_before_its_exit_is_known_is_waited_for(case: Case) -> None:
    case.observe(until=NOW + 2 * MS)
    assert case.of(closing(107), NOW_US + 3000) is None
    case.observe(exits=[(NOW + 3 * MS, 107, b"worker")])
    assert case.of(closing(107)) is None, "it may be another process's: that is announced"
    assert case.of(closing(107), LATER) == Cause("close", SERVER, "server")


def test_one_whose_exit_never_comes_stays_unknown(case: Case) -> None:
    case.observe()
    assert case.of(closing(107), SOON) is None
    assert case.of(closing(107), LATER) == Cause(None, SERVER, "server")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0, Cause("exit", SERVER, "server", exit_code=0)),
        (3 << 8, Cause("exit", SERVER, "server", exit_code=3)),
        (9, Cause("signal", SERVER, "server", signal=9)),
        (0x80 | 11, Cause("signal", SERVER, "server", signal=11)),
    ],
)
def test_its_holder_exited(case: Case, status: int, expected: Cause) -> None:
    case.observe(exits=EXITING)
    case.ended(status=status)
    assert case.of(OPEN_CASE) == expected
    assert [end.cause for end in case.causes.process_ends(SOON)] == [expected]


def test_what_it_closed_before_it_exited_was_a_close(case: Case) -> None:
    case.observe(exits=[(NOW + 500, SERVER, b"server")])
    case.ended(status=0)
    assert case.of(OPEN_CASE) == Cause("close", SERVER, "server", exit_code=0)


def test_a_status_that_comes_later_is_waited_for(case: Case) -> None:
    case.observe(exits=EXITING)
    case.ended(status=None)
    assert case.of(OPEN_CASE) is None
    assert case.causes.process_ends(SOON) == []
    case.ended(status=256)
    assert case.of(OPEN_CASE) == Cause("exit", SERVER, "server", exit_code=1)
    assert [end.cause.exit_code for end in case.causes.process_ends(SOON)] == [1]


def test_a_status_that_never_comes_stays_unknown(case: Case) -> None:
    case.observe(exits=EXITING)
    case.ended(status=None)
    assert case.of(OPEN_CASE, LATER) == Cause("exit", SERVER, "server")
    assert [end.cause.exit_code for end in case.causes.process_ends(LATER + 200)] == [None]


def test_a_process_ends_once_even_if_its_status_comes_after_that(case: Case) -> None:
    """A parent that reaps it after the patience is over makes no second end of it."""
    case.observe(exits=EXITING)
    case.ended(status=None)
    assert len(case.causes.process_ends(LATER + 200)) == 1
    case.ended(status=0)
    assert case.causes.process_ends(LATER + 300) == []


def test_the_end_of_a_process_is_exact_where_the_trace_has_it(case: Case) -> None:
    case.observe(exits=EXITING)
    case.ended(status=0)
    case.ended(pid=300, status=0)
    bounds = {end.pid: (end.not_before, end.not_after) for end in case.causes.process_ends(SOON)}
    assert bounds == {SERVER: (NOW - 500, NOW - 500), 300: (NOW - 100_000, NOW + 100_000)}


def test_a_signal_from_another_process(case: Case) -> None:
    case.observe(exits=EXITING, signals=[sent(signal.SIGTERM, 200)])
    case.ended(status=signal.SIGTERM)
    expected = Cause("signal", SERVER, "server", signal=15, by_pid=200, by_program="admin")
    assert case.of(OPEN_CASE) == expected


def test_who_sent_it_and_is_gone_before_its_exit_is_known_is_waited_for(case: Case) -> None:
    case.observe(exits=EXITING, signals=[sent(9, 400)], until=NOW + 2 * MS)
    case.ended(status=9)
    early = NOW_US + 3000
    assert case.of(OPEN_CASE, early) is None
    assert case.causes.process_ends(early) == []
    case.observe(exits=[(NOW + 3 * MS, 400, b"kill")])
    killed = Cause("signal", SERVER, "server", signal=9, by_pid=400, by_program="kill")
    assert case.of(OPEN_CASE) == killed
    assert [one.cause for one in case.causes.process_ends(SOON)] == [killed]


@pytest.mark.parametrize(
    "other",
    [
        sent(signal.SIGTERM, None),  # the kernel's
        sent(signal.SIGTERM, SERVER),  # its own
        sent(signal.SIGHUP, 200),  # another one, handled
        sent(signal.SIGTERM, 200, target=300),
        sent(signal.SIGTERM, 200, at=NOW - 6000 * MS),
        sent(signal.SIGTERM, 200, at=NOW + 1000),
        replace(sent(signal.SIGTERM, 200), taken=False),
    ],
)
def test_a_signal_that_nobody_else_sent_has_no_sender(case: Case, other: Signal) -> None:
    case.observe(exits=EXITING, signals=[other])
    case.ended(status=signal.SIGTERM)
    assert case.of(OPEN_CASE) == Cause("signal", SERVER, "server", signal=15)


def test_sigkill_needs_no_status_and_other_signals_do(case: Case) -> None:
    case.observe(exits=EXITING, signals=[sent(signal.SIGKILL, 200)])
    killed = Cause("signal", SERVER, "server", signal=9, by_pid=200, by_program="admin")
    assert case.of(OPEN_CASE, LATER) == killed
    case.observe(signals=[sent(signal.SIGTERM, 200)])
    assert case.of(OPEN_CASE, LATER) == Cause("exit", SERVER, "server")


def test_out_of_memory(case: Case) -> None:
    kill = OomKill(NOW - 5 * MS, SERVER)
    case.observe(exits=EXITING, signals=[sent(signal.SIGKILL, None)], oom=[kill])
    case.ended(status=signal.SIGKILL)
    assert case.of(OPEN_CASE) == Cause("oom", SERVER, "server", signal=9)


@pytest.mark.parametrize("kill", [OomKill(NOW - 5 * MS, 300), OomKill(NOW - 61_000 * MS, SERVER)])
def test_an_oom_kill_of_another_or_long_ago_is_none(case: Case, kill: OomKill) -> None:
    case.observe(exits=EXITING, oom=[kill])
    case.ended(status=signal.SIGKILL)
    assert case.of(OPEN_CASE) == Cause("signal", SERVER, "server", signal=9)


BECAME = Cause("exec", SERVER, "server", detail="/bin/worker")


@pytest.mark.parametrize("at", [NOW, NOW + 100_000, NOW + 150_000, NOW + 1_100_000])
def test_an_exec_closed_it(case: Case, at: int) -> None:
    case.observe(execs=[Exec(NOW, NOW + 100_000, SERVER, SERVER, "/bin/worker")])
    assert case.of(closing(at=at)) == BECAME


@pytest.mark.parametrize("at", [NOW - 1, NOW + 1_100_001])
def test_what_was_closed_before_or_long_after_an_exec_was_closed(case: Case, at: int) -> None:
    case.observe(execs=[Exec(NOW, NOW + 100_000, SERVER, SERVER, "/bin/worker")])
    assert case.of(closing(at=at)) == Cause("close", SERVER, "server")


def test_an_exec_whose_beginning_was_not_seen(case: Case) -> None:
    case.observe(execs=[Exec(None, NOW + 2 * MS, SERVER, SERVER, "/bin/worker")])
    assert case.of(OPEN_CASE) == BECAME
    assert case.of(closing(at=NOW - 9 * MS)) == Cause("close", SERVER, "server")


def test_the_first_of_two_execs_in_a_row_closed_it(case: Case) -> None:
    """`env FOO=1 worker` is two execs within a millisecond or two: the second hides nothing of the first."""
    first = Exec(NOW - 1000, NOW + 100, SERVER, SERVER, "/usr/bin/env")
    case.observe(execs=[first, Exec(NOW + 2 * MS, NOW + 2 * MS + 100, SERVER, SERVER, "/bin/worker")])
    assert case.of(OPEN_CASE) == replace(BECAME, detail="/usr/bin/env")


def test_an_exec_by_a_thread_that_is_not_the_pid(case: Case) -> None:
    """It takes the pid for its number as all other threads are ended, and closes after that."""
    exits = [(NOW - 2000, SERVER, b"server")]
    case.observe(exits=exits, execs=[Exec(NOW - 3000, NOW + 100, SERVER, 107, "/bin/worker")])
    assert case.of(OPEN_CASE, LATER) == BECAME


def test_threads_of_a_process_that_exit_name_its_holder(case: Case) -> None:
    """The thread that closed it last is not the one of the pid, and nobody had looked it up."""
    case.observe(exits=[(NOW - 900, SERVER, b"server"), (NOW - 500, 107, b"worker")])
    case.ended(status=0)
    assert case.of(closing(thread=107)) == Cause("exit", SERVER, "server", exit_code=0)


def test_of_several_holders_the_one_that_ended_is_named_for_its_thread(case: Case) -> None:
    case.observe(exits=[(NOW - 500, 107, b"worker")])
    case.ended(pid=200, status=256)
    assert case.of(closing(thread=107, holders=(SERVER, 200))) == Cause("exit", 200, "admin", exit_code=1)


def test_a_known_process_that_exits_is_not_taken_for_a_holder_that_lives(case: Case) -> None:
    """A child inherited the listener after the last sample: its parent has closed it and lives on."""
    case.people.find(300, NOW - 5000)
    case.observe(exits=[(NOW - 500, 300, b"helper")])
    found = case.of(closing(thread=300), LATER)
    assert found is not None
    assert (found.word, found.pid) != ("exit", SERVER)


def test_holders_that_ended_tell_without_a_trace(case: Case) -> None:
    untold = closing(thread=None)
    assert case.of(untold) is None
    case.ended(status=None)
    assert case.of(untold) is None
    case.ended(status=256)
    assert case.of(untold) == Cause("exit", SERVER, "server", exit_code=1)


def test_a_holder_that_lives_on_tells_nothing(case: Case) -> None:
    both = closing(thread=None, holders=(SERVER, 200))
    case.ended(status=256)
    assert case.of(both) is None
    assert case.of(both, LATER) == Cause(None, SERVER, "server")
    case.ended(pid=200, status=512, at_us=NOW_US + 50)
    assert case.of(both) == Cause("exit", 200, "admin", exit_code=2)


def test_a_holder_that_ended_long_before_tells_nothing(case: Case) -> None:
    case.ended(status=256, at_us=NOW_US - 60_000)
    assert case.of(closing(thread=None), LATER) == Cause(None, SERVER, "server")


def test_no_holders_tell_nothing(case: Case) -> None:
    assert case.of(closing(thread=None, holders=()), LATER) == Cause()


def test_a_status_of_an_earlier_process_with_that_pid_is_not_told(case: Case) -> None:
    case.ended(status=256, at_us=NOW_US - 900_000)
    assert len(case.causes.process_ends(NOW_US - 800_000)) == 1
    case.observe(exits=EXITING)
    assert case.of(OPEN_CASE, LATER) == Cause("exit", SERVER, "server")


def test_a_process_with_a_pid_that_was_anothers_has_its_own_name(case: Case) -> None:
    case.ended(status=0, at_us=NOW_US - 900_000)
    assert [end.cause.program for end in case.causes.process_ends(SOON)] == ["server"]
    case.holders[SERVER] = "database"
    case.ended(status=0)
    assert [end.cause.program for end in case.causes.process_ends(SOON)] == ["database"]


def test_a_process_that_nobody_holds_sockets_for_any_more_is_named_by_its_exit(case: Case) -> None:
    del case.holders[SERVER]
    case.host.remove(SERVER)
    case.observe(exits=[(NOW, SERVER, b"serv\xff")])
    case.ended(status=0)
    assert [end.cause.program for end in case.causes.process_ends(SOON)] == ["serv\\xff"]

"""Announcements and traces made one: whatever comes first, each socket is told of once and whole."""

from __future__ import annotations

import pytest

from sockrec.kernel.arrays import FIELD
from sockrec.recorder.events.causes import Cause
from tests.recorder.events.example import COOKIE, END, MS, OPEN, SECOND, US, A, B
from tests.recorder.events.stage import Stage, Told, closed, make, stage
from tests.recorder.events.support import (
    CLOSE,
    ESTABLISHED,
    FIN_WAIT1,
    FIN_WAIT2,
    LISTEN,
    SYN_SENT,
    TIME_WAIT,
    Change,
    Script,
    connection,
)

__all__ = ["stage"]

CLIENT = 100
# The example's, of a client.
LIFE = connection(A, 1010 * MS, 1050 * MS, thread=CLIENT)
TRACED = Script(LIFE, [END])
ANNOUNCED = Script(announced=[{"cookie": COOKIE, "bytes_sent": 5}])
BOTH = Script(LIFE, [END], announced=ANNOUNCED.announced)
WHOLE = Told(COOKIE, 1050_000, 1050_000, 1010_000, sampled=False, pid=CLIENT, counted=True)


def told(*drains: object) -> list[Told]:
    return [row for one in drains for row in closed(one)]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def client(stage: Stage) -> None:
    stage.host.add(CLIENT, "client")


def test_announced_and_traced_at_once(stage: Stage) -> None:
    happened = stage.drain(60_000, BOTH)
    assert closed(happened) == [WHOLE]
    assert happened.closed is not None
    assert happened.closed.sockets.activity[FIELD["bytes_sent"]].tolist() == [5]
    assert told(stage.drain(SECOND), stage.drain(SECOND, last=True)) == []


def test_announced_before_it_is_traced(stage: Stage) -> None:
    first = stage.drain(51_000, ANNOUNCED)
    second = stage.drain(60_000, TRACED)
    assert (closed(first), closed(second)) == ([], [WHOLE])
    assert told(stage.drain(SECOND, last=True)) == []


def test_announced_after_it_was_traced(stage: Stage) -> None:
    first = stage.drain(60_000, TRACED)
    second = stage.drain(60_000, ANNOUNCED)
    assert (closed(first), closed(second)) == ([], [WHOLE])
    assert told(stage.drain(SECOND, last=True)) == []


@pytest.mark.parametrize("late_us", [90_000, 300_000, 900_000])
def test_a_busy_kernel_announces_long_after_the_end(stage: Stage, late_us: int) -> None:
    first = stage.drain(60_000, TRACED)
    between = [stage.drain(100_000) for _ in range(late_us // 100_000)]
    second = stage.drain(60_000, ANNOUNCED)
    assert (told(first, *between), closed(second)) == ([], [WHOLE])
    assert told(stage.drain(SECOND, last=True)) == []


def test_one_that_closed_long_before_its_program_let_go_of_it_is_told_once_and_whole(stage: Stage) -> None:
    """A peer's reset closes it; the end, and with it the announcement, comes with close(2)."""
    stage.sample(0, OPEN | {"owner": CLIENT})
    reset = [Change(1010 * MS, A, ESTABLISHED, CLOSE)]
    stage.drain(20_000, Script(reset))
    stage.drain(400_000)
    first = stage.drain(100_000, Script(ends=[(1522 * MS, A, COOKIE)]))
    second = stage.drain(60_000, ANNOUNCED)
    rows = told(first, second, stage.drain(SECOND, last=True))
    assert rows == [Told(COOKIE, 1010_000, 1010_000, None, sampled=True, pid=CLIENT, counted=True)]


def test_an_unsampled_one_that_closed_long_before_its_end_is_whole_too(stage: Stage) -> None:
    opened = connection(A, 1010 * MS, 1050 * MS, thread=CLIENT)[:2]
    stage.drain(40_000, Script([*opened, Change(1035 * MS, A, ESTABLISHED, CLOSE)]))
    first = stage.drain(400_000, Script(ends=[(1439 * MS, A, COOKIE)]))
    rows = told(first, stage.drain(60_000, ANNOUNCED), stage.drain(SECOND, last=True))
    assert [(row.opened, row.not_before, row.counted) for row in rows] == [(1010_000, 1035_000, True)]


def test_an_announcement_without_a_trace_has_bounds(stage: Stage) -> None:
    stage.began_long_ago()
    stage.sample(1000)
    first = stage.drain(60_000, ANNOUNCED)
    read_by = stage.sources.now
    rows = told(first, stage.drain(60_000))
    assert [(row.not_after, row.opened, row.pid, row.counted) for row in rows] == [
        (read_by, None, None, True)
    ]
    assert rows[0].not_before is not None
    assert rows[0].not_before <= 1_001_000


def test_a_foreign_socket_is_no_row(stage: Stage) -> None:
    rows = told(stage.drain(60_000, TRACED), stage.drain(SECOND), stage.drain(SECOND, last=True))
    assert rows == []


def test_a_sampled_one_that_is_never_announced_is_told_without_counters(stage: Stage) -> None:
    stage.sample(0, OPEN | {"owner": CLIENT})
    first = stage.drain(60_000, TRACED)
    rows = told(first, stage.drain(60_000), stage.drain(60_000), stage.drain(60_000, last=True))
    assert closed(first) == []
    assert rows == [Told(COOKIE, 1050_000, 1050_000, 1010_000, sampled=True, pid=CLIENT, counted=False)]


def test_one_whose_program_holds_on_is_told_once_a_sample_misses_it(stage: Stage) -> None:
    stage.drain(20_000, Script(LIFE[:1]))
    stage.sample(0, OPEN | {"owner": CLIENT})
    stage.drain(20_000, Script(LIFE[1:]))
    stage.sample(SECOND)
    assert closed(stage.drain(SECOND)) == [
        Told(COOKIE, 1050_000, 1050_000, 1010_000, sampled=True, pid=CLIENT, counted=False)
    ]
    late = (4 * SECOND * US, A, COOKIE)
    last = (
        stage.drain(SECOND, Script(ends=[late])),
        stage.drain(SECOND, Script(announced=ANNOUNCED.announced)),
    )
    assert told(*last) == []


def test_a_sample_between_trace_and_announcement_changes_nothing(stage: Stage) -> None:
    """The ledger has let go of it by then."""
    stage.sample(0, OPEN | {"owner": CLIENT})
    first = stage.drain(50_500, TRACED)
    second = stage.sample(1000)
    # ESTABLISHED ended with our FIN.
    assert stage.ended() == [("closed", 1030_000, 1030_000, "event")]
    third = stage.drain(60_000, ANNOUNCED)
    assert told(first, second, third, stage.drain(SECOND, last=True)) == [
        Told(COOKIE, 1050_000, 1050_000, 1010_000, sampled=True, pid=CLIENT, counted=True)
    ]


def test_a_socket_that_ended_before_the_ledger_took_its_reading_in_is_sampled(stage: Stage) -> None:
    opens = connection(A, 1010 * MS, 1050 * MS, thread=CLIENT)[:2]
    ends = Change(1031 * MS, A, ESTABLISHED, CLOSE, thread=CLIENT)
    script = Script([*opens, ends], [(1031 * MS + US, A, COOKIE)], announced=ANNOUNCED.announced)
    # The reading takes from 1,030 to 1,031 ms, and the drain comes after it.
    happened = stage.sample(30_000, OPEN, script=script)
    assert closed(happened) == [
        Told(COOKIE, 1031_000, 1031_000, 1010_000, sampled=True, pid=CLIENT, counted=True)
    ]
    assert stage.begun(COOKIE) == ("found", None, 1031_000, "sample")
    stage.sample(SECOND)
    assert stage.ended() == [("closed", 1031_000, 1031_000, "event")]
    assert told(stage.drain(SECOND, last=True)) == []


def test_a_beginning_between_samples_is_exact(stage: Stage) -> None:
    stage.sample(0)
    stage.drain(40_000, Script(LIFE[:2]))
    stage.sample(40_000, OPEN)
    assert stage.begun(COOKIE) == ("opened", 1020_000, 1020_000, "event")


def test_a_remnant_seen_before_the_announcement_does_not_make_it_sampled(stage: Stage) -> None:
    """`sampled` is false where TIME_WAIT is all that samples saw, whatever the order of things."""
    stage.sample(0)
    waits = {"cookie": COOKIE, "state": TIME_WAIT}
    first = stage.sample(50_000, waits, script=TRACED)
    rows = told(first, stage.drain(10_000, ANNOUNCED), stage.drain(SECOND, last=True))
    assert rows == [WHOLE]


def test_nor_does_one_that_several_samples_saw_before_the_announcement(stage: Stage) -> None:
    stage.sample(0)
    waits = {"cookie": COOKIE, "state": TIME_WAIT}
    happened = [stage.sample(50_000, waits, script=TRACED)]
    happened += [stage.sample(90_000, waits) for _ in range(4)]
    happened += [stage.drain(10_000, ANNOUNCED), stage.drain(SECOND, last=True)]
    assert told(*happened) == [WHOLE]


def test_a_remnant_that_kept_its_cookie_is_a_remnant_all_the_same(stage: Stage) -> None:
    stage.sample(0)
    happened = stage.sample(50_000, {"cookie": COOKIE, "state": TIME_WAIT}, script=BOTH)
    assert closed(happened) == [WHOLE]
    assert stage.begun(COOKIE) == ("opened", 1050_000, 1050_000, "inferred")


def test_a_remnant_with_a_cookie_of_its_own_is_inferred(stage: Stage) -> None:
    stage.sample(0)
    happened = stage.sample(50_000, {"cookie": 9, "state": TIME_WAIT}, script=BOTH)
    assert closed(happened) == [WHOLE]
    assert stage.begun(9) == ("opened", 1050_000, 1050_000, "inferred")


def test_the_last_drain_tells_all(stage: Stage) -> None:
    stage.began_long_ago()
    stage.sample(0, OPEN | {"owner": CLIENT})
    other = connection(B, 1010 * MS, 1050 * MS, local_port=4001)
    script = Script(
        [*LIFE, *other], [END, (1051 * MS, B, 78)], announced=[{"cookie": 79, "local_port": 4002}]
    )
    happened = stage.drain(52_000, script, last=True)
    rows = {row.cookie: (row.sampled, row.counted) for row in closed(happened)}
    # One sampled and never announced, one announced and never traced; nothing of another namespace.
    assert rows == {COOKIE: (True, False), 79: (False, True)}


LISTENS = {"cookie": 50, "state": LISTEN, "remote_port": 0, "remote": "0.0.0.0", "inode": 5, "owner": CLIENT}
STOPS = Change(1040 * MS, A, LISTEN, CLOSE, remote_port=0, remote="0.0.0.0", thread=CLIENT)
STOPPED = Script([STOPS], [(1040 * MS + US, A, 50)], announced=[{"cookie": 50, "remote_port": 0}])


def test_a_listener_stops_with_its_cause_and_is_no_connection(stage: Stage) -> None:
    stage.sample(0, LISTENS)
    happened = stage.drain(50_000, STOPPED)
    assert (closed(happened), happened.listeners) == ([], [])
    later = stage.drain(SECOND)
    assert [one.cause for one in later.listeners] == [Cause("close", CLIENT, "client")]
    (one,) = later.listeners
    assert one.closed.not_after[one.row] == one.closed.not_before[one.row]
    assert one.closed.owned.sampled[one.row]
    assert stage.drain(SECOND).nothing


def test_the_last_drain_waits_for_no_cause(stage: Stage) -> None:
    stage.sample(0, LISTENS)
    happened = stage.drain(50_000, STOPPED, last=True)
    assert [one.cause.word for one in happened.listeners] == ["close"]


def test_a_listener_that_no_sample_saw(stage: Stage) -> None:
    starts = Change(1010 * MS, A, CLOSE, LISTEN, remote_port=0, remote="0.0.0.0", thread=CLIENT)
    script = Script([starts, *STOPPED.changes], STOPPED.ends, announced=STOPPED.announced)
    happened = stage.drain(50_000, script, last=True)
    (one,) = happened.listeners
    assert (one.closed.lives.opened[one.row], one.closed.owned.sampled[one.row]) == (1010 * MS, False)
    assert one.cause == Cause("close", CLIENT, "client")
    assert stage.sources.watched == [[CLIENT]]


def test_a_listener_that_no_sample_saw_and_that_is_announced_late(stage: Stage) -> None:
    """The announcement of a listener says nothing but its port: what was traced must still be known."""
    starts = Change(1010 * MS, A, CLOSE, LISTEN, remote_port=0, remote="0.0.0.0", thread=CLIENT)
    happened = [stage.drain(50_000, Script([starts, *STOPPED.changes], STOPPED.ends))]
    happened += [stage.drain(100_000) for _ in range(6)]
    happened += [stage.drain(100_000, Script(announced=STOPPED.announced)), stage.drain(0, last=True)]
    ((one,),) = [some.listeners for some in happened if some.listeners]
    assert one.closed.lives.opened[one.row] == 1010 * MS


def test_a_server_side_is_named_by_its_listener(stage: Stage) -> None:
    stage.sample(0, LISTENS)
    accepted = [
        Change(1010 * MS, B, LISTEN, 3), Change(1011 * MS, B, 3, ESTABLISHED),
        Change(1020 * MS, B, ESTABLISHED, FIN_WAIT1), Change(1021 * MS, B, FIN_WAIT1, FIN_WAIT2),
        Change(1022 * MS, B, FIN_WAIT2, CLOSE),
    ]  # fmt: skip
    happened = stage.drain(50_000, Script(accepted, [(1023 * MS, B, 9)], announced=[{"cookie": 9}]))
    assert closed(happened) == [
        Told(9, 1022_000, 1022_000, 1010_000, sampled=False, pid=CLIENT, counted=True)
    ]
    assert happened.closed is not None
    assert happened.closed.owned.of(0).evidence == "inferred"


def test_a_disconnected_socket_loses_its_counters_and_keeps_its_endpoints(stage: Stage) -> None:
    """A close with SO_LINGER 0: announced without its peer's port."""
    announced = [{"cookie": COOKIE, "remote_port": 0, "local_port": 0, "bytes_sent": 0}]
    happened = stage.drain(60_000, Script(LIFE, [END], announced=announced))
    assert closed(happened) == [WHOLE]
    assert happened.closed is not None
    assert happened.closed.lives.remote_port.tolist() == [80]
    assert (happened.closed.sockets.activity < 0).all()


def test_udp_is_told_at_once(stage: Stage) -> None:
    bound = {"cookie": 30, "protocol": 17, "remote_port": 0, "remote": "0.0.0.0"}
    happened = stage.drain(60_000, Script(announced=[bound, bound | {"cookie": 31, "local_port": 0}]))
    # One that was never bound is nothing that anybody could ask for.
    assert [row.cookie for row in closed(happened)] == [30]


def test_a_socket_that_never_connected_is_no_row(stage: Stage) -> None:
    unused = {"cookie": 40, "remote_port": 0, "remote": "0.0.0.0"}
    happened = stage.drain(60_000, Script(ends=[(1050 * MS, A, 40)], announced=[unused]))
    assert closed(happened) == []


def test_without_a_tracer_announcements_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make(monkeypatch, tracer=False)
    stage.sample(0, OPEN)
    rows = closed(stage.drain(60_000, ANNOUNCED))
    assert rows == [Told(COOKIE, 1_001_000, stage.sources.now, None, sampled=True, pid=None, counted=True)]
    read_by = stage.sources.now
    stage.sample(SECOND)
    assert stage.ended() == [("closed", 1_001_000, read_by, "event")]


def test_without_announcements_what_samples_saw_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make(monkeypatch, destroyed=False)
    stage.sample(0, OPEN)
    other = connection(B, 1010 * MS, 1050 * MS, local_port=4001)
    script = Script([*LIFE, *other], [END, (1051 * MS, B, 78)])
    rows = told(stage.drain(60_000, script), stage.drain(SECOND))
    assert [(row.cookie, row.sampled, row.counted) for row in rows] == [(COOKIE, True, False)]


def test_a_row_ends_as_its_state_does_and_not_as_the_socket_does(stage: Stage) -> None:
    stage.sample(15_000, OPEN | {"state": SYN_SENT}, script=Script(LIFE[:1]))
    stage.drain(50_000, Script(LIFE[1:], [END]))
    stage.sample(SECOND)
    assert stage.ended() == [("closed", 1020_000, 1020_000, "event")]

"""Whose socket it was: what makes it ours, whose end its remnant tells of, and who listened for it."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from sockrec.kernel.endings import CAUSES
from sockrec.recorder.events.happened import Happened
from tests.recorder.events.example import ANNOUNCED, COOKIE, END, LIFE, MS, OPEN, SECOND, US, A, B
from tests.recorder.events.stage import Stage, closed, stage
from tests.recorder.events.support import CLOSE, ESTABLISHED, LISTEN, TIME_WAIT, Change, Script, connection

__all__ = ["stage"]

BOTH = Script(LIFE, [END], announced=ANNOUNCED)
FOREIGN = connection(B, 1030 * MS, 1058 * MS)
FOREIGN_END = (1059 * MS, B, 500)


def test_a_socket_read_without_a_cookie_is_ours_by_its_changes(stage: Stage) -> None:
    """/proc/net has no cookies: the reading found its kernel address, and the end gives the cookie."""
    stage.sample(0)
    stage.sample(20_000, OPEN | {"cookie": 0}, script=Script(LIFE[:2]))
    stage.drain(50_000, Script(LIFE[2:], [END]))
    rows = closed(stage.drain(SECOND))
    assert [(row.cookie, row.sampled, row.opened) for row in rows] == [(COOKIE, True, 1010_000)]


def test_one_that_left_the_ledger_before_its_end_is_ours_by_its_cookie(stage: Stage) -> None:
    stage.sample(0, OPEN)
    # After a loss, no reading finds the kernel addresses of what was there before.
    stage.drain(1000, Script(trace_lost=1))
    stage.drain(50_000, Script(LIFE[2:]))
    stage.sample(SECOND)
    first = stage.drain(SECOND, Script(ends=[(3 * SECOND * US, A, COOKIE)]))
    rows = closed(first) + closed(stage.drain(SECOND))
    assert [(row.cookie, row.sampled, row.not_before) for row in rows] == [(COOKIE, True, 1050_000)]


def test_last_counters_that_an_event_has_are_not_written_twice(stage: Stage) -> None:
    stage.sample(0, OPEN, {"cookie": 78, "local_port": 4001, "state": ESTABLISHED, "inode": 6})
    other = connection(B, 1010 * MS, 1050 * MS, local_port=4001)
    disconnected = {"cookie": 78, "local_port": 0, "remote_port": 0}
    script = Script([*LIFE, *other], [END, (1051 * MS, B, 78)], announced=[*ANNOUNCED, disconnected])
    stage.drain(60_000, script)
    stage.sample(1000)
    assert stage.exact is not None
    # The counters of the other are lost with its connection: the ledger has better ones.
    assert stage.exact.told.tolist() == [COOKIE]


BRIEF = 300
EXIT = Script(thread_exits=[(1055 * MS, BRIEF, b"brief")])


def _owners(happened: Happened) -> list[tuple[int | None, str | None]]:
    assert happened.closed is not None
    owned = [happened.closed.owned.of(row) for row in happened.plain.tolist()]
    return [(one.pid, one.program) for one in owned]


def test_who_goes_between_two_looks_is_named_by_the_exit(stage: Stage) -> None:
    """Its number was found in /proc; when its name was to be read there, it was gone."""
    stage.began_long_ago()
    stage.host.add(BRIEF, "brief")
    del stage.host.programs[BRIEF]
    life = connection(A, 1010 * MS, 1050 * MS, thread=BRIEF)
    assert stage.drain(60_000, Script(life, [END], announced=ANNOUNCED)).closed is None
    stage.host.remove(BRIEF)
    assert _owners(stage.drain(60_000, EXIT)) == [(BRIEF, "brief")]


def test_nor_is_a_listener_that_does(stage: Stage) -> None:
    stage.began_long_ago()
    stage.host.add(BRIEF, "brief")
    del stage.host.programs[BRIEF]
    rest: dict[str, Any] = {"remote_port": 0, "remote": "0.0.0.0", "thread": BRIEF}
    listened = [Change(1010 * MS, A, CLOSE, LISTEN, **rest), Change(1050 * MS, A, LISTEN, CLOSE, **rest)]
    announced = [{"cookie": COOKIE, "remote_port": 0}]
    stage.drain(60_000, Script(listened, [END], announced=announced))
    stage.host.remove(BRIEF)
    (one,) = [*stage.drain(60_000, EXIT).listeners, *stage.drain(SECOND, last=True).listeners]
    named = one.closed.owned.of(one.row)
    assert (named.pid, named.program) == (BRIEF, "brief")


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("what", ["client", "listener"])
def test_a_brief_thread_is_its_process(stage: Stage, what: str, late: int) -> None:
    """Its exit may be announced with that part of the trace, or when there is nothing more in it."""
    stage.began_long_ago()
    stage.host.add(100, "server")
    if what == "client":
        life, announced = connection(A, 1010 * MS, 1050 * MS, thread=BRIEF), ANNOUNCED
    else:
        rest: dict[str, Any] = {"remote_port": 0, "remote": "0.0.0.0", "thread": BRIEF}
        life = [Change(1010 * MS, A, CLOSE, LISTEN, **rest), Change(1050 * MS, A, LISTEN, CLOSE, **rest)]
        announced = [{"cookie": COOKIE, "remote_port": 0}]
    gone = [(1055 * MS, BRIEF, b"worker")]
    scripts = [Script(life, [END], announced=announced, thread_exits=gone, threads=[BRIEF]), Script()]
    scripts[late].announced_exits = [(1056 * MS, BRIEF, 100, 0)]
    told = [stage.drain(60_000, script) for script in scripts]
    told.append(stage.drain(2 * SECOND, last=True))
    if what == "client":
        assert [owner for one in told if one.closed for owner in _owners(one)] == [(100, "server")]
        return
    (one,) = [one for happened in told for one in happened.listeners]
    named = one.closed.owned.of(one.row)
    assert (named.pid, named.program) == (100, "server")
    assert (one.cause.word, one.cause.pid, one.cause.program) == ("close", 100, "server")


PORT = {"cookie": COOKIE, "state": LISTEN, "remote_port": 0, "remote": "0.0.0.0", "inode": 5}
LISTENED: dict[str, Any] = {"remote_port": 0, "remote": "0.0.0.0", "thread": 100}


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param([PORT], id="by a sample that found no holder"),
        pytest.param([PORT, PORT], id="by two"),
        pytest.param([None], id="by none: it began after the sockets were read"),
    ],
)
def test_who_listens_is_known_by_the_trace_where_no_sample_tells(
    stage: Stage, seen: list[dict[str, Any] | None]
) -> None:
    """It closed the listener as the sample looked for who holds it; or its end is told much later."""
    stage.began_long_ago()
    stage.host.add(100, "server")
    began = Script([Change(1010 * MS, A, CLOSE, LISTEN, **LISTENED)])
    for number, one in enumerate(seen):
        script = None if number else began
        stage.sample(30_000, *([one] if one else []), script=script)
    end = stage.sources.now // 1000 * MS + 5 * MS
    stopped = Script(
        [Change(end, A, LISTEN, CLOSE, **(LISTENED | {"thread": 999}))],
        [(end + MS, A, COOKIE)],
        announced=[{"cookie": COOKIE, "remote_port": 0}],
    )
    told = [*stage.drain(20_000, stopped).listeners, *stage.drain(2 * SECOND, last=True).listeners]
    (one_told,) = told
    named = one_told.closed.owned.of(one_told.row)
    assert (named.pid, named.program) == (100, "server")


def test_who_listened_is_forgotten_when_samples_see_nobody_listen(stage: Stage) -> None:
    stage.began_long_ago()
    stage.host.add(100, "server")
    stage.sample(30_000, script=Script([Change(1010 * MS, A, CLOSE, LISTEN, **LISTENED)]))
    for _ in range(2):
        stage.sample(SECOND)
    assert not stage.log._holders._fresh


@pytest.mark.parametrize("exits", [BRIEF, BRIEF + 1])
def test_a_holder_that_a_sample_could_not_read_any_more_is_named_by_its_exit(
    stage: Stage, exits: int
) -> None:
    """The opener is another: it handed its socket over."""
    stage.began_long_ago()
    stage.host.add(BRIEF + 2, "opener")
    life = connection(A, 1010 * MS, 1050 * MS, thread=BRIEF + 2)
    stage.sample(30_000, OPEN | {"owner": BRIEF}, script=Script(life[:2]))
    gone = [(1045 * MS, exits, b"brief")]
    told = stage.drain(60_000, Script(life[2:], [END], announced=ANNOUNCED, thread_exits=gone))
    assert _owners(told) == [(BRIEF, "brief" if exits == BRIEF else None)]


def test_what_samples_have_passed_takes_no_memory(stage: Stage) -> None:
    stage.sample(0, OPEN)
    stage.drain(60_000, BOTH)
    for _ in range(4):
        stage.sample(SECOND)
    log = stage.log
    for moments in (log._left, log._closed, log._announced, log._ours, log._anybodys):
        assert len(moments._key) == 0
        assert not moments._added
    assert len(log._chains) == len(log._lives) == len(log._waiting) == 0


def test_who_held_what_waits_in_time_wait_is_not_kept_for_ever(stage: Stage) -> None:
    """Its end is announced as it begins to wait: none is to come when it is over."""
    waits = [{"cookie": cookie, "local_port": cookie, "state": TIME_WAIT} for cookie in range(5000, 5100)]
    stage.sample(0, *waits)
    for _ in range(4):
        stage.sample(SECOND)
    assert stage.log._holders._limbo == {}


def test_nor_is_one_that_left_time_wait_before_its_announcement_taken_for_another(stage: Stage) -> None:
    """A newer connection took its place at once: what samples saw of it is its own."""
    stage.sample(0, OPEN | {"owner": 100})
    stage.sample(60_000, {"cookie": COOKIE, "state": TIME_WAIT, "inode": 0})
    stage.sample(60_000)
    happened = stage.drain(10_000, BOTH)
    rows = closed(happened) + closed(stage.drain(SECOND, last=True))
    assert [(row.cookie, row.sampled) for row in rows] == [(COOKIE, True)]


def test_a_remnant_alone_that_went_before_its_announcement_does_not_make_it_sampled(stage: Stage) -> None:
    stage.sample(0)
    stage.sample(60_000, {"cookie": COOKIE, "state": TIME_WAIT}, script=Script(LIFE, [END]))
    stage.sample(60_000)
    happened = stage.drain(10_000, Script(announced=ANNOUNCED))
    rows = closed(happened) + closed(stage.drain(SECOND, last=True))
    assert [(row.cookie, row.sampled) for row in rows] == [(COOKIE, False)]


def test_a_remnants_end_is_that_of_the_announced_and_not_of_a_foreign_twin(stage: Stage) -> None:
    stage.sample(0)
    script = Script([*LIFE, *FOREIGN], [END, FOREIGN_END], announced=ANNOUNCED)
    stage.sample(60_000, {"cookie": 9, "state": TIME_WAIT}, script=script)
    assert stage.begun(9) == ("opened", 1050_000, 1050_000, "inferred")


def test_a_remnant_seen_before_its_announcement_is_inferred_from_the_trace(stage: Stage) -> None:
    stage.sample(0)
    stage.sample(60_000, {"cookie": 9, "state": TIME_WAIT}, script=Script(LIFE, [END]))
    assert stage.begun(9) == ("opened", 1050_000, 1050_000, "inferred")


def test_a_remnant_in_a_reading_does_not_make_its_connection_sampled(stage: Stage) -> None:
    """It had closed before that reading began."""
    stage.sample(0)
    happened = stage.sample(60_000, {"cookie": COOKIE, "state": TIME_WAIT}, script=BOTH)
    assert [(row.cookie, row.sampled) for row in closed(happened)] == [(COOKIE, False)]


def test_after_a_pause_moments_are_claimed_from_the_next_sample_on(stage: Stage) -> None:
    """The only change to be found may be another namespace's: ours was left out."""
    stage.sample(0)
    stage.log.pause()
    stage.sources.now += 10_000
    stage.log.resume()
    stage.sample(60_000, OPEN, script=Script(FOREIGN[:2]))
    assert stage.begun(COOKIE)[3] == "sample"


@pytest.mark.parametrize(
    ("local", "pid"), [("10.0.0.5", 100), ("10.0.0.6", 200), ("10.0.0.7", None), ("::1", 300)]
)
def test_a_connection_is_of_who_listens_on_its_address(stage: Stage, local: str, pid: int | None) -> None:
    listeners: list[dict[str, Any]] = [
        {
            "cookie": number,
            "state": LISTEN,
            "remote_port": 0,
            "inode": number,
            "owner": owner,
            "local": address,
            "remote": "::" if ":" in address else "0.0.0.0",
            "local_port": port,
        }
        for number, (owner, address, port) in enumerate(
            [(100, "10.0.0.5", 80), (200, "10.0.0.6", 80), (300, "::", 81)], 50
        )
    ]
    stage.sample(0, *listeners)
    port = 81 if ":" in local else 80
    remote = "::2" if ":" in local else "10.0.0.9"
    states = [(LISTEN, 3), (3, ESTABLISHED), (ESTABLISHED, 8), (8, 9), (9, CLOSE)]
    changes = [
        Change((1010 + n) * MS, A, old, new, port, 4000, local=local, remote=remote)
        for n, (old, new) in enumerate(states)
    ]
    announced = [{"cookie": 9, "local": local, "remote": remote, "local_port": port, "remote_port": 4000}]
    rows = closed(stage.drain(50_000, Script(changes, [(1030 * MS, A, 9)], announced=announced)))
    assert [(row.cookie, row.pid) for row in rows] == [(9, pid)]


@pytest.mark.parametrize(("port", "word"), [(4000, "timed out"), (4001, None)])
def test_an_error_belongs_to_the_socket_with_its_endpoints(stage: Stage, port: int, word: str | None) -> None:
    shut = Change(1031 * MS, A, ESTABLISHED, CLOSE)
    error = Change(0, 0, CLOSE, CLOSE, port)
    stage.drain(30_000, Script([*LIFE[:2], shut]))
    script = Script(
        ends=[END], errors=[(1031 * MS + 900, errno.ETIMEDOUT, error)], announced=ANNOUNCED
    )  # the error comes one reading later
    happened = stage.drain(30_000, script)
    assert happened.closed is not None
    assert [CAUSES[code] for code in happened.closed.lives.cause.tolist()] == [word]

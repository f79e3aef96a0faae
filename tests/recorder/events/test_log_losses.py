"""What is lost is said, and nothing is made of what is left that could be wrong."""

from __future__ import annotations

import pytest

from sockrec.kernel.endings import CAUSES
from sockrec.kernel.exits import Exit
from sockrec.recorder.events import chains
from sockrec.recorder.events.happened import Lost
from tests.recorder.events.example import ANNOUNCED, COOKIE, END, LIFE, MS, OPEN, SECOND, US, A, B
from tests.recorder.events.stage import Stage, closed, stage
from tests.recorder.events.support import (
    ANCHOR,
    CLOSE,
    LISTEN,
    Change,
    Script,
    connection,
)

__all__ = ["stage"]

PLAIN_UDP = {"cookie": 30, "protocol": 17, "remote_port": 0, "remote": "0.0.0.0"}


def test_lost_state_changes_are_a_row_and_a_gap(stage: Stage) -> None:
    stage.drain(20_000, Script(LIFE[:2]))
    assert not stage.log.resync
    happened = stage.drain(10_000, Script(trace_lost=7))
    assert happened.lost == [Lost("state changes", 7, ANCHOR + 1_020_000, ANCHOR + 1_030_000)]
    assert stage.log.resync
    assert happened.events_lost == 7
    # What came before the loss is no part of any life after it.
    rows = closed(stage.drain(60_000, Script(LIFE[2:], [END], announced=ANNOUNCED)))
    assert [(row.opened, row.not_before) for row in rows] == [(None, 1050_000)]


def test_after_a_loss_moments_are_claimed_from_the_next_sample_on(stage: Stage) -> None:
    stage.sample(0)
    stage.drain(1000, Script(trace_lost=1))
    stage.sample(20_000, OPEN, script=Script(LIFE[:2]))
    assert stage.begun(COOKIE) == ("opened", 1_000_000, 1_024_500, "sample")
    other = connection(B, 1040 * MS, 1060 * MS, local_port=4001)
    seen = OPEN | {"cookie": 78, "local_port": 4001}
    stage.sample(30_000, OPEN, seen, script=Script(other[:2]))
    assert stage.begun(78) == ("opened", 1045_000, 1045_000, "event")


def test_a_sample_ends_the_hurry(stage: Stage) -> None:
    stage.drain(10_000, Script(trace_lost=1))
    assert stage.log.resync
    stage.sample(1000)
    assert not stage.log.resync


def test_a_loss_found_as_a_sample_is_taken_wants_another(stage: Stage) -> None:
    stage.sample(1000, script=Script(trace_lost=1))
    assert stage.log.resync
    stage.sample(1000)
    assert not stage.log.resync


def test_what_opened_after_a_loss_is_whole(stage: Stage) -> None:
    aborted = [Change(1041 * MS, A, CLOSE, 2, thread=9), Change(1042 * MS, A, 2, CLOSE, thread=9)]
    end = (1042 * MS + US, A, COOKIE)
    stage.drain(40_000, Script(trace_lost=1))
    happened = stage.drain(10_000, Script(aborted, [end], announced=ANNOUNCED))
    assert happened.closed is None, "the exit of the thread that connected may be in what is still to come"
    happened = stage.drain(10_000, Script())
    assert happened.closed is not None
    assert [CAUSES[code] for code in happened.closed.lives.cause.tolist()] == ["closed by us"]


def test_after_a_loss_the_end_of_what_was_open_then_may_have_other_reasons(stage: Stage) -> None:
    stage.drain(40_000, Script(trace_lost=1))
    end = [Change(1042 * MS, A, 2, CLOSE, thread=9)]
    happened = stage.drain(10_000, Script(end, [(1042 * MS + US, A, COOKIE)], announced=ANNOUNCED))
    assert happened.closed is not None
    assert happened.closed.lives.cause.tolist() == [0]


def test_lives_that_ended_before_a_loss_are_told_whole(stage: Stage) -> None:
    stage.drain(60_000, Script(LIFE, [END]))
    rows = closed(stage.drain(10_000, Script(trace_lost=1, announced=ANNOUNCED)))
    assert [(row.opened, row.not_before) for row in rows] == [(1010_000, 1050_000)]


def test_lost_announcements_are_a_row_and_what_samples_saw_is_told_all_the_same(stage: Stage) -> None:
    stage.sample(0, OPEN)
    happened = stage.drain(60_000, Script(LIFE, [END], announced_lost=4))
    first, last = ANCHOR + 1_002_500, ANCHOR + 1_062_500
    assert happened.lost == [Lost("destroyed sockets", 4, first, last)]
    assert happened.events_lost == 4
    rows = closed(stage.drain(SECOND))
    assert [(row.cookie, row.sampled, row.counted) for row in rows] == [(COOKIE, True, False)]


def test_changes_forgotten_for_want_of_room_are_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "MOST", 3)
    stage.drain(60_000, Script(LIFE))
    happened = stage.drain(10_000)
    assert [(lost.what, lost.count) for lost in happened.lost] == [("state changes, for want of memory", 2)]
    assert stage.drain(10_000).lost == []


def test_a_source_that_breaks_is_said_and_the_other_goes_on(stage: Stage) -> None:
    stage.sample(0, OPEN)
    happened = stage.drain(60_000, Script(failed=[("state changes", "gone")]))
    assert [(lost.what, lost.count) for lost in happened.lost] == [("state changes (gone)", None)]
    assert happened.events_lost == 0
    rows = closed(stage.drain(10_000, Script(announced=ANNOUNCED)))
    assert [(row.cookie, row.sampled, row.opened) for row in rows] == [(COOKIE, True, None)]
    stage.sample(1000)
    assert [one[3] for one in stage.ended()] == ["event"]


def test_all_that_one_drain_lost_is_counted(stage: Stage) -> None:
    broken = [("exits of processes", "gone")]
    happened = stage.drain(1000, Script(trace_lost=7, announced_lost=4, failed=broken))
    assert (len(happened.lost), happened.events_lost) == (3, 11)
    assert stage.drain(1000).events_lost == 0


def test_announcements_that_still_queue_are_waited_for(stage: Stage) -> None:
    """One reading of them stops at 131,072: `until` says how far it came."""
    stage.drain(60_000, Script(LIFE, [END], announced_until=1_001_000))
    stage.drain(SECOND, Script(announced_until=1_001_000))
    rows = closed(stage.drain(1000, Script(announced=ANNOUNCED))) + closed(stage.drain(10_000))
    assert [(row.opened, row.not_before) for row in rows] == [(1010_000, 1050_000)]


def test_an_announcement_right_after_a_sample_may_tell_of_an_end_before_it(stage: Stage) -> None:
    """A kernel worker makes it some time after the event: the sample says nothing of an unsampled one."""
    stage.sample(0)
    stage.sample(SECOND)
    began = 1_002_500 + SECOND
    rows = closed(stage.drain(1000, Script(announced=[PLAIN_UDP])))
    assert [row.cookie for row in rows] == [30]
    assert rows[0].not_before is not None
    assert rows[0].not_before < began


def test_an_orphan_of_which_nothing_is_known_has_its_samples_endpoints(stage: Stage) -> None:
    """Its changes were lost and its announcement too: the ledger still knows which socket it was."""
    stage.sample(0, OPEN)
    stage.drain(10_000, Script(trace_lost=1, announced_lost=1))
    stage.drain(50_000, Script(ends=[END]))
    happened = stage.drain(SECOND)
    assert happened.closed is not None
    life = happened.closed.lives
    assert [row.cookie for row in closed(happened)] == [COOKIE]
    assert (life.family.tolist(), life.local_port.tolist(), life.remote_port.tolist()) == ([2], [4000], [80])


def test_a_pause_is_a_loss_and_nothing_from_before_it_goes_on(stage: Stage) -> None:
    stage.drain(20_000, Script(LIFE[:2]))
    stage.log.pause()
    assert stage.log.paused
    stage.sources.now += 10_000
    happened = stage.log.resume()
    assert not stage.log.paused
    lost = Lost("all events, to keep the CPU budget", None, ANCHOR + 1_020_000, ANCHOR + 1_030_000)
    assert happened.lost == [lost]
    rows = closed(stage.drain(60_000, Script(LIFE[2:], [END], announced=ANNOUNCED)))
    assert [(row.opened, row.not_before) for row in rows] == [(None, 1050_000)]


def test_each_sample_of_a_pause_notes_its_part_of_it(stage: Stage) -> None:
    stage.log.pause()
    first = stage.sample(10_000)
    assert stage.drain(10_000).nothing
    second = stage.sample(10_000)
    bounds = [(lost.not_before, lost.not_after) for one in (first, second) for lost in one.lost]
    assert bounds[0][0] == ANCHOR + 1_000_000
    assert bounds[0][1] == bounds[1][0]
    assert len(bounds) == 2


def test_what_waits_as_a_pause_begins_is_told_in_the_end(stage: Stage) -> None:
    """A listener's end that waits for its cause, an announcement and a process's end that wait."""
    stage.host.add(100, "server")
    stage.began_long_ago()
    stage.sample(0)
    listens = [
        Change(1011 * MS, A, CLOSE, LISTEN, remote_port=0, remote="0.0.0.0", thread=100),
        Change(1050 * MS, A, LISTEN, CLOSE, remote_port=0, remote="0.0.0.0", thread=100),
    ]
    script = Script(
        listens,
        [END],
        announced=[{"cookie": COOKIE, "remote_port": 0}, {"cookie": 78}],
        exits=[Exit(100, 1_055_000, 1_056_000, None)],
    )
    before = stage.drain(60_000, script)
    assert (before.listeners, before.processes, closed(before)) == ([], [], [])
    stage.log.pause()
    after = stage.drain(10 * SECOND, last=True)
    assert len(after.listeners) == 1
    assert [end.pid for end in after.processes] == [100]
    assert [row.cookie for row in closed(after)] == [78]

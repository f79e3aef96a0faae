"""What ended before a recording began is not its to tell, and what it told it tells once."""

from __future__ import annotations

from tests.recorder.events.example import COOKIE, END, MS, OPEN, SECOND, US, A
from tests.recorder.events.stage import Stage, closed, stage
from tests.recorder.events.support import (
    CLOSE,
    ESTABLISHED,
    TIME_WAIT,
    Change,
    Script,
    connection,
)

__all__ = ["stage"]

ANNOUNCED = Script(announced=[{"cookie": COOKIE, "bytes_sent": 5}])


def test_one_announced_long_after_its_end_was_gone_before_the_first_sample(stage: Stage) -> None:
    """The trace is whole by the first sample and has nothing of it; a busy kernel announces it later."""
    stage.sample(0)
    assert closed(stage.drain(300_000, ANNOUNCED)) == []
    assert closed(stage.drain(SECOND, last=True)) == []


def test_one_that_ended_while_the_first_sample_was_being_made_ready(stage: Stage) -> None:
    """Its beginning was not traced, and no reading saw it: a recording before this one may know it."""
    shut = Change(1010 * MS, A, ESTABLISHED, CLOSE)
    script = Script([shut], [(1010 * MS + US, A, COOKIE)], announced=ANNOUNCED.announced)
    assert closed(stage.sample(20_000, script=script)) == []
    whole = Script(connection(A, 1030 * MS, 1040 * MS), [(1041 * MS, A, 78)], announced=[{"cookie": 78}])
    assert [row.cookie for row in closed(stage.drain(60_000, whole))] == [78]


def test_one_told_without_its_announcement_is_not_told_again_with_it(stage: Stage) -> None:
    stage.began_long_ago()
    stage.sample(0, OPEN)
    traced = Script(connection(A, 1010 * MS, 1050 * MS), [END])
    rows = [closed(stage.drain(60_000, traced)), closed(stage.drain(60_000)), closed(stage.drain(60_000))]
    assert [row.cookie for one in rows for row in one] == [COOKIE]
    assert closed(stage.drain(SECOND, ANNOUNCED)) == []
    assert closed(stage.drain(SECOND, last=True)) == []


def test_a_sample_that_saw_it_in_time_wait_does_not_tell_that_it_was_open(stage: Stage) -> None:
    stage.began_long_ago()
    stage.sample(0)
    stage.sample(SECOND, {"cookie": 30, "state": TIME_WAIT, "protocol": 17})
    began = stage.sources.now
    rows = closed(stage.drain(10_000, Script(announced=[{"cookie": 30, "protocol": 17}])))
    assert [row.cookie for row in rows] == [30]
    assert rows[0].not_before is not None
    assert rows[0].not_before < began - 2500

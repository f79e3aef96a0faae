"""Events that the kernel had no room for: counted, shown as a gap, and no answer pretends to know."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.events.listeners import SERIES, Period, Program, assert_enclosed, assert_exact, listen_in_series
from tests.events.recorded import Recorder, at, moment, one, recorded, rows, when
from tests.support.command import answer
from tests.support.loads.run import Load
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments

COUNT = 4000
LATER = range(7072, 7112)


def test_a_load_on_tiny_buffers_is_accounted_for(netns: Namespace, tmp_path: Path) -> None:
    """The recorder is stopped while it all happens: whatever keeps old events or new ones loses some."""
    capture = tmp_path / "cap"
    with (
        Program(tmp_path, netns, "lister", SERIES) as lister,
        Load(tmp_path, netns, port=9000, count=COUNT) as before,
        Load(tmp_path, netns, port=9001, count=COUNT) as after,
        recorded(netns, capture, "--event-buffer", "64KiB", interval="300ms") as recorder,
    ):
        recorder.more_samples(2)
        lister.say(json.dumps([(7071, 2500)]))
        recorder.more_samples(2)
        os.kill(recorder.pid, signal.SIGSTOP)
        try:
            load = before.run()
            _, *times = json.loads(lister.hear())  # 7071 closed meanwhile
            again = after.run()
        finally:
            os.kill(recorder.pid, signal.SIGCONT)
        recorder.more_samples(3)
        again_known = next(filter(None, (_told(recorder, tmp_path, netns, port) for port in LATER)), None)
    truth = (at(times[2]), at(times[3]))
    facts = one(capture, "SELECT sum(events_lost)::BIGINT AS lost, max(ended_at) AS last FROM samples")
    lost = rows(capture, "SELECT detail, not_after, \"count\" FROM events WHERE kind = 'lost'")
    total = sum(row["count"] for row in lost)
    # What was lost after the last sample is told of, but there is no sample to say so.
    late = sum(row["count"] for row in lost if row["not_after"] > facts["last"])
    assert facts["lost"] > COUNT
    assert total - late <= facts["lost"] <= total, "the two accounts agree"
    assert all(row["detail"] for row in lost)
    seen = 0
    for counted in (load, again):
        for role, side in (("client", "remote_port"), ("server", "local_port")):
            where = f"role = '{role}' AND {side} = {counted.port}"
            row = one(
                capture,
                "SELECT count(*) AS n, count(DISTINCT (socket_id, local_address, local_port, remote_address,"
                f" remote_port)) AS ids FROM connections WHERE {where}",
            )
            assert row["n"] == row["ids"] <= COUNT, "none is made up, none told twice"
            seen += row["n"]
    assert seen < 4 * COUNT, "else nothing was lost, and this proves nothing"
    assert seen + total >= 4 * COUNT
    gaps = rows(capture, "SELECT not_before, not_after, why FROM gaps WHERE why ILIKE '%lost%'")
    assert any(
        (moment(gap["not_before"]) or truth[0]) <= truth[0]
        and truth[1] <= (moment(gap["not_after"]) or truth[1])
        for gap in gaps
    ), gaps
    (stop,) = when(capture, "port", "7071", "stopped", "listening")
    assert stop["exact"] is False
    assert stop["not_before"] < stop["not_after"]
    assert_enclosed(stop, truth)
    story = answer("port", "7071", "-C", capture)
    assert "gap" in [row["what"] for row in story]
    (ended,) = [row for row in story if row["what"] == "stopped listening"]
    assert ended["at_not_before"] < ended["at_not_after"]
    # It knows again from then on.
    assert again_known is not None, "nothing later is told to the moment"
    (stop,) = when(capture, "port", str(again_known.port), "stopped", "listening")
    assert_exact(stop, again_known.ended)


def _told(recorder: Recorder, folder: Path, namespace: Namespace, port: int) -> Period | None:
    """Listen for a moment; return when, if the recorder can tell to the moment when that ended.

    Buffers as small as these lose some whenever the machine is busy, too.
    """
    with Program(folder, namespace, "later", SERIES) as later:
        (period,) = listen_in_series(later, [(port, 50)])
    recorder.more_samples(1)
    known = rows(
        recorder.capture,
        "SELECT not_before = not_after AS exact FROM events"
        f" WHERE kind = 'stopped listening' AND local_port = {port}",
    )
    return period if any(row["exact"] for row in known) else None


def test_without_a_loss_there_is_no_gap(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with Load(tmp_path, netns, port=9000, count=200, rate=500) as load, recorded(netns, capture):
        load.run()
    assert rows(capture, "SELECT * FROM events WHERE kind = 'lost'") == []
    assert rows(capture, "SELECT * FROM gaps WHERE why ILIKE '%lost%'") == []

"""What `netstat -c`, once a second, sees of short connections, and what a recording in the same run has."""

from __future__ import annotations

from pathlib import Path

from tests.events.recorded import one, recorded
from tests.support.loads.netstat import netstat
from tests.support.loads.run import Load
from tests.support.netns import Namespace

COUNT = 3000


def test_netstat_misses_most_and_the_recording_none(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with (
        Load(tmp_path, netns, port=9000, count=COUNT, rate=1000, closer="server") as load,
        recorded(netns, capture),
        netstat(tmp_path, netns) as watched,
    ):
        load.run()
    opened, remnants = watched.of_port(9000)
    assert watched.listings >= 3
    assert opened + remnants < COUNT / 10, "else netstat would do"
    found = one(capture, "SELECT count(*) AS n FROM connections WHERE role = 'client' AND remote_port = 9000")
    assert found == {"n": COUNT}

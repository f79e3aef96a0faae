"""What the recorder keeps in memory does not grow with connections that are gone."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.events.recorded import FULL, Recorder, one, recorded
from tests.support.loads.run import Load
from tests.support.netns import Namespace

# The first load brings what is made once, allocators' pools among it: on a busy host batches are large.
LOAD = 150_000 if FULL else 50_000
# Above that is more than the noise of allocators: 500 bytes for each connection of the short form. What
# the ledger keeps of a live one is nearly twice that.
ALLOWED = 24 << 20


def resident(recorder: Recorder) -> int:
    """Return the memory of a process at rest: the least of some seconds, in bytes."""
    readings = []
    for _ in range(15):
        text = Path(f"/proc/{recorder.pid}/status").read_text()
        found = re.search(r"^VmRSS:\s+(\d+) kB$", text, re.MULTILINE)
        assert found is not None
        readings.append(int(found[1]) << 10)
        time.sleep(0.2)
    return min(readings)


def test_it_is_the_same_after_twice_as_many(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    # Remnants in TIME_WAIT are sockets that there are: here they are not to count.
    netns.run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=1", check=True)
    with (
        Load(tmp_path, netns, port=9000, count=LOAD, rate=10_000) as first,
        Load(tmp_path, netns, port=9001, count=LOAD, rate=10_000) as second,
        Load(tmp_path, netns, port=9002, count=LOAD, rate=10_000) as third,
        recorded(netns, capture) as recorder,
    ):
        first.run()
        recorder.more_samples(2)
        before = resident(recorder)
        second.run()
        recorder.more_samples(2)
        after = resident(recorder)
        grown, loads = after - before, 2
        if grown >= ALLOWED:
            # Allocators take more once; what is kept of connections comes with each load.
            third.run()
            recorder.more_samples(2)
            grown, loads = resident(recorder) - after, 3
    assert grown < ALLOWED, f"{grown / 2**20:.1f} MiB for {LOAD:,} connections that are gone"
    # Where the machine is too slow for the load, what is lost of it is counted.
    told = one(
        capture,
        "SELECT (SELECT count(*) FROM connections) AS n, (SELECT coalesce(sum(count), 0)::BIGINT FROM events "
        "WHERE kind = 'lost' AND detail = 'destroyed sockets') AS lost",
    )
    assert told["n"] + told["lost"] == 2 * loads * LOAD
    assert told["lost"] < LOAD // 2

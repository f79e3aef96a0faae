"""A capture of a whole day, made at full speed: the real ledger and writer, given made-up readings.

`python -m benchmarks.generate CAPTURE SOCKETS FIRST_SECOND SECONDS` records a stretch of the day 2026-01-15
(UTC), a sample a second: of 10,000 sockets 100 are replaced each second by new connections, and 100 others
moved bytes. Port 7071's listener stops three times a day and comes back 30 s later under another pid.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sockrec.kernel.arrays import FIELD, NULL, InetSockets, UnixSockets
from sockrec.kernel.owners import Owners
from sockrec.kernel.processes import Process
from sockrec.kernel.sockets import Reading
from sockrec.model import states
from sockrec.model.tables import FORMAT_VERSION, SAMPLES
from sockrec.recorder.ledger import Changes, Ledger
from sockrec.recorder.network import NetworkLedger
from sockrec.recorder.options import Options
from sockrec.recorder.ownership import Ownership
from sockrec.recorder.writer import Writer
from sockrec.store import files, layout, recordings
from sockrec.version import __version__

HOST: Final = "web-1"
BEGAN_US: Final = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp()) * 1_000_000
PORT: Final = 7071
NEW_A_SECOND: Final = 100
MOVED_A_SECOND: Final = 100
DOWN_SECONDS: Final = 30
STOPS_AT: Final = (9 * 3600, 14 * 3600 + 1200, 20 * 3600)
_LISTENERS: Final = 50
_PROGRAMS: Final = ("nginx", "postgres", "java", "redis-server", "envoy", "node", "gunicorn", "haproxy")
_READ_US: Final = 5_000
_PEERS: Final = 4_000
_NEAREST_US: Final = 200
_FARTHEST_US: Final = 60_000


class Day:
    """The sockets of the made-up host, second by second. The same seed and stretch give the same day."""

    def __init__(self, sockets: int, first: int) -> None:
        self._random = np.random.default_rng(first)
        self._next = first * (NEW_A_SECOND + 1) + sockets + 1
        self._restarts = 0
        count = max(sockets, _LISTENERS + NEW_A_SECOND + MOVED_A_SECOND)
        self._all = InetSockets.allocate(count)
        self._all.protocol[:], self._all.family[:], self._all.ifindex[:], self._all.uid[:] = 6, 2, 0, 1000
        self._all.activity[:] = NULL
        self._all.local[:], self._all.remote[:] = 0, 0
        self._all.local[:, :4] = (10, 0, 0, 5)
        everyone = np.arange(count)
        self._all.cookie[:] = everyone + 1 if not first else everyone + self._next
        self._all.inode[:] = self._all.cookie
        self._next += count
        self._fresh = set(self._all.inode.tolist())
        self._open(everyone[_LISTENERS:])
        self._listen(everyone[:_LISTENERS])

    def reading(self, second: int) -> Reading:
        """Return the sockets at a second of the day, as the kernel floor would."""
        down = any(stop <= second < stop + DOWN_SECONDS for stop in STOPS_AT)
        if any(second == stop + DOWN_SECONDS for stop in STOPS_AT):
            self._restarts += 1
            self._rename(np.array([0]))
        connected = self._random.choice(
            len(self._all) - _LISTENERS, NEW_A_SECOND + MOVED_A_SECOND, replace=False
        )
        connected += _LISTENERS
        self._rename(connected[:NEW_A_SECOND])
        self._open(connected[:NEW_A_SECOND])
        self._move(connected[NEW_A_SECOND:])
        # A reading is its receiver's to keep and change.
        whole = self._all.rows(int(down), len(self._all))
        began = second * 1_000_000
        return Reading(
            InetSockets.concat([whole]), UnixSockets.empty(), began, began + _READ_US, (), frozenset()
        )

    def pid(self, inode: int) -> int:
        """Return which process holds a socket."""
        if inode == self._all.inode[0]:
            return 7000 + self._restarts
        return 1000 + inode % len(_PROGRAMS)

    def take_fresh(self) -> set[int]:
        """Return the inodes that are new since this was asked before."""
        fresh, self._fresh = self._fresh, set()
        return fresh

    def _rename(self, rows: npt.NDArray[np.int64]) -> None:
        names = np.arange(self._next, self._next + len(rows))
        self._all.cookie[rows] = self._all.inode[rows] = names
        self._fresh.update(names.tolist())
        self._next += len(rows)

    def _listen(self, rows: npt.NDArray[np.int64]) -> None:
        self._all.state[rows] = states.LISTEN
        self._all.local_port[rows] = PORT + np.arange(len(rows))
        self._all.remote_port[rows] = 0
        self._all.remote[rows] = 0
        for name, value in {"recv_q": 0, "send_q": 0, "backlog_limit": 4096, "timer": 0}.items():
            self._all.activity[FIELD[name], rows] = value

    def _open(self, rows: npt.NDArray[np.int64]) -> None:
        sockets, random = self._all, self._random
        sockets.state[rows] = states.ESTABLISHED
        sockets.local_port[rows] = PORT + random.integers(0, _LISTENERS, len(rows))
        sockets.remote_port[rows] = random.integers(32768, 61000, len(rows))
        peers = random.integers(0, _PEERS, len(rows))
        sockets.remote[rows, 0], sockets.remote[rows, 1] = 10, 1
        sockets.remote[rows, 2], sockets.remote[rows, 3] = peers // 250, peers % 250 + 1
        sockets.activity[:, rows] = 0
        for name in ("backlog_limit", "timer_deadline"):
            sockets.activity[FIELD[name], rows] = NULL
        for name, value in {"rcvbuf": 131_072, "sndbuf": 2_626_560, "snd_mss": 1448, "pmtu": 1500}.items():
            sockets.activity[FIELD[name], rows] = value
        sockets.activity[FIELD["rtt_us"], rows] = self._round_trips(rows)

    def _round_trips(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return how long one takes: each peer's own time, more or less."""
        third, fourth = (self._all.remote[rows, place].astype(np.int64) for place in (2, 3))
        usual = _NEAREST_US + (third * 251 + fourth) * 7919 % _FARTHEST_US
        took: npt.NDArray[np.int64] = (usual * self._random.uniform(0.8, 1.3, len(rows))).astype(np.int64)
        return took

    def _move(self, rows: npt.NDArray[np.int64]) -> None:
        activity, random = self._all.activity, self._random
        activity[FIELD["recv_q"], rows] = random.integers(0, 3, len(rows)) * 512
        activity[FIELD["rtt_us"], rows] = self._round_trips(rows)
        for name, most in {
            "bytes_sent": 90_000,
            "bytes_received": 9_000,
            "segs_out": 60,
            "segs_in": 60,
        }.items():
            activity[FIELD[name], rows] += random.integers(1, most, len(rows))


class _PlayedOwners(Owners):
    """Holders as the day has them."""

    def __init__(self, day: Day) -> None:
        super().__init__()
        self._day = day

    def update(self, *_: object) -> set[int]:
        return self._day.take_fresh()

    def holders(self, inode: int) -> tuple[int, ...]:
        return (self._day.pid(inode),)


class _PlayedOwnership(Ownership):
    """The real numbering of owners, over processes that are not on this machine."""

    def __init__(self, anchor_us: int, day: Day) -> None:
        super().__init__(anchor_us)
        self._walker = _PlayedOwners(day)

    def _read(self, pid: int) -> Process | None:
        program = "myapp" if pid >= 7000 else _PROGRAMS[pid - 1000]
        return Process(
            pid, BEGAN_US, 1, 1000, program, (program, "--serve"), f"/usr/bin/{program}", "/", None, None
        )

    def _check_processes(self) -> None:
        for tracked in self._tracked.values():
            tracked.last_seen = max(tracked.first_seen, self._times.began)


def generate(capture: Path, sockets: int, first: int, seconds: int) -> None:
    """Record the seconds [first, first + seconds) of the day."""
    day = Day(sockets, first)
    ledger = Ledger(BEGAN_US, Options().counters_us)
    ledger.ownership = _PlayedOwnership(BEGAN_US, day)
    started = BEGAN_US + first * 1_000_000
    recording = f"{datetime.fromtimestamp(started // 1_000_000, UTC):%Y%m%dT%H%M%S}-0000"
    facts = _facts(recording, started)
    paths = layout.Layout(capture)
    files.make_folder(paths.journals(HOST))
    # Nobody pulls the plug on a generated day: it is not synced until a part is sealed.
    writer = Writer(paths, HOST, facts, ledger, NetworkLedger(BEGAN_US), sync_seconds=1e9)
    for second in range(first, first + seconds):
        reading = day.reading(second)
        writer.rotate_if_due()
        changes = ledger.observe(reading)
        writer.write(changes, _sample(second - first, changes, reading))
    writer.close()
    facts |= {"ended_us": started + seconds * 1_000_000, "ended_as": "stopped"}
    recordings.write_recording(paths.recording(HOST, recording), facts)


def _facts(recording: str, started: int) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "sockrec_version": __version__,
        "recording": recording,
        "host": HOST,
        "kernel": "6.1.0",
        "machine": "x86_64",
        "boot_id": "b0075a3d-0000-4000-8000-000000000000",
        "time_zone": "UTC",
        "netns": 4026531840,
        "started_us": started,
        "ended_us": None,
        "ended_as": None,
        "options": {"interval_us": 1_000_000},
        "privileges": {},
        "unavailable": [],
        "names": {"services": {}, "protocols": {}, "hosts": {}, "users": {}},
    }


def _sample(number: int, changes: Changes, reading: Reading) -> dict[str, Any]:
    return dict.fromkeys(SAMPLES.names[1:]) | {
        "number": number,
        "began_at": changes.times.began,
        "ended_at": changes.times.ended,
        "boot_us": reading.began_us,
        "interval_us": 1_000_000,
        "sockets": len(reading.inet),
        "unix_sockets": 0,
        "changes": changes.count,
        "complete": True,
        "ticks_missed": 0,
        "cpu_us": 0,
        "clock_step_us": 0,
    }


if __name__ == "__main__":
    generate(Path(sys.argv[1]), *map(int, sys.argv[2:]))

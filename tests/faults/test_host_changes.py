"""The host gets another name, or starts again: nothing of one is taken for the other's."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sockrec.catalog import open_catalog
from tests.faults.covered import samples
from tests.support.command import CLEAN, SOCKREC, answer, count_samples, sockrec, wait_for_samples
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


@contextmanager
def _recorder(
    namespace: Namespace, capture: Path, *under: str | Path, end: signal.Signals = signal.SIGINT
) -> Iterator[subprocess.Popen[str]]:
    """Record under another command, from the first sample on; `end` it so."""
    command = (*under, SOCKREC, "record", "-C", capture, "--interval", "100ms")
    before = count_samples(capture)
    process = namespace.popen(*command, stderr=subprocess.PIPE, env=CLEAN)
    try:
        wait_for_samples(capture, before + 2, 60)
        yield process
        process.send_signal(end)
        _, complaints = process.communicate(timeout=60)
        assert (process.returncode, complaints) == (0 if end is signal.SIGINT else -end, "")
    finally:
        process.kill()
        process.wait()


def _named(name: str) -> tuple[str, ...]:
    """Return the command that runs another on a host of that name."""
    return ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name)


def test_a_name_that_changes_while_recording_is_the_next_recordings(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    with netns.entered(), socket.create_server(("127.0.0.1", 7100)):
        with _recorder(netns, capture, *_named("alpha")) as process:
            subprocess.run(["nsenter", "--uts", f"--target={process.pid}", "hostname", "beta"], check=True)
            wait_for_samples(capture, count_samples(capture) + 2)
        with _recorder(netns, capture, *_named("beta")):
            pass
    assert [
        row["host"] for row in answer("sql", "-C", capture, "SELECT host FROM recordings ORDER BY 1")
    ] == [
        "alpha",
        "beta",
    ]
    with open_catalog(capture) as catalog:
        assert catalog.damages == []
        hosts = catalog.rows("SELECT host, count(DISTINCT recording) FROM samples GROUP BY 1 ORDER BY 1")
        assert hosts == [("alpha", 1), ("beta", 1)]
        for recording in [str(one["recording"]) for one in catalog.recordings]:
            numbers = [one.number for one in samples(catalog, recording)]
            assert numbers == list(range(len(numbers)))
        listeners = catalog.rows("SELECT host, ended_as FROM listeners WHERE local_port = 7100 ORDER BY 1")
        assert listeners == [("alpha", "stopped"), ("beta", "stopped")]
        assert catalog.rows("SELECT * FROM gaps WHERE why = 'not recording'") == []
    done = sockrec("when", "-C", capture, "port", "7100", "stopped", "listening")
    assert (done.returncode, done.stdout) == (1, "")


def _record_twice(namespace: Namespace, folder: Path, *second: str) -> tuple[Path, int, int]:
    """Record until killed and then once more; return the capture, the cookies of a listener and a client.

    Both are open all the time: for the second recorder, that the same cookies come again.
    """
    capture = folder / "capture"
    with (
        namespace.entered(),
        socket.create_server(("127.0.0.1", 7100)) as listener,
        socket.create_connection(("127.0.0.1", 7100)) as client,
        listener.accept()[0],
    ):
        cookies = cookie_of(listener), cookie_of(client)
        with _recorder(namespace, capture, end=signal.SIGKILL):
            pass
        with _recorder(namespace, capture, *second):
            pass
    return capture, *cookies


_PERIODS = """
SELECT socket_id, began_not_before, began_not_after, begun_as, ended_not_before, ended_not_after, ended_as,
    ended_evidence
FROM listeners WHERE local_port = 7100
UNION ALL
SELECT socket_id, opened_not_before, opened_not_after, opened_as, closed_not_before, closed_not_after,
    closed_as, closed_evidence
FROM connections WHERE remote_port = 7100
ORDER BY socket_id, began_not_after
"""


def test_a_new_boot_has_other_sockets_under_the_same_cookies(netns: Namespace, tmp_path: Path) -> None:
    """The boot id is all that tells: name, namespace, addresses and cookies are the same."""
    other = tmp_path / "boot_id"
    other.write_text("00000000-1111-2222-3333-444444444444\n")
    mount = ("unshare", "--mount", "sh", "-c", f'mount --bind "$0" {_BOOT_ID} && exec "$@"', str(other))
    capture, *cookies = _record_twice(netns, tmp_path, *mount)
    with open_catalog(capture) as catalog:
        boots = [str(one["boot_id"]) for one in catalog.recordings]
        assert boots[0] == Path(_BOOT_ID).read_text().strip()
        assert boots[1] == other.read_text().strip()
        (gap,) = catalog.rows("SELECT not_before, not_after FROM gaps WHERE why = 'not recording'")
        ((before, after),) = catalog.rows(
            "WITH told AS (SELECT arg_min(recording, began_at) AS first FROM samples)"
            " SELECT max(began_at) FILTER (recording = first), min(ended_at) FILTER (recording <> first)"
            " FROM samples, told"
        )
        assert gap[0] >= before
        assert gap[1] <= after
        found = catalog.rows(_PERIODS)
    assert sorted(row[0] for row in found) == sorted(2 * cookies)
    for cookie in cookies:
        first, second = (row[1:] for row in found if row[0] == cookie)
        assert first[2] == "found"
        assert first[3:] == (before, after, "gap", "inferred"), "it ended as the host did"
        assert second[:3] == (before, after, "gap")
        assert second[3:] == (None, None, "stopped", None)
    (stop,) = answer("when", "-C", capture, "port", "7100", "stopped", "listening")
    assert (stop["exact"], stop["evidence"]) == (False, "inferred")


def test_the_same_boot_has_the_same_sockets(netns: Namespace, tmp_path: Path) -> None:
    """What the test above is to be told from."""
    capture, *cookies = _record_twice(netns, tmp_path)
    with open_catalog(capture) as catalog:
        found = catalog.rows(_PERIODS)
    assert sorted(row[0] for row in found) == sorted(cookies)
    for row in found:
        assert row[3] == "found"
        assert row[4:] == (None, None, "stopped", None)

"""`record` gives up what it does not need, in every thread, and records everything; its command has all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.events.listeners import SERIES, VICTIM, Program, assert_exact, listen_in_series
from tests.events.recorded import one, recorded, rows, wait_until, when
from tests.support.command import CLEAN, SOCKREC, answer, count_samples
from tests.support.netns import Namespace

NOBODY = 65534
# include/uapi/linux/capability.h
BITS = {
    "cap_chown": 0,
    "cap_dac_override": 1,
    "cap_dac_read_search": 2,
    "cap_fowner": 3,
    "cap_kill": 5,
    "cap_net_admin": 12,
    "cap_sys_ptrace": 19,
}
NEEDED = {"cap_dac_read_search", "cap_net_admin", "cap_sys_ptrace"}
FOREIGN = {"cap_chown", "cap_dac_override", "cap_fowner"}
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def threads(pid: int) -> dict[str, dict[str, int]]:
    """Return the capability sets of every thread of a process."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        lines = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines())
        name = f"{lines['Name'].strip()} {thread.name}"
        found[name] = {key: int(lines[key], 16) for key in SETS} | {"NoNewPrivs": int(lines["NoNewPrivs"])}
    return found


def assert_only(pid: int, names: set[str], capture: Path) -> None:
    """Expect these capabilities in every thread, and in what is recorded of the recording."""
    mask = sum(1 << BITS[name] for name in names)
    expected = {"CapInh": 0, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": 0, "NoNewPrivs": 1}
    found = threads(pid)
    assert len(found) > 1, "numpy, pyarrow and the sealer have threads"
    assert found == dict.fromkeys(found, expected)
    said = one(
        capture, "SELECT json_extract_string(privileges, '$.capabilities[*]') AS names FROM recordings"
    )
    assert set(said["names"]) == names


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ((), NEEDED),
        (("--no-events",), NEEDED),
        (("--no-events", "--max-size", "2GiB", "--max-age", "7d", "--thin-after", "24h"), NEEDED),
    ],
    ids=["events", "no events", "bounded"],
)
def test_every_thread_has_the_needed_ones_only(
    netns: Namespace, tmp_path: Path, words: tuple[str, ...], kept: set[str]
) -> None:
    capture = tmp_path / "cap"
    with recorded(netns, capture, *words, interval="100ms") as recorder:
        recorder.more_samples(2)
        assert_only(recorder.pid, kept, capture)
    assert recorder.complaints == []


# As sshd and gpg-agent are: the process is a user's, its /proc/PID is root's (PR_SET_DUMPABLE).
SECRETIVE = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
listener = socket.create_server(("10.0.0.5", 7400))
print("ready", flush=True)
sys.stdin.readline()
"""


def test_with_them_it_sees_other_users_processes_and_how_they_ended(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    with (
        Program(tmp_path, netns, "lister", SERIES, uid=NOBODY) as lister,
        Program(tmp_path, netns, "victim", VICTIM, "7300", "", uid=1000) as victim,
        Program(tmp_path, netns, "secretive", SECRETIVE, uid=NOBODY) as secretive,
        recorded(netns, capture, interval="200ms") as recorder,
    ):
        assert (victim.hear(), secretive.hear()) == ("ready", "ready")
        recorder.more_samples(2)
        (period,) = listen_in_series(lister, [(7100, 500)])
        before = datetime.now(UTC)
        os.kill(victim.pid, signal.SIGKILL)
        victim.process.wait(20)
        after = datetime.now(UTC)
        recorder.more_samples(2)
        pids = lister.pid, victim.pid, secretive.pid
    (stop,) = when(capture, "port", "7100", "stopped", "listening")
    assert_exact(stop, period.ended)
    assert (stop["pid"], stop["program"]) == (pids[0], "lister")
    (killed,) = when(capture, "port", "7300", "stopped", "listening")
    assert_exact(killed, (before, after))
    assert (killed["pid"], killed["program"]) == (pids[1], "victim")
    assert re.search(rf"\bSIGKILL\b.*{os.getpid()}", killed["cause"]), "and who killed it"
    exe = one(capture, f"SELECT DISTINCT exe FROM processes WHERE pid = {pids[1]}")["exe"]
    assert "python" in exe
    found = one(capture, "SELECT DISTINCT pid, owner, program FROM sockets WHERE local_port = 7400")
    assert found == {"pid": pids[2], "owner": "held", "program": "secretive"}


# What the recorder spends on events is decided by a file.
SWITCHED = """
import os, sys
from sockrec.recorder.thrift import Thrift
Thrift.events_too_dear = property(lambda _: os.path.exists(os.environ["DEAR"]))
Thrift.events_cheap_again = property(lambda _: not os.path.exists(os.environ["DEAR"]))
from sockrec.cli import main
main()
"""


def test_events_left_out_for_a_while_are_asked_for_again(netns: Namespace, tmp_path: Path) -> None:
    capture, dear = tmp_path / "cap", tmp_path / "dear"
    command = (sys.executable, "-c", SWITCHED, "record", "-C", capture, "--interval", "100ms")

    def losses() -> int:
        found = one(capture, "SELECT count(*) AS n FROM events WHERE kind = 'lost'")
        return int(found["n"])

    with (
        Program(tmp_path, netns, "lister", SERIES, uid=NOBODY) as lister,
        netns.popen(*command, stderr=subprocess.PIPE, env=CLEAN | {"DEAR": str(dear)}) as process,
    ):
        wait_until(lambda: count_samples(capture) > 1, "samples")
        dear.touch()
        wait_until(lambda: losses() > 1, "events are left out")
        dear.unlink()
        time.sleep(1)
        left_out = losses()
        (period,) = listen_in_series(lister, [(7100, 300)])
        pid = lister.pid
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")
    assert losses() == left_out
    (stop,) = when(capture, "port", "7100", "stopped", "listening")
    assert_exact(stop, period.ended)
    assert stop["pid"] == pid
    unavailable = one(capture, "SELECT unavailable FROM recordings")["unavailable"]
    assert not [line for line in unavailable if re.search("trace|destroyed|exits|process", line)]


# What ProtectKernelTunables= and ReadWritePaths= of the unit make of /sys, and its CapabilityBoundingSet=.
AS_A_SERVICE = """
mount -t tracefs tracefs /sys/kernel/tracing
mount --bind /sys/kernel/tracing/instances /sys/kernel/tracing/instances
mount -o remount,bind,ro /sys/kernel/tracing
exec setpriv --no-new-privs --bounding-set=-all,+dac_read_search,+net_admin,+sys_ptrace "$@"
"""


def test_what_the_unit_allows_is_enough(netns: Namespace, tmp_path: Path) -> None:
    """All but the exits that only the first network namespace tells of, which a service is in."""
    capture = tmp_path / "cap"
    under = ("unshare", "--mount", "sh", "-ec", AS_A_SERVICE, "sh")
    with (
        Program(tmp_path, netns, "lister", SERIES, uid=NOBODY) as lister,
        recorded(netns, capture, interval="200ms", under=under) as recorder,
    ):
        recorder.more_samples(1)
        assert_only_now(recorder.pid, NEEDED)
        (period,) = listen_in_series(lister, [(7100, 500)])
        recorder.more_samples(1)
        pid = lister.pid
    (stop,) = when(capture, "port", "7100", "stopped", "listening")
    assert_exact(stop, period.ended)
    assert stop["pid"] == pid
    assert re.search("closed", stop["cause"])
    (complaint,) = recorder.complaints
    assert "initial network namespace" in complaint


def test_a_command_has_all_that_its_caller_has(netns: Namespace, tmp_path: Path) -> None:
    capture = tmp_path / "cap"
    script = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; read line"
    words = (SOCKREC, "record", "-C", capture, "--", "sh", "-c", script)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with netns.popen(*words, env=CLEAN, **pipes) as process:
        assert process.stdout is not None
        told = "".join(process.stdout.readline() for _ in range(6))
        wait_until(
            lambda: len({str(sets) for sets in threads(process.pid).values()}) == 1, "its starter ends"
        )
        assert_only(process.pid, NEEDED | {"cap_kill"}, capture)
        _, complaints = process.communicate("\n", timeout=30)
    assert (process.returncode, complaints) == (0, "")
    assert told == netns.run("sh", "-c", script, stdin=subprocess.DEVNULL).stdout


def test_a_signal_reaches_a_command_that_became_another_user(netns: Namespace, tmp_path: Path) -> None:
    user = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
    words = (SOCKREC, "record", "-C", tmp_path / "cap", "--", *user, "sh", "-c", "echo begun; exec sleep 60")
    with netns.popen(*words, env=CLEAN, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("whose", ["home", "capture", "tables"])
def test_root_records_into_another_users_folder(netns: Namespace, tmp_path: Path, whose: str) -> None:
    """Into a new capture in it; on into one that is the user's; and into one that is in part."""
    home = tmp_path / "home"
    home.mkdir(0o700)
    capture = home / "cap"
    with recorded(netns, capture, interval="100ms"):
        pass
    theirs = {"home": [], "capture": [capture, *capture.rglob("*")], "tables": [capture / "samples"]}[whose]
    for path in theirs if whose == "tables" else [home, *theirs]:
        os.chown(path, NOBODY, NOBODY)
    if whose == "home":
        capture = home / "other"
    before = count_samples(capture)
    with recorded(netns, capture, "--no-events", interval="100ms") as recorder:
        recorder.more_samples(2)
        assert_only_now(recorder.pid, NEEDED | FOREIGN)
    assert recorder.complaints == []
    assert count_samples(capture) >= before + 3
    assert not list(capture.glob("journal/*/*.journal")), "everything is sealed"
    assert answer("info", "-C", capture)


def assert_only_now(pid: int, names: set[str]) -> None:
    """Expect these capabilities in every thread."""
    mask = sum(1 << BITS[name] for name in names)
    assert {sets["CapPrm"] for sets in threads(pid).values()} == {mask}


def test_in_a_folder_of_its_own_it_does_without_the_right_to_write_anywhere(
    netns: Namespace, tmp_path: Path
) -> None:
    capture = tmp_path / "cap"
    for _ in range(2):
        with recorded(netns, capture, "--no-events", interval="100ms") as recorder:
            recorder.more_samples(1)
            assert_only_now(recorder.pid, NEEDED)
    assert len(rows(capture, "SELECT * FROM recordings")) == 2

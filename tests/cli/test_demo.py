"""`sockrec demo`: the whole path on a real incident, in a namespace or without one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.command import CLEAN, SOCKREC, answer, sockrec

STOPPED = (
    r"port 7071 \(tcp 10\.0\.0\.5:7071\) stopped listening at .* \(exact\): "
    r"myapp\[(\d+)\] was killed by SIGSEGV, sent by [^;]*; listening again .* as myapp\[(\d+)\]"
)
# Without the kernel's tracepoints: within bounds, and the cause is inferred.
STOPPED_ABOUT = (
    r"port 7071 \(tcp 127\.0\.0\.1:7071\) stopped listening between .*: "
    r"myapp\[(\d+)\] was killed by SIGSEGV; listening again .* as myapp\[(\d+)\]"
)


def test_it_ends_by_naming_when_it_stopped_and_who_held_it(tmp_path: Path) -> None:
    done = sockrec("demo", "-C", tmp_path / "cap")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    named = re.match(STOPPED, last)
    assert named, last
    crashed = re.search(r"myapp\[(\d+)\] crashed", done.stderr)
    assert crashed
    assert named[1] == crashed[1]
    (stop,) = answer("when", "-C", tmp_path / "cap", "port", "7071", "stopped", "listening")
    assert stop["pid"] == int(crashed[1])
    assert stop["restart"]["pid"] == int(named[2])


def test_without_a_namespace_of_its_own_it_uses_loopback(tmp_path: Path) -> None:
    # In this user namespace no further namespaces are allowed; its loopback is nobody else's.
    forbid = "ip link set lo up; for n in user net; do echo 0 > /proc/sys/user/max_${n}_namespaces; done"
    script = f"{forbid}; exec {SOCKREC} demo -C {tmp_path / 'cap'}"
    command = ["unshare", "--map-root-user", "--net", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, env=CLEAN, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "loopback" in done.stderr.splitlines()[0]
    last = done.stdout.splitlines()[-1]
    assert re.match(STOPPED_ABOUT, last), last

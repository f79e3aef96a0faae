"""Clocks, names and privileges, against the programs that print them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sockrec.kernel import host
from tests.support.netns import Namespace


def output(*args: str) -> str:
    return subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()


def test_clocks_are_in_microseconds_and_the_anchor_joins_them() -> None:
    before = time.time_ns() // 1000
    wall = host.wall_us()
    assert before <= wall <= time.time_ns() // 1000
    uptime_us = float(Path("/proc/uptime").read_text().split()[0]) * 1e6
    assert abs(host.boot_us() - uptime_us) < 1e6
    assert abs(host.anchor_us() + host.boot_us() - host.wall_us()) < 20_000


def test_boot_clock_does_not_step_back() -> None:
    times = [host.boot_us() for _ in range(1000)]
    assert times == sorted(times)
    assert times[-1] > times[0]


def test_names_are_those_that_the_tools_print() -> None:
    assert host.boot_id() == output("cat", "/proc/sys/kernel/random/boot_id")
    assert len(host.boot_id()) == 36
    assert host.kernel_release() == output("uname", "-r")
    assert host.machine() == output("uname", "-m")
    assert host.hostname() == output("uname", "-n")


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("Europe/Paris", "Europe/Paris"),
        (":Europe/Paris", "Europe/Paris"),
        ("/usr/share/zoneinfo/America/Lima", "America/Lima"),
        (":/usr/share/zoneinfo/posix/America/Lima", "America/Lima"),
        ("", "UTC"),
        ("UTC", "UTC"),
    ],
)
def test_time_zone_is_the_one_of_the_environment(
    setting: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", setting)
    assert host.time_zone() == name


ZONE = """
from sockrec.kernel import host
print(host.time_zone())
"""


@pytest.mark.parametrize(
    ("link", "text", "name"),
    [
        ("/usr/share/zoneinfo/Asia/Tokyo", "Africa/Cairo", "Asia/Tokyo"),
        ("../usr/share/zoneinfo/Asia/Tokyo", "Africa/Cairo", "Asia/Tokyo"),
        (None, "Africa/Cairo", "Africa/Cairo"),
        (None, "no such zone", "UTC"),
        (None, "", "UTC"),
        (None, None, "UTC"),
    ],
)
@pytest.mark.parametrize("environment", [{}, {"TZ": "CET-1CEST"}, {"TZ": "../../etc/passwd"}])
def test_time_zone_is_the_one_of_the_host(
    tmp_path: Path, link: str | None, text: str | None, name: str, environment: dict[str, str]
) -> None:
    """In a root of its own where /etc holds just what the case says; a rule in TZ has no name."""
    lines = ["mount -t tmpfs none /etc"]
    if link:
        lines.append(f"ln -s {link} /etc/localtime")
    if text is not None:
        lines.append(f"echo '{text}' > /etc/timezone")
    lines.append('exec "$@"')
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "\n".join(lines), "sh", sys.executable, "-c", ZONE],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == name


def test_namespaces_are_those_of_the_thread(netns: Namespace) -> None:
    home = host.network_namespace()
    assert f"net:[{home}]" == output("readlink", "/proc/self/ns/net")
    with netns.entered():
        assert host.network_namespace() == netns.path.stat().st_ino != home
    assert host.network_namespace() == home
    assert f"pid:[{host.pid_namespace()}]" == output("readlink", "/proc/self/ns/pid")


CAPABILITIES = """
from sockrec.kernel import host
print(*host.capabilities())
print(host.privileges())
"""


def test_capabilities_are_the_effective_ones_by_name() -> None:
    prefix = ["setpriv", "--bounding-set=-all,+net_admin,+sys_ptrace,+checkpoint_restore"]
    done = subprocess.run(
        [*prefix, sys.executable, "-c", CAPABILITIES],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    names, told = done.stdout.splitlines()
    assert names.split() == ["cap_net_admin", "cap_sys_ptrace", "cap_checkpoint_restore"]
    assert eval(told) == host.privileges() | {"capabilities": names.split()}  # noqa: S307 - our own repr


def test_capabilities_agree_with_setpriv() -> None:
    """Root gets, at exec, all that the bounding set allows."""
    line = next(line for line in output("setpriv", "--dump").splitlines() if "bounding" in line)
    told = line.partition(": ")[2].split(",")
    assert host.capabilities() == tuple(f"cap_{name}" for name in told)


def test_privileges_say_what_decides_how_much_is_seen() -> None:
    told = host.privileges()
    assert told["uid"] == os.geteuid()
    assert told["network_namespace"] == host.network_namespace()
    assert told["initial_pid_namespace"] == (host.pid_namespace() == 4026531836)

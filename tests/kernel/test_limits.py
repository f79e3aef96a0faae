"""The kernel's settings: as sysctl(8) shows them, and each network namespace its own."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

from sockrec.kernel.limits import NAMES, Limits
from sockrec.kernel.net_table import Reading
from sockrec.model.network import Limit
from tests.support.netns import Namespace


def test_settings_are_those_that_sysctl_shows() -> None:
    reading = Limits().read()
    assert (reading.changed, reading.incomplete) == (True, ())
    done = subprocess.run(["sysctl", "-e", *NAMES], capture_output=True, text=True, check=False)
    shown = dict(line.split(" =", 1) for line in done.stdout.splitlines())
    assert {row.name: row.value for row in reading.rows} == {
        name: " ".join(value.split()) for name, value in shown.items()
    }
    assert {"net.ipv4.ip_local_port_range", "net.core.somaxconn", "fs.file-max"} <= set(shown)


def test_a_network_namespace_has_its_own(netns: Namespace) -> None:
    for setting in (
        "net.core.somaxconn=777",
        "net.ipv4.ip_local_port_range=20000 20999",
        "net.ipv4.ip_local_reserved_ports=20010,20020-20030",
        "net.ipv4.tcp_fin_timeout=17",
        "net.unix.max_dgram_qlen=33",
    ):
        netns.run("sysctl", "-qw", setting, check=True)
    limits = Limits()
    here = {row.name: row.value for row in limits.read().rows}
    with netns.entered():
        reading = limits.read()
    there = {row.name: row.value for row in reading.rows}
    assert reading.changed
    expected = {
        "net.core.somaxconn": "777",
        "net.ipv4.ip_local_port_range": "20000 20999",
        "net.ipv4.ip_local_reserved_ports": "20010,20020-20030",
        "net.ipv4.tcp_fin_timeout": "17",
        "net.unix.max_dgram_qlen": "33",
    }
    assert {name: there[name] for name in expected} == expected
    assert all(here[name] != value for name, value in expected.items())
    assert there["fs.file-max"] == here["fs.file-max"]
    # What only the first namespace may change, others may not even have: it is left out.
    assert set(there) <= set(here)


def test_it_is_the_reading_threads_namespace_that_counts(netns: Namespace) -> None:
    netns.run("sysctl", "-qw", "net.core.somaxconn=778", check=True)
    readings: list[Reading[Limit]] = []
    limits = Limits()
    with netns.entered():
        inside = limits.read()
        home = threading.Thread(target=lambda: readings.append(Limits().read()))
        home.start()
        home.join()
    # A thread that was started there belongs there.
    assert readings[0].rows == inside.rows
    assert Limit("net.core.somaxconn", "778") in inside.rows
    assert Limit("net.core.somaxconn", "778") not in limits.read().rows


def test_what_did_not_change_is_the_same_list_and_what_is_absent_is_left_out(tmp_path: Path) -> None:
    core = tmp_path / "net" / "core"
    core.mkdir(parents=True)
    (core / "somaxconn").write_text("4096\n")
    limits = Limits(tmp_path)
    first = limits.read()
    assert (first.rows, first.changed) == ([Limit("net.core.somaxconn", "4096")], True)
    again = limits.read()
    assert not again.changed
    assert again.rows is first.rows
    (core / "somaxconn").write_text("1\t2\t 3\n")
    (core / "rmem_max").mkdir()
    assert tuple(limits.read()) == (
        [Limit("net.core.somaxconn", "1 2 3")], True, ("net.core.rmem_max: Is a directory",), True,
    )  # fmt: skip

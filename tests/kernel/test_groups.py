"""Multicast groups as /proc tells them: against `ip maddress`, and odd texts."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from sockrec.kernel import groups, net_table
from sockrec.model.network import Group
from tests.support.netns import Namespace

HEADER = b"Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
DEVICE = b"2\teth0      :     2      V3\n"
GROUP = b"\t\t\t\t010000E0     3 0:00000000\t\t0\n"
GROUP6 = b"2    eth0            ff020000000000000000000000000001     4 0000000C 0\n"


def test_groups_are_those_that_ip_lists(netns: Namespace) -> None:
    for words in (
        "link add v0 type veth peer name a-fifteen-bytes",
        "link set v0 up",
        "link set a-fifteen-bytes up",
    ):
        subprocess.run(["ip", "-n", netns.name, *words.split()], check=True)
    table = groups.table()
    with netns.entered():
        index = socket.if_nametoindex("a-fifteen-bytes")
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for one in sockets:
            member = struct.pack("=4s4si", socket.inet_aton("239.1.2.3"), bytes(4), index)
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        inet6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        member = struct.pack("=16si", socket.inet_pton(socket.AF_INET6, "ff05::1:3"), index)
        inet6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        for _ in range(50):  # a link that came up joins groups of its own, a little later
            reading = table.read()
            listed = json.loads(netns.run("ip", "-j", "maddress", check=True).stdout)
            if table.read().rows is reading.rows:
                break
        for one in (*sockets, inet6):
            one.close()
        after = table.read()
    assert reading.incomplete == ()
    found = {(row.family, row.ifindex, row.interface, row.address, row.users) for row in reading.rows}
    assert found == {
        (one["family"], link["ifindex"], link["ifname"], one["address"], one.get("users", 1))
        for link in listed
        for one in link["maddr"]
        if one.get("family") in {"inet", "inet6"}
    }
    assert Group("inet", index, "a-fifteen-bytes", "239.1.2.3", 2) in reading.rows
    assert Group("inet6", index, "a-fifteen-bytes", "ff05::1:3", 1) in reading.rows
    assert after.changed
    assert not {"239.1.2.3", "ff05::1:3"} & {row.address for row in after.rows}


def test_every_field_has_its_place() -> None:
    assert groups.parse_ipv4(HEADER + DEVICE + GROUP) == ([Group("inet", 2, "eth0", "224.0.0.1", 3)], 0)
    assert groups.parse_ipv6(GROUP6) == ([Group("inet6", 2, "eth0", "ff02::1", 4)], 0)
    assert groups.parse_ipv4(HEADER + DEVICE.replace(b"eth0  ", b"e\xff\x1b") + GROUP).rows[0].interface == (
        "e\\xff\x1b"
    )


def test_a_line_of_an_unknown_form_is_counted_and_the_others_kept() -> None:
    text = (
        HEADER
        + GROUP
        + DEVICE
        + GROUP
        + GROUP.replace(b"010000E0", b"010000EX")
        + b"x\n"
        + GROUP
        + DEVICE
        + GROUP
    )
    parsed = groups.parse_ipv4(text)
    # A group of no interface, an address that is none, an interface that is none, and its group.
    assert (len(parsed.rows), parsed.odd) == (2, 4)
    parsed = groups.parse_ipv6(GROUP6 + GROUP6[4:] + b"\n" + GROUP6.replace(b"ff02", b"gg02") + GROUP6)
    assert (len(parsed.rows), parsed.odd) == (2, 3)


def test_a_timer_that_runs_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net_table, "FOLDER", tmp_path)
    (tmp_path / "igmp").write_bytes(HEADER + DEVICE + GROUP)
    table = groups.table()
    first = table.read()
    (tmp_path / "igmp").write_bytes(HEADER + DEVICE + GROUP.replace(b"0:00000000", b"1:00000FFF"))
    again = table.read()
    assert not again.changed
    assert again.rows is first.rows
    assert first.incomplete == ()

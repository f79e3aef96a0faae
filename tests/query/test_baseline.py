"""A baseline learned from captures, and what differs from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sockrec.catalog import open_catalog
from sockrec.errors import NothingMatchedError
from sockrec.model.baseline import ANY, Baseline, Connects, Listens
from sockrec.query.baseline import Difference, Span, differences, learn
from sockrec.query.baseline.seen import Facts
from tests.catalog.captures import Part, began, us

USERS = {"names": {"users": {"0": "root", "33": "www-data"}}}
ROOT = frozenset({"root"})


def part_of(root: Path, **facts: Any) -> Part:
    return Part(root, 0, 60, facts=USERS | facts)


def learned(root: Path, first: float | None = None, last: float | None = None) -> Baseline:
    bounds = (None if moment is None else us(began(moment)) for moment in (first, last))
    with open_catalog(root) as catalog:
        return learn(catalog, Span("web-1", *bounds))


def client(part: Part, id_: int, port: int, address: str = "10.0.7.9", **columns: Any) -> None:
    """A connection of `client` from an ephemeral port."""
    end = {
        "local_port": 50_000 + id_ % 1_000,
        "remote_address": address,
        "remote_port": port,
        "program": "client",
    }
    part.socket(id_, 0, 60, "found", "stopped", **({"state": "ESTABLISHED"} | end | columns))


def limit(part: Part, value: str) -> None:
    row = {"netns": part.netns, "name": "net.ipv4.ip_local_port_range", "value": value, "rank": 1.0}
    part.rows["limits"].append(row | part.span(0, 60, "found", "stopped"))


def test_a_service_is_learned_with_its_users_addresses_and_peers(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.socket(1, 0, 60, "found", "stopped", local_port=80, program="nginx: master process", pid=10)
    part.socket(2, 0, 60, "found", "stopped", local_port=80, program="/usr/sbin/nginx", uid=33)
    part.socket(3, 0, 20, "found", "closed", local_port=80, program="nginx", local_address="::ffff:10.0.0.6")
    for id_, address in ((11, "10.9.0.4"), (12, "10.9.0.77"), (13, "2001:db8:0:1::7"), (14, "127.0.0.3")):
        part.connection(id_, 0, 60, local_port=80, program="nginx: worker", remote_address=address)
    part.connection(15, 0, 60, local_port=80, program="helper", remote_address="10.8.0.1")
    part.connection(16, 0, 60, local_port=80, state="SYN_RECV", remote_address="10.66.6.6", program=None)
    part.closed(17, 5, 5.1, local_port=80, program="nginx", remote_address="10.7.0.1")
    part.closed(
        18, 5, 5.1, local_port=80, program=None, pid=None, remote_address="10.66.6.6", established_at=None
    )
    part.write()
    peers = {"10.7.0.0/24", "10.8.0.0/24", "10.9.0.0/24", "127.0.0.0/8", "2001:db8:0:1::/64"}
    assert learned(tmp_path) == Baseline(
        (
            Listens(
                *("tcp", 80, "nginx", frozenset({"root", "www-data"})),
                *(frozenset({"10.0.0.5", "10.0.0.6"}), frozenset(peers)),
            ),
        )
    )


def test_connections_are_learned_by_program_port_and_network(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    client(part, 11, 5432)
    client(part, 12, 5432, "10.0.7.200")
    client(part, 13, 5432, "10.0.8.1", state="SYN_SENT")
    client(part, 14, 53, "10.0.0.53", protocol="udp")
    client(part, 15, 5432, program=None, pid=None)
    client(part, 16, 50_051, "10.0.9.1")
    client(part, 17, 40_000, local_port=2222)  # to a listener that was gone before
    part.closed(19, 5, 5.1, local_port=51_000, role="client", program="curl", remote_port=443)
    part.write()
    assert learned(tmp_path).connects == (
        Connects("client", "tcp", 5432, frozenset({"10.0.7.0/24", "10.0.8.0/24"})),
        Connects("client", "tcp", 50_051, frozenset({"10.0.9.0/24"})),
        Connects("client", "udp", 53, frozenset({"10.0.0.0/24"})),
        Connects("curl", "tcp", 443, frozenset({"10.0.0.0/24"})),
    )


def test_both_ends_on_one_host_are_told_apart(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.socket(1, 0, 60, "found", "stopped")
    part.connection(11, 0, 60, remote_address="10.0.0.5", remote_port=50_011)
    client(part, 11_000_011, 7071, "10.0.0.5")
    part.write()
    found = learned(tmp_path)
    assert [(one.port, sorted(one.peers)) for one in found.listens] == [(7071, ["10.0.0.0/24"])]
    assert [(one.program, one.port) for one in found.connects] == [("client", 7071)]


def test_ephemeral_ports_are_folded(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    limit(part, "20000\t30000")
    for id_ in range(3):
        part.socket(
            *(1 + id_, 0, 60, "found", "stopped"), protocol="udp", state="UNCONN", local_port=20_000 + id_
        )
    part.socket(7, 0, 60, "found", "stopped", protocol="udp", state="UNCONN", local_port=40_000)
    for id_ in range(9):
        client(part, 100 + id_, 21_000 + id_, local_port=22_000 + id_, program="ftp", state="SYN_SENT")
    part.write()
    found = learned(tmp_path)
    assert [(one.protocol, one.port, one.peers) for one in found.listens] == [
        ("udp", 40_000, frozenset({ANY})),
        ("udp", None, frozenset({ANY})),
    ]
    assert found.connects == (Connects("ftp", "tcp", None, frozenset({"10.0.7.0/24"})),)


def test_many_networks_become_wider_ones(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.socket(1, 0, 60, "found", "stopped")
    part.socket(2, 0, 60, "found", "stopped", local_port=80)
    part.socket(3, 0, 60, "found", "stopped", local_port=81)
    for number in range(9):
        part.connection(100 + number, 0, 60, remote_address=f"10.1.{number}.9")
        part.connection(200 + number, 0, 60, local_port=80, remote_address=f"10.{number}.0.9")
        if number < 8:
            part.connection(300 + number, 0, 60, local_port=81, remote_address=f"10.1.{number}.9")
    part.write()
    wide, any_, narrow = (
        one.peers for one in sorted(learned(tmp_path).listens, key=lambda one: -(one.port or 0))
    )
    assert wide == {"10.1.0.0/16"}
    assert any_ == {f"10.1.{number}.0/24" for number in range(8)}
    assert narrow == {ANY}


def test_only_the_time_and_host_asked_for(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 20, 60, "opened", "stopped", local_port=7072)
    part.write()
    other = Part(tmp_path, 0, 60, recording="20261120T103200-bbbb", host="web-2")
    other.socket(1, 0, 60, "found", "stopped", local_port=9999)
    other.write()
    assert [one.port for one in learned(tmp_path).listens] == [7071, 7072]
    assert [one.port for one in learned(tmp_path, last=12).listens] == [7071]
    assert [one.port for one in learned(tmp_path, first=12).listens] == [7072]
    assert learned(tmp_path, 12, 15) == Baseline()
    with pytest.raises(NothingMatchedError):
        learned(tmp_path, 100, 200)


def test_what_is_learned_later_is_added(tmp_path: Path) -> None:
    one = Baseline((Listens("tcp", 80, "nginx", ROOT, frozenset({"::"}), frozenset({"10.0.0.0/24"})),))
    other = Baseline(
        (
            Listens("tcp", 22, "sshd", ROOT),
            Listens("tcp", 80, "nginx", frozenset({"www"}), frozenset({ANY}), frozenset({"10.0.0.0/16"})),
        ),
        (Connects("curl", "tcp", 443),),
    )
    both = one.added(other)
    assert both == other.added(one) == both.added(one)
    assert both.listens[1] == Listens(
        *("tcp", 80, "nginx", frozenset({"root", "www"})), frozenset({ANY}), frozenset({"10.0.0.0/16"})
    )


NGINX = Listens("tcp", 80, "nginx", ROOT, frozenset({"10.0.0.5"}), frozenset({"10.0.0.0/24"}))
RPC = Listens("tcp", 40_001, "rpc", ROOT, frozenset({"::"}), frozenset())


def told(usual: Any, now: Any) -> list[tuple[str, tuple[str, ...], str]]:
    sides = [
        Baseline(tuple(one)) if one and isinstance(one[0], Listens) else Baseline((), tuple(one))
        for one in (usual, now)
    ]
    found: list[Difference] = differences(sides[0], sides[1], Facts(), "web-1")
    return [(one.what, one.changed, one.detail) for one in found]


def nginx(**changed: Any) -> Listens:
    from dataclasses import replace

    return replace(NGINX, **changed)


@pytest.mark.parametrize(
    ("usual", "now", "expected"),
    [
        ([NGINX], [NGINX], []),
        ([], [NGINX], [("new", (), "on 10.0.0.5 by user root")]),
        ([NGINX], [], [("gone", (), "")]),
        ([NGINX], [nginx(peers=frozenset())], []),
        (
            [NGINX],
            [nginx(peers=frozenset({"10.0.1.0/24"}))],
            [("changed", ("peers",), "peers in 10.0.1.0/24")],
        ),
        ([nginx(peers=frozenset({"10.0.0.0/16"}))], [nginx(peers=frozenset({"10.0.1.0/24"}))], []),
        ([nginx(peers=frozenset({ANY}))], [nginx(peers=frozenset({"10.0.1.0/24"}))], []),
        ([NGINX], [nginx(peers=frozenset({ANY}))], [("changed", ("peers",), "peers in any")]),
        ([NGINX], [nginx(users=frozenset({"www"}))], [("changed", ("user",), "user root -> www")]),
        ([nginx(users=frozenset({"root", "www"}))], [NGINX], []),
        (
            [NGINX],
            [nginx(addresses=frozenset({"0.0.0.0"}))],
            [("changed", ("address",), "address 10.0.0.5 -> 0.0.0.0")],
        ),
        ([NGINX], [nginx(program="apache2")], [("changed", ("program",), "program nginx -> apache2")]),
        (
            [NGINX],
            [NGINX, nginx(program="apache2")],
            [("new", (), "on 10.0.0.5 by user root")],
        ),
        ([NGINX], [nginx(program=None)], []),
        ([nginx(program=None)], [NGINX, nginx(program="apache2")], []),
        ([NGINX], [nginx(port=81)], [("new", (), "on 10.0.0.5 by user root"), ("gone", (), "")]),
        ([RPC], [Listens("tcp", 40_002, "rpc", ROOT, frozenset({"::"}), frozenset())], []),
        (
            [RPC],
            [Listens("tcp", 40_002, "nc", ROOT, frozenset({"::"}), frozenset())],
            [("new", (), "on :: by user root"), ("gone", (), "")],
        ),
        ([Connects("curl", "tcp", 443)], [], []),
        ([Connects("curl", "tcp", 443)], [Connects("curl", "tcp", 443, frozenset({"10.0.0.0/24"}))], []),
        (
            [Connects("curl", "tcp", 443, frozenset({"10.0.0.0/24"}))],
            [Connects("curl", "tcp", 443, frozenset({"10.0.0.0/24", "10.9.0.0/24"}))],
            [("changed", ("peers",), "to 10.9.0.0/24 too")],
        ),
        (
            [Connects("curl", "tcp", 443)],
            [Connects("curl", "tcp", 80, frozenset({"10.0.0.0/24"}))],
            [("new", (), "to 10.0.0.0/24")],
        ),
        ([Connects("ftp", "tcp", None)], [Connects("ftp", "tcp", 40_000, frozenset())], []),
        (
            [Connects("ftp", "tcp", None)],
            [Connects("ftp", "tcp", 400, frozenset())],
            [("new", (), "to nobody")],
        ),
    ],
)
def test_what_differs_is_told_once_and_less_is_no_difference(usual: Any, now: Any, expected: Any) -> None:
    assert told(usual, now) == expected


def test_the_same_service_restarted_is_no_difference(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.socket(1, 0, 9, "found", "closed")
    part.socket(2, 15, 60, "opened", "stopped", pid=4377)
    part.write()
    before, after = learned(tmp_path, last=9), learned(tmp_path, first=15)
    assert before == after
    assert differences(before, after, Facts(), "web-1") == []

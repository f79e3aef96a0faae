"""Connections that no sample sees: every one has its row, with the bytes that both sides counted."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.events.recorded import (
    FULL,
    MILLISECOND,
    Recorder,
    assert_nothing_lost,
    assert_same,
    moment,
    one,
    recorded,
    rows,
)
from tests.support.loads import veth, web
from tests.support.loads.run import Counted, Load
from tests.support.netns import Namespace

pytestmark = pytest.mark.moments

# Three loads of this over loopback and one over veth: 200,000 and more.
COUNT = 60_000 if FULL else 10_000
BOTH = ("client", "server")


def inode(namespace: Namespace) -> int:
    return Path(namespace.path).stat().st_ino


def side(role: str) -> str:
    return "remote_port" if role == "client" else "local_port"


def check(capture: Path, namespace: Namespace, counted: Counted, roles: tuple[str, ...] = BOTH) -> None:
    """Compare everything a capture says of a load with what the load counted."""
    for role in roles:
        mine = counted.client if role == "client" else counted.server
        where = f"role = '{role}' AND {side(role)} = {counted.port}"
        found = rows(
            capture,
            "SELECT local_address, local_port, remote_address, remote_port, bytes_sent, bytes_received, how "
            f"FROM connections WHERE {where}",
        )
        assert_same((tuple(row.values()) for row in found), counted.ends(role))
        facts = one(
            capture,
            "SELECT count(DISTINCT socket_id) AS ids,"
            " sum(bytes_sent)::BIGINT AS sent, sum(bytes_received)::BIGINT AS received,"
            " bool_and(established) AS established, list(DISTINCT netns) AS netns,"
            " list(DISTINCT pid) AS pids, list(DISTINCT program) AS programs,"
            " list(DISTINCT opened_as) AS opened_as, list(DISTINCT closed_as) AS closed_as,"
            " bool_and(opened_not_before = opened_not_after) AS begin_exact,"
            " bool_and(closed_not_before = closed_not_after) AS end_exact,"
            " bool_and(opened_not_after <= closed_not_before) AS in_order,"
            " min(opened_not_before) AS first, max(closed_not_after) AS last"
            f" FROM connections WHERE {where}",
        )
        first, last = moment(facts.pop("first")), moment(facts.pop("last"))
        assert facts == {
            "ids": mine.connections,
            "sent": mine.bytes_sent,
            "received": mine.bytes_received,
            "established": True,
            "netns": [inode(namespace)],
            "pids": [mine.pid],
            "programs": [f"load{role}"],
            "opened_as": ["opened"],
            "closed_as": ["closed"],
            "begin_exact": True,
            "end_exact": True,
            "in_order": True,
        }
        assert first is not None
        assert last is not None
        assert counted.client.began - MILLISECOND <= first
        assert last <= max(counted.client.ended, counted.server.ended) + 20 * MILLISECOND
        owners = rows(
            capture,
            "SELECT owner_evidence, pid, program, count(*) AS n FROM events WHERE kind = 'closed' "
            f"AND NOT sampled AND {where} GROUP BY ALL",
        )
        evidence = "event" if role == "client" else "inferred"
        assert [(row["owner_evidence"], row["pid"]) for row in owners] == [(evidence, mine.pid)]
        assert owners[0]["n"] > mine.connections * 0.5, "no sample saw most of them: this is what is tested"


def test_over_loopback_at_several_rates_beside_a_twin(netns: Namespace, tmp_path: Path) -> None:
    """A sibling namespace does the same at the same time, with the same addresses and ports."""
    capture = tmp_path / "cap"
    with Namespace() as twin, ExitStack() as stack:
        for namespace in (netns, twin):
            namespace.run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=1000000", check=True)

        def load(where: Namespace, port: int, rate: int, closer: str) -> Load:
            made = Load(tmp_path, where, port=port, count=COUNT, rate=rate, closer=closer)
            return stack.enter_context(made)

        slow = load(netns, 9000, 2000, "client")
        with recorded(netns, capture) as recorder:
            counted = [slow.run()]
            ours, theirs = (load(where, 9001, 5000, "server") for where in (netns, twin))
            ours.start()
            theirs.start()
            counted.append(ours.finish())
            theirs.finish()
            counted.append(load(netns, 9002, 10_000, "alternate").run())
            recorder.stop()
    for each in counted:
        check(capture, netns, each)
    total = one(capture, "SELECT count(*) AS n, list(DISTINCT netns) AS netns FROM connections")
    assert total == {"n": 2 * 3 * COUNT, "netns": [inode(netns)]}
    assert_nothing_lost(capture)


def test_between_two_namespaces_each_has_its_own_side(tmp_path: Path) -> None:
    with veth.joined() as (near, far):
        captures = {"server": (near, tmp_path / "near"), "client": (far, tmp_path / "far")}
        load = Load(tmp_path, near, far, port=9000, count=COUNT, rate=5000, network=veth.NETWORK)
        with load, recorded(near, tmp_path / "near"), recorded(far, tmp_path / "far"):
            counted = load.run()
        for role, (namespace, capture) in captures.items():
            check(capture, namespace, counted, (role,))
            assert one(capture, "SELECT count(*) AS n FROM connections")["n"] == COUNT
            assert_nothing_lost(capture)


def test_no_room_for_time_wait_changes_nothing(netns: Namespace, tmp_path: Path) -> None:
    """The end that would wait is destroyed at once, and its peer's last segments are answered by a reset."""
    capture = tmp_path / "cap"
    netns.run("sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=10", check=True)
    with Load(tmp_path, netns, port=9000, count=3000, rate=5000) as load, recorded(netns, capture):
        counted = load.run()
    for role in BOTH:
        found = rows(
            capture,
            "SELECT local_address, local_port, remote_address, remote_port, bytes_sent, bytes_received "
            f"FROM connections WHERE role = '{role}' AND {side(role)} = 9000",
        )
        assert_same((tuple(row.values()) for row in found), (end[:6] for end in counted.ends(role)))


def test_a_real_nginx_under_wrk(netns: Namespace, tmp_path: Path) -> None:
    """Each request is a connection. The same addresses come again; wrk ends with some cut off."""
    capture = tmp_path / "cap"
    at_once = 32
    cut = at_once + 1  # and one that wrk makes at first, to see whether somebody is there
    with recorded(netns, capture) as recorder, web.Nginx(tmp_path, netns) as nginx:
        pids = {nginx.pid, nginx.worker}
        summary = web.wrk(tmp_path, netns, 40 if FULL else 3, at_once, delay_ms=3)
        accepted = nginx.accepted() - 1  # one was our question
        requests = nginx.stop()
        _settle(recorder)
    assert summary.socket_errors == 0
    assert accepted - cut <= summary.requests <= accepted
    assert accepted - cut <= len(requests) <= accepted
    assert len(requests) > 4000 * (10 if FULL else 1)
    for role in BOTH:
        where = f"role = '{role}' AND {side(role)} = {web.PORT}"
        found = [
            tuple(row.values())
            for row in rows(
                capture,
                "SELECT local_address, local_port, remote_address, remote_port, bytes_sent, bytes_received "
                f"FROM connections WHERE {where}",
            )
        ]
        assert len(found) == accepted
        missing = Counter(_ends(requests, role)) - Counter(found)
        assert missing.total() <= at_once, f"{missing.total()} missing, such as {list(missing)[:3]}"
        owners = rows(capture, f"SELECT DISTINCT pid, program FROM connections WHERE {where}")
        if role == "client":
            assert owners == [{"pid": summary.pid, "program": "wrk"}], "the process, not one of its threads"
        else:
            assert {row["pid"] for row in owners} <= pids
            assert all(row["program"].startswith("nginx") for row in owners)
    how = {row["how"] for row in rows(capture, "SELECT DISTINCT how FROM connections")}
    assert how <= {"closed by us", "closed by the peer", "reset by us", "reset by the peer"}
    assert_nothing_lost(capture)


def _ends(requests: list[web.Request], role: str) -> list[tuple[str, int, str, int, int, int]]:
    if role == "client":
        return [
            (r.client_address, r.client_port, r.server_address, web.PORT, r.bytes_received, r.bytes_sent)
            for r in requests
        ]
    return [
        (r.server_address, web.PORT, r.client_address, r.client_port, r.bytes_sent, r.bytes_received)
        for r in requests
    ]


def _settle(recorder: Recorder) -> None:
    """Let the last connections, which wrk cut off, end on nginx's side too."""
    recorder.more_samples(1)

"""What differs between two sets of services: each is told once, and what did not change is not told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sockrec.catalog import open_catalog
from sockrec.model import timetext
from sockrec.query.diff import COLUMNS, Service, differences, services
from tests.catalog.captures import Part, began


def listener(port: int, program: str = "myapp", address: str = "10.0.0.5", pid: int = 1) -> Service:
    ids = frozenset({pid * 100_000 + port})
    holders = frozenset({(pid, program)})
    return Service("listener", "tcp", address, port, program, ids, holders, frozenset({0}), 128)


def outbound(count: int, program: str = "myapp", first: int = 0) -> Service:
    return Service("outbound", "tcp", "10.0.0.9", 5432, program, frozenset(range(first, first + count)))


def told(before: list[Service], after: list[Service]) -> list[tuple[str, int | None, str]]:
    return [(one.what, one.service.port, "; ".join(one.details)) for one in differences(before, after)]


def test_what_comes_and_goes() -> None:
    assert told([listener(80), listener(81)], [listener(81), listener(82)]) == [
        ("moved", 82, "was on 10.0.0.5:80")
    ], "one gone and one come of the same program on the same address: it moved"
    assert told([listener(80)], [listener(82, "other")]) == [("closed", 80, ""), ("opened", 82, "")]
    assert told([listener(80), listener(81)], [listener(82), listener(83)]) == [
        ("closed", 80, ""),
        ("closed", 81, ""),
        ("opened", 82, ""),
        ("opened", 83, ""),
    ], "two of each: which moved where nobody knows"


def test_a_listener_that_changed() -> None:
    one = listener(80)
    assert told([one], [one]) == []
    assert told([one], [listener(80, pid=2)]) == [("changed", 80, "restarted: pid 1 -> 2")]
    assert told([one], [listener(80, "other", pid=2)]) == [("changed", 80, "program myapp -> other")]
    assert told([one], [listener(80, address="0.0.0.0")]) == [("moved", 80, "was on 10.0.0.5:80")]
    assert told([one], [replace(one, uids=frozenset({33}), backlog=511)]) == [
        ("changed", 80, "user 0 -> 33; backlog 128 -> 511")
    ]
    more = replace(one, ids=one.ids | {7}, holders=one.holders | {(9, "myapp")})
    assert told([one], [more]) == [("changed", 80, "sockets 1 -> 2")], "one process goes on"


def test_connections_are_counted_and_their_likeness_is_not_a_difference() -> None:
    assert told([outbound(3)], [outbound(3, first=100)]) == []
    assert told([outbound(3)], [outbound(5, first=1)]) == [("changed", 5432, "2 of them the same")]
    assert told([], [outbound(5)]) == [("opened", 5432, "")]


_services = st.lists(
    st.builds(
        lambda kind, port, program, address, pid: replace(listener(port, program, address, pid), kind=kind),
        st.sampled_from(["listener", "outbound"]),
        st.integers(1, 4),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["10.0.0.5", "::"]),
        st.integers(1, 2),
    ),
    max_size=12,
    unique_by=lambda one: (one.kind, one.address, one.port, one.program),
)


@given(_services, _services)
def test_each_service_is_told_once_or_is_the_same(before: list[Service], after: list[Service]) -> None:
    found = differences(before, after)
    for side, all_ in (("before", before), ("after", after)):
        named = Counter(one for each in found if (one := getattr(each, side)) is not None)
        assert not named - Counter(all_)
    untold_before = Counter(before) - Counter(each.before for each in found if each.before)
    untold_after = Counter(after) - Counter(each.after for each in found if each.after)
    places = [Counter(map(_told_by, side.elements())) for side in (untold_before, untold_after)]
    assert places[0] == places[1], "what is not told is the same on both sides"
    assert differences(before, before) == []
    opposite = {"opened": "closed", "closed": "opened"}
    back = Counter((opposite.get(each.what, each.what), each.after, each.before) for each in found)
    assert back == Counter((each.what, each.before, each.after) for each in differences(after, before))


def _told_by(one: Service) -> tuple[object, ...]:
    holders = one.holders if one.kind == "listener" else len(one.ids)
    return one.kind, one.address, one.port, one.program, holders


def test_services_of_a_sample(tmp_path: Path) -> None:
    """Remnants are left out, ephemeral ports folded, titles of a program's workers too."""
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 5, "found", "stopped", program="nginx: master process", pid=10)
    part.connection(11, 0, 5, "found", "stopped", remote_port=40_000, program="nginx: worker", pid=11)
    part.connection(12, 0, 5, "found", "stopped", remote_port=40_001, program="nginx: other", pid=12)
    part.connection(13, 0, 5, "found", "stopped", remote_port=40_002, state="TIME_WAIT", inode=0)
    for number in (14, 15):
        part.connection(
            *(number, 0, 5, "found", "stopped"),
            local_port=50_000 + number,
            remote_address="10.0.0.9",
            remote_port=5432,
        )
    part.write()
    with open_catalog(tmp_path) as catalog:
        found = services(catalog, "web-1", timetext.from_datetime(began(3)))
    assert sorted(
        (one.kind, one.address, one.port, one.program, len(one.ids)) for one in found if one.address
    ) == [
        ("listener", "10.0.0.5", 7071, "nginx", 1),
        ("outbound", "10.0.0.9", 5432, "myapp", 2),
    ]
    (inbound,) = (one for one in found if one.address is None)
    assert (inbound.kind, inbound.port, inbound.program, inbound.pids) == (
        "inbound",
        7071,
        "nginx",
        frozenset({11, 12}),
    )
    assert len(differences([], found)[0].row()) == len(COLUMNS)

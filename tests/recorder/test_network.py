"""What the ledger of the network writes, read back: at every moment exactly what the last reading found."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sockrec.kernel.counters import Key
from sockrec.kernel.counters import Reading as Counters
from sockrec.kernel.network import NetworkReading
from sockrec.model.network import Group, LinkCounters, Route
from sockrec.recorder.network import NetworkLedger

ANCHOR = 1_000_000_000
CONSTANT = {"recording": "r", "netns": 1}


def route(destination: str, *, metric: int = 0, refs: int = 0) -> Route:
    return Route("inet", destination, 24, None, 0, "0.0.0.0", "eth0", 1, metric, refs, 0, 0, 0, 0)


class Written:
    """Rows as readers have them: each begun row, with its end once there is one."""

    def __init__(self, ledger: NetworkLedger) -> None:
        self._ledger = ledger
        self.rows: list[dict[str, Any]] = []
        self._part = 0

    def take(self, table: str, *, new_part: bool = False) -> None:
        if new_part:
            self._part = len(self.rows)
        made = self._ledger.take(CONSTANT)
        for row in made[f"{table}.begun"].to_pylist() if f"{table}.begun" in made else ():
            self.rows.append(row | {"ended_by": None})
        for end in made[f"{table}.ended"].to_pylist() if f"{table}.ended" in made else ():
            self.rows[self._part + end.pop("row")].update(end)

    def at(self, moment: Any) -> list[dict[str, Any]]:
        held = [
            row
            for row in self.rows
            if row["first_seen"] <= moment and (row["ended_by"] is None or row["ended_by"] > moment)
        ]
        return sorted(held, key=lambda row: float(row["rank"]))


def time_of(us: int) -> Any:
    return np.datetime64(us, "us").astype("datetime64[us]").item().replace(tzinfo=None)


ROUTES = st.lists(
    st.builds(
        route, st.sampled_from(["10.0.0.0", "10.0.1.0", "10.0.2.0"]), metric=st.integers(0, 1),
        refs=st.integers(0, 2),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ROUTES, st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_every_reading_can_be_read_back(steps: list[tuple[list[Route], bool, bool]]) -> None:
    """Routes come, go, change and swap places; some are there twice; parts begin in between."""
    ledger = NetworkLedger(ANCHOR)
    written = Written(ledger)
    read = []
    for number, (routes, announced, carried) in enumerate(steps):
        began, ended = 100 * number + 10, 100 * number + 20
        tables = frozenset({"routes"} if announced else ())
        ledger.observe(NetworkReading(began, ended, routes=routes, announced=tables))
        written.take("routes")
        read.append((ANCHOR + ended, routes))
        if carried:
            # At the sample before which it was read, as a part begins.
            ledger.carry(ANCHOR + ended + 5)
            for row in written.rows:
                if row["ended_by"] is None:
                    row["ended_by"] = time_of(ANCHOR + ended + 5)
            written.take("routes", new_part=True)
    for row in written.rows:
        row["first_seen"] = row["first_seen"].replace(tzinfo=None)
        if row["ended_by"] is not None:
            row["ended_by"] = row["ended_by"].replace(tzinfo=None)
    for (moment, routes), (following, _) in zip(read, [*read[1:], (read[-1][0] + 100, [])], strict=True):
        for at in (moment, moment + 7, following - 1):
            found = [tuple(row[name] for name in Route._fields) for row in written.at(time_of(at))]
            assert found == [tuple(one) for one in routes]


def test_an_announced_change_is_known_to_the_drain_before_it() -> None:
    ledger = NetworkLedger(ANCHOR)
    ledger.observe(NetworkReading(10, 20, routes=[route("10.0.0.0")]))
    ledger.take(CONSTANT)
    ledger.still(["routes"], 900)
    ledger.observe(NetworkReading(1000, 1010, routes=[route("10.0.1.0")], announced=frozenset({"routes"})))
    made = ledger.take(CONSTANT)
    (begun,), (ended,) = made["routes.begun"].to_pylist(), made["routes.ended"].to_pylist()
    us = [
        int(made[table].column(name)[0].cast("int64").as_py()) - ANCHOR
        for table, name in (
            ("routes.begun", "begun_after"), ("routes.begun", "first_seen"),
            ("routes.ended", "last_seen"), ("routes.ended", "ended_by"),
        )
    ]  # fmt: skip
    assert us == [900, 1010, 900, 1010]
    assert (begun["begun_as"], begun["begun_evidence"]) == ("opened", "event")
    assert (ended["ended_as"], ended["ended_evidence"]) == ("closed", "event")


def test_what_is_there_first_is_found_and_what_was_not_read_stays() -> None:
    ledger = NetworkLedger(ANCHOR)
    group = Group("inet", 1, "lo", "224.0.0.1", 1)
    ledger.observe(NetworkReading(10, 20, routes=[route("10.0.0.0")], groups=[group]))
    made = ledger.take(CONSTANT)
    assert made["routes.begun"].to_pylist()[0]["begun_as"] == "found"
    assert made["groups.begun"].to_pylist()[0]["begun_after"] is None
    ledger.observe(NetworkReading(30, 40, routes=None, groups=[]))
    made = ledger.take(CONSTANT)
    assert set(made) == {"groups.ended"}


def counters(*values: int) -> Counters:
    keys = tuple(Key("snmp", "Tcp", name, place) for place, name in enumerate(("InSegs", "OutSegs")))
    return Counters(keys, np.array(values, np.int64))


def test_counters_have_rows_when_they_moved_and_say_since_when() -> None:
    ledger = NetworkLedger(ANCHOR)
    links = LinkCounters(2, "eth0", *range(24))
    ledger.observe(NetworkReading(10, 20, counters=counters(5, 7), link_counters=[links]))
    made = ledger.take(CONSTANT)
    assert [row["read_before"] for row in made["counters"].to_pylist()] == [None, None]
    assert made["link_counters"].to_pylist()[0]["rx_nohandler"] == 23
    ledger.observe(NetworkReading(30, 40, counters=counters(5, 8), link_counters=[links]))
    made = ledger.take(CONSTANT)
    assert set(made) == {"counters"}
    (row,) = made["counters"].to_pylist()
    assert (row["name"], row["value"]) == ("OutSegs", 8)
    assert made["counters"].column("read_before").cast("int64").to_pylist() == [ANCHOR + 20]
    assert made["counters"].column("read_at").cast("int64").to_pylist() == [ANCHOR + 40]
    ledger.carry(ANCHOR + 50)
    again = ledger.take(CONSTANT)["counters"].to_pylist()
    assert [(row["name"], row["value"], row["read_before"]) for row in again] == [
        ("InSegs", 5, None),
        ("OutSegs", 8, None),
    ]


def test_a_name_that_is_no_utf_8_is_kept_as_escapes() -> None:
    ledger = NetworkLedger(ANCHOR)
    ledger.observe(NetworkReading(10, 20, link_counters=[LinkCounters(2, "e\udcff", *range(24))]))
    assert ledger.take(CONSTANT)["link_counters"].to_pylist()[0]["name"] == "e\\xff"

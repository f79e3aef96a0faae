"""Steps of connections from samples and events, and the ways of all of a port."""

from __future__ import annotations

from pathlib import Path

from sockrec.catalog import open_catalog
from sockrec.query.lifecycle import STEP_COLUMNS, TRANSITION_COLUMNS, of_port, of_socket
from tests.catalog.captures import Part, began, ended


def test_states_that_samples_found_in_the_order_of_a_life(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.connection(11, 2, 4, "opened", "changed", state="SYN_RECV")
    part.connection(11, 5, 9, "changed", "carried")
    part.connection(11, 10, 14, "carried", "changed", pid=5000)
    part.connection(11, 15, 19, "changed", "changed", state="CLOSE_WAIT")
    part.connection(11, 20, 21, "changed", "closed", state="LAST_ACK")
    part.connection(12, 0, 30, "found", "stopped")
    part.connection(13, 3, 5, "opened", "changed")
    part.connection(13, 6, 9, "changed", "closed", state="TIME_WAIT", inode=0)
    part.write()
    names = "state, not_before, not_after, how"
    with open_catalog(tmp_path) as catalog:
        answer = of_socket(catalog, 11)
        assert answer.columns == list(STEP_COLUMNS)
        assert answer.project(names).fetchall() == [
            ("SYN_RECV", began(1), ended(2), None),
            ("ESTABLISHED", began(4), ended(5), None),
            ("CLOSE_WAIT", began(14), ended(15), None),
            ("LAST_ACK", began(19), ended(20), None),
            ("CLOSED", began(21), ended(22), None),
        ]
        assert of_socket(catalog, 12).project(names).fetchall() == [("ESTABLISHED", None, ended(0), None)]
        assert of_socket(catalog, 13).project(names).fetchall() == [
            ("ESTABLISHED", began(2), ended(3), None),
            ("CLOSED", began(5), ended(6), None),
        ]
        assert of_socket(catalog, 99).fetchall() == of_socket(catalog, 11, "nobody").fetchall() == []

        ways = of_port(catalog, 7071)
        assert ways.columns == list(TRANSITION_COLUMNS)
        rows = ways.project("role, state, next_state, connections, median_us").fetchall()
        assert [row for row in rows if row[0] == "server"] == [
            ("server", "SYN_RECV", "ESTABLISHED", 1, 3_000_000),
            ("server", "ESTABLISHED", "CLOSE_WAIT", 1, 10_000_000),
            ("server", "CLOSE_WAIT", "LAST_ACK", 1, 5_000_000),
            ("server", "LAST_ACK", "CLOSED", 1, 2_000_000),
        ]
        # Nobody listened: what began while it was recorded was connected, the other can be either end.
        assert [row for row in rows if row[0] != "server"] == [
            ("client", "ESTABLISHED", "CLOSED", 1, 3_000_000),
            (None, "ESTABLISHED", None, 1, None),
        ]
        assert of_port(catalog, 7072).fetchall() == []

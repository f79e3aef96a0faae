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


def test_a_state_that_no_sample_saw_is_told_where_an_event_tells_when_it_began(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 30)
    part.connection(11, 2, 4, "opened", "changed")
    part.exactly(2.5, 4.25)
    part.connection(11, 6, 9, "changed", "closed", state="FIN_WAIT2")
    part.exactly(5.5, 9.5)
    part.closed(11, 2.499, 9.75, sampled=True, established_at=began(2.5), role="client")
    part.connection(12, 2, 4, "opened", "changed")
    part.exactly(2.5, 4.25)
    part.connection(12, 5, 9, "changed", "closed", state="CLOSE_WAIT")  # begun between the samples 4 and 5
    part.connection(13, 2, 4, "opened", "closed")
    part.exactly(2.5, 4.25)
    part.closed(13, 2.499, 4.25, sampled=True, established_at=began(2.5), role="client")
    part.connection(14, 2, 4, "opened", "changed")
    part.exactly(2.5, 4.25)
    part.connection(14, 5, 9, "changed", "closed", state="TIME_WAIT", inode=0)
    part.exactly(4.75, 9.5)
    part.closed(14, 2.499, 4.75, sampled=True, established_at=began(2.5), role="client")
    part.connection(15, 0, 4, "found", state="CLOSE_WAIT")
    part.exactly(ended=4.25)
    part.closed(15, None, 4.75, sampled=True)
    part.connection(16, 0, 4, "found", "changed")
    part.exactly(ended=4.25)
    part.connection(16, 5, 6, "changed", state="LAST_ACK")
    part.exactly(4.75)
    part.write()
    with open_catalog(tmp_path) as catalog:

        def steps(id_: int) -> list[tuple[object, ...]]:
            return of_socket(catalog, id_).project("state, not_before, not_after, evidence").fetchall()

        handshake = [
            ("SYN_SENT", began(2.499), began(2.499), "event"),
            ("ESTABLISHED", began(2.5), began(2.5), "event"),
        ]
        assert steps(11) == [
            *handshake,
            ("FIN_WAIT1", began(4.25), began(4.25), "event"),
            ("FIN_WAIT2", began(5.5), began(5.5), "event"),
            (None, began(9.5), began(9.5), "event"),
            ("CLOSED", began(9.75), began(9.75), "event"),
        ]
        assert [state for state, *_ in steps(12)] == ["ESTABLISHED", "CLOSE_WAIT", "CLOSED"]
        assert [state for state, *_ in steps(15)] == ["CLOSE_WAIT", "LAST_ACK", "CLOSED"]
        assert [state for state, *_ in steps(16)] == ["ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED"]
        assert steps(13) == [*handshake, ("CLOSED", began(4.25), began(4.25), "event")]
        assert steps(14) == [
            *handshake,
            (None, began(4.25), began(4.25), "event"),
            ("CLOSED", began(4.75), began(4.75), "event"),
        ]
        ways = of_port(catalog, 7071).project("state, next_state, connections, longest_us").fetchall()
        assert ("ESTABLISHED", "FIN_WAIT1", 1, 1_750_000) in ways
        assert ("FIN_WAIT1", "FIN_WAIT2", 1, 1_250_000) in ways
        assert ("FIN_WAIT2", "CLOSED", 1, 4_000_000) in ways
        assert ("ESTABLISHED", "CLOSED", 2, 1_750_000) in ways
        assert None not in {state for state, *_ in ways}

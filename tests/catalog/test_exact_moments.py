"""One moment, and the changes between two, where events tell when states began and ended."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockrec.catalog import Catalog, open_catalog
from sockrec.replay.moment import Moments
from tests.catalog.captures import SAMPLE_TAKES, START, Part, began, ended, us
from tests.faults.scale import cases

# A sample takes 0.01 s here: `k + IN` is within sample k, `k + END` when it ends.
IN, END = 0.004, 0.01


def _states(root: Path, sample: int) -> list[tuple[int, str]]:
    """Return the sockets of a sample with their states, the same by both ways that there are."""
    with open_catalog(root) as catalog:
        found: list[tuple[int, str]] = catalog.rows(
            f"SELECT socket_id, state FROM sockets_at('{began(sample).isoformat()}') ORDER BY ALL"
        )
        moments = Moments(catalog)
        replayed = moments.rows(moments.at(us(began(sample))))
    assert Counter(state for _, state in found) == Counter(row.state for row in replayed)
    return found


def _changes(catalog: Catalog, first: float, last: float, shown: str) -> list[tuple[Any, ...]]:
    return catalog.rows(
        f"SELECT {shown} FROM changes_between('{began(first).isoformat()}', '{began(last).isoformat()}') "
        "ORDER BY not_after, what DESC, socket_id"
    )


def test_the_picture_is_that_of_the_end_of_the_sample(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    for id_, moment in ((1, 3 - IN), (2, 3 + IN), (3, 3 + END), (4, 3 + END + 0.001)):
        part.connection(id_, 1, 2, "found", "changed")
        part.exactly(ended=moment)
        part.connection(id_, 4, 5, "changed", "stopped", state="CLOSE_WAIT")
        part.exactly(begun=moment)
    part.write()
    assert [state for _, state in _states(tmp_path, 2)] == ["ESTABLISHED"] * 4
    assert _states(tmp_path, 3) == [
        (1, "CLOSE_WAIT"),
        (2, "CLOSE_WAIT"),
        (3, "CLOSE_WAIT"),
        (4, "ESTABLISHED"),
    ]
    assert [state for _, state in _states(tmp_path, 4)] == ["CLOSE_WAIT"] * 4


def test_one_that_closed_within_the_sample_is_gone_from_it(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 3, "found", "closed")
    part.exactly(ended=3 + IN)
    part.socket(2, 0, 3, "found", "closed")  # a sample alone tells: it was there when it was read
    part.socket(3, 0, 3, "found", "closed")
    part.rows["sockets"][-1] |= {"ended_evidence": "event"}  # announced, its moment not known
    part.write()
    assert [id_ for id_, _ in _states(tmp_path, 2)] == [1, 2, 3]
    assert [id_ for id_, _ in _states(tmp_path, 3)] == [2, 3]
    assert _states(tmp_path, 4) == []


def test_an_event_right_at_a_cut_leaves_one_row(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 2)
    one.connection(1, 0, 2, "found", "carried")
    one.write()
    two = Part(tmp_path, 3, 5, part=1)
    two.connection(1, 3, 3, "carried", "changed")
    two.exactly(ended=3 + IN)
    two.connection(1, 4, 5, "changed", "stopped", state="CLOSE_WAIT")
    two.exactly(begun=3 + IN)
    two.write()
    assert _states(tmp_path, 2) == [(1, "ESTABLISHED")]
    assert _states(tmp_path, 3) == [(1, "CLOSE_WAIT")]


_MOMENTS = st.lists(st.integers(1, 500), min_size=1, max_size=12, unique=True).map(sorted)


@settings(
    max_examples=cases(6, 100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_MOMENTS, st.booleans())
def test_no_socket_is_twice_in_a_sample_nor_missing_while_it_lives(
    tmp_path_factory: Any, steps: list[int], closes: bool
) -> None:
    """States that follow each other at any exact moments, some at the edges of samples."""
    root = tmp_path_factory.mktemp("capture")
    part = Part(root, 0, 5)
    moments = [0, *(step / 100 for step in steps)]
    for number, (first, last) in enumerate(zip(moments, [*moments[1:], None], strict=True)):
        ended_as = "changed" if last is not None else "stopped"
        part.connection(1, 0, 5, "changed" if number else "found", ended_as, state=f"S{number}")
        part.exactly(first if number else None, last)
    if closes:
        part.rows["sockets"].pop()
        part.rows["sockets"][-1]["ended_as"] = "closed"
    part.write()
    for sample in range(6):
        until = ended(sample)
        state = max(number for number, moment in enumerate(moments) if began(moment) <= until)
        gone = closes and state == len(moments) - 1
        assert _states(root, sample) == ([] if gone else [(1, f"S{state}")])


def test_changes_skip_states_that_no_sample_saw(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.connection(2, 1, 3, "opened", "changed")
    part.exactly(0.5, 3.2)
    part.connection(2, 4, 6, "changed", "changed", state="FIN_WAIT2", pid=9)
    part.exactly(3.6, 6.5)
    part.connection(2, 7, 9, "changed", "stopped", state="TIME_WAIT")
    part.exactly(6.5)
    part.write()
    with open_catalog(tmp_path) as catalog:
        found = catalog.rows(
            "SELECT state_before, pid_before, state, not_before, not_after "
            f"FROM changes_between('{began(1).isoformat()}', '{began(9).isoformat()}') ORDER BY not_after"
        )
    assert found == [
        ("ESTABLISHED", 4121, "FIN_WAIT2", began(3.6), began(3.6)),
        ("FIN_WAIT2", 9, "TIME_WAIT", began(6.5), began(6.5)),
    ]


def test_changes_tell_of_what_no_sample_saw(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 9)
    part.closed(2, 3.25, 3.5)
    part.connection(2, 4, 7, state="TIME_WAIT")
    part.exactly(3.5)
    part.rows["sockets"][-1] |= {"begun_evidence": "inferred"}
    part.stopped(3, 4.5, sampled=False, opened_at=began(4.25), cause="close")
    part.closed(4, None, 5.5)
    part.write()
    with open_catalog(tmp_path) as catalog:

        def changes(first: float, last: float) -> list[tuple[Any, ...]]:
            return _changes(catalog, first, last, "what, socket_id, state, not_before, not_after, evidence")

        assert changes(0, 9) == [
            ("opened", 2, None, began(3.25), began(3.25), "event"),
            ("closed", 2, None, began(3.5), began(3.5), "event"),
            ("opened", 3, "LISTEN", began(4.25), began(4.25), "event"),
            ("closed", 3, "LISTEN", began(4.5), began(4.5), "event"),
            ("opened", 4, None, began(5), began(5.5), "inferred"),
            ("closed", 4, None, began(5.5), began(5.5), "event"),
        ]
        assert [row[:2] for row in changes(3.3, 4.3)] == [("closed", 2), ("opened", 3)]


def test_changes_tell_when_one_closed_that_had_left_its_last_state_before(tmp_path: Path) -> None:
    """CLOSE_WAIT between two samples has no row: the last row ends as that begins, the socket later."""
    part = Part(tmp_path, 0, 9)
    for id_ in (2, 3):
        part.connection(id_, 0, 4, "found")
        part.exactly(ended=4.25)
    part.closed(2, None, 4.75, sampled=True, cause="reset by the peer")
    part.connection(4, 0, 4, "found", "changed")
    part.exactly(ended=4.25)
    part.connection(4, 5, 6, "changed", state="TIME_WAIT")
    part.exactly(4.25, 6.5)
    part.closed(4, None, 4.25, sampled=True)
    part.write()
    with open_catalog(tmp_path) as catalog:
        shown = "what, socket_id, not_before, not_after, evidence"
        assert [row[1:] for row in _changes(catalog, 0, 9, shown) if row[0] == "closed"] == [
            (3, began(4.25), began(4.25), "event"),
            (2, began(4.75), began(4.75), "event"),
            (4, began(6.5), began(6.5), "event"),
        ]
        assert _changes(catalog, 4, 4.5, "what, socket_id") == [("closed", 3), ("changed", 4)]
        assert _changes(catalog, 4.5, 5, "what, socket_id") == [("closed", 2)]


def test_samples_take_time_here() -> None:
    """What the moments of these tests stand on."""
    assert timedelta(seconds=END) == SAMPLE_TAKES
    assert began(3 + END) == ended(3) == START + timedelta(seconds=3.01)

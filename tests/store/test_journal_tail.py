"""Reading on in a growing journal: every row once, whole, whatever is torn or damaged in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sockrec.errors import CaptureError
from sockrec.store.journal_tail import Added, JournalTail
from sockrec.store.layout import Layout
from sockrec.store.segments import seal
from tests.store.rows import HOST, SECOND, START, batch, end, open_journal, sample, small_part, socket

V1 = Path(__file__).parents[1] / "captures" / "v1" / "journaled"


def _ids(table: pa.Table) -> list[int]:
    return [int(id_) for id_ in table["socket_id"].to_pylist()]


def _event(number: int) -> dict[str, Any]:
    return {"recording": "r", "kind": "closed", "socket_id": number, "not_after": START + number}


def _said(added: Added) -> tuple[list[int], list[int], list[int]]:
    return _ids(added.begun), _ids(added.ended), _ids(added.events)


def test_it_gives_what_was_appended_since(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        tail = JournalTail(journal.path)
        assert _said(tail.read()) == ([], [], [])
        journal.append({"sockets.begun": batch("sockets.begun", [socket(1), socket(2)])})
        journal.append({"events": batch("events", [_event(7)])})
        assert _said(tail.read()) == ([1, 2], [], [7])
        assert _said(tail.read()) == ([], [], [])
        journal.append(
            {
                "sockets.begun": batch("sockets.begun", [socket(3), socket(4)]),
                "sockets.ended": batch("sockets.ended", [end(3, START), end(0, START + 1)]),
                "samples": batch("samples", [sample(0)]),
            }
        )
        added = tail.read()
        assert _said(added) == ([3, 4], [1, 4], [])
        ended = {row["socket_id"]: row for row in added.ended.to_pylist()}
        assert ended[1]["local_port"] == 1001
        assert ended[1]["holders"] == [1, 2]
        assert (ended[1]["ended_as"], ended[4]["ended_as"]) == ("closed", "closed")
        assert int(added.ended["last_seen"].cast(pa.int64())[0].as_py()) == START + 1
        assert added.begun["ended_as"].null_count == 2
        assert tail.ended_as is None
        journal.end("stopped")
        assert _said(tail.read()) == ([], [], [])
        assert tail.ended_as == "stopped"
        tail.close()


def test_what_was_known_is_not_given_again_but_its_rows_may_end(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append({"sockets.begun": batch("sockets.begun", [socket(1)])})
        known = journal.size
        journal.append({"events": batch("events", [_event(7)])})
        tail = JournalTail(journal.path, known)
        journal.append({"sockets.ended": batch("sockets.ended", [end(0, START)])})
        assert _said(tail.read()) == ([], [1], [7])


@pytest.mark.parametrize("cut", [1, 20, 40, -1])
def test_a_frame_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path, cut: int) -> None:
    with open_journal(tmp_path) as journal:
        before = journal.size
        journal.append({"events": batch("events", [_event(7)])})
        content = journal.path.read_bytes()
    copy = tmp_path / "copy.journal"
    copy.write_bytes(content[: before + cut] if cut > 0 else content[:cut])
    tail = JournalTail(copy)
    assert _said(tail.read()) == ([], [], [])
    copy.write_bytes(content)
    assert _said(tail.read()) == ([], [], [7])


def test_a_damaged_frame_costs_its_own_rows_only(tmp_path: Path) -> None:
    """Rows are numbered on over it: the frames after it count what it held."""
    sizes = []
    with open_journal(tmp_path) as journal:
        for first in (1, 11, 21):
            sizes.append(journal.size)
            begun = [socket(first), socket(first + 1)]
            journal.append({"sockets.begun": batch("sockets.begun", begun)})
        ends = [end(0, START), end(2, START), end(5, START), end(99, START)]
        journal.append({"sockets.ended": batch("sockets.ended", ends)})
        path = journal.path
    content = bytearray(path.read_bytes())
    content[sizes[1] + 60] ^= 0xFF
    path.write_bytes(content)
    assert _said(JournalTail(path).read()) == ([1, 2, 21, 22], [1, 22], [])


def test_it_is_read_to_its_end_after_it_was_sealed(tmp_path: Path) -> None:
    path = small_part(tmp_path)
    tail = JournalTail(path)
    assert not tail.is_dropped
    seal(Layout(tmp_path), HOST, path.stem)
    assert tail.is_dropped
    assert _said(tail.read()) == ([0, 1, 2, 3], [0, 1, 2], [])
    assert tail.ended_as == "stopped"


def test_an_older_format_has_no_events(tmp_path: Path) -> None:
    (path,) = V1.rglob("*.journal")
    added = JournalTail(path).read()
    assert _said(added) == ([1, 2, 11, 12], [1, 11], [])
    assert "events_lost" not in added.begun.column_names


def test_a_missing_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot read"):
        JournalTail(tmp_path / "none.journal")


def test_moments_are_kept_to_the_microsecond(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.append({"events": batch("events", [_event(7) | {"not_before": START + SECOND - 1}])})
        added = JournalTail(journal.path).read()
    assert added.events["not_before"].cast(pa.int64()).to_pylist() == [START + SECOND - 1]

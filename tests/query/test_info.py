"""What a capture holds, counted."""

from __future__ import annotations

from pathlib import Path

from sockrec.catalog import open_catalog
from sockrec.query.info import info
from sockrec.store.layout import Layout
from sockrec.store.lock import RecorderLock
from tests.catalog.captures import Part, began, ended, us


def test_facts(tmp_path: Path) -> None:
    one = Part(tmp_path, 0, 5, facts={"names": {"users": {"0": "root"}}})
    one.socket(1, 0, 5, "found", "stopped")
    one.sample(3, complete=False, incomplete_why="tcp", ticks_missed=2, cpu_us=7000)
    one.write()
    two = Part(tmp_path, 60, 61, recording="20261120T103300-bbbb", host="web-2")
    two.write()
    with open_catalog(tmp_path) as catalog:
        facts = info(catalog)
    assert facts["hosts"] == ["web-1", "web-2"]
    assert facts["span"] == [us(began(0)), us(ended(61))]
    assert (facts["samples"], facts["samples_not_whole"], facts["ticks_missed"]) == (8, 1, 2)
    assert facts["cpu_us_per_sample"] == round((7 * 1000 + 7000) / 8)
    assert facts["tables"]["sockets"] == {
        "rows": 1,
        "files": 2,
        "bytes": sum(part.path("sockets").stat().st_size for part in (one, two)),
    }
    assert [(told["recording"], told["samples"]) for told in facts["recordings"]] == [
        (one.recording, 6),
        (two.recording, 2),
    ]
    assert "names" not in facts["recordings"][0]
    assert [gap["why"] for gap in facts["gaps"]] == ["2 samples missed", "sample not whole: tcp"]
    assert (facts["recording_now"], facts["damages"], facts["journal_bytes"]) == ([], [], 0)


def test_a_capture_that_is_being_recorded(tmp_path: Path) -> None:
    part = Part(tmp_path, 0, 5)
    part.socket(1, 0, 5, "found", None)
    path = part.journal()
    with RecorderLock(Layout(tmp_path), part.host) as lock:
        lock.announce(part.recording)
        with open_catalog(tmp_path) as catalog:
            facts = info(catalog)
            assert catalog.rows("SELECT ended_as, ended_not_after FROM listeners") == [(None, None)]
    assert facts["recording_now"] == ["web-1"]
    assert facts["journal_bytes"] == path.stat().st_size
    assert facts["tables"]["sockets"]["rows"] == 1


def test_no_sample_yet(tmp_path: Path) -> None:
    Part(tmp_path, 0, -1).describe()
    with open_catalog(tmp_path) as catalog:
        facts = info(catalog)
    assert (facts["span"], facts["samples"], facts["cpu_us_per_sample"]) == (None, 0, None)

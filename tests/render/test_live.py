"""The live line."""

from __future__ import annotations

from sockrec.render import live


def line(width: int = 200, **words: str) -> str:
    return live.line(
        elapsed_us=65_000_000,
        samples=61,
        sockets={"LISTEN": 3, "ESTABLISHED": 12},
        changes=1,
        events=2_345,
        events_lost=1,
        size_bytes=12_300,
        cpu_percent=0.42,
        ticks_missed=2,
        incomplete=1,
        width=width,
        **words,
    )


def test_a_note_is_the_last_word() -> None:
    plain = (
        "1:05  61 samples  ESTABLISHED 12 LISTEN 3  1 change  2,345 events  12.3 kB  CPU 0.4 %"
        "  1 event lost  2 missed  1 incomplete"
    )
    assert line() == line(note="") == plain
    assert line(note="CPU budget: every 2.7 s") == f"{plain}  CPU budget: every 2.7 s"


def test_it_never_fills_the_terminals_last_column() -> None:
    text = line(note="CPU budget: every 2.7 s")
    assert [line(width, note="CPU budget: every 2.7 s") for width in (0, 1, 40)] == ["", "", text[:39]]

"""A capture as it is at one moment: its files listed, its journals read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockrec.errors import CaptureError
from sockrec.store.journal_reader import JournalVanishedError, read_journal
from sockrec.store.spans import assemble
from sockrec.store.survey import JournalFile, Survey, survey

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

_TRIES: Final = 20


@dataclass(slots=True)
class Snapshot:
    """The survey, and the final tables of each of its journals, in the same order.

    What was wrong with a journal is among the survey's damages.
    """

    survey: Survey
    journals: list[tuple[JournalFile, dict[str, pa.Table]]]


def take_snapshot(root: Path) -> Snapshot:
    """List a capture and read its journals, each row in exactly one place; raises `CaptureError`."""
    for _ in range(_TRIES):
        found = survey(root)
        try:
            journals = [(journal, _read(found, journal)) for journal in found.journals]
        except JournalVanishedError:
            continue  # sealed after it was listed: it is a segment now
        return Snapshot(found, journals)
    raise CaptureError(f"{root} changes faster than it can be read: try again")


def _read(found: Survey, journal: JournalFile) -> dict[str, pa.Table]:
    content = read_journal(journal.path, journal.size)
    found.damages.extend(content.damages)
    return assemble(content, None if journal.running else "gap")

"""Where everything of a capture lies. Paths only; nothing here reads a table.

    capture/
      <table>/host=H/date=YYYY-MM-DD/<stem>.parquet
      recordings/host=H/<recording>.json
      journal/host=H/<stem>.journal
      journal/host=H/lock

A recording is named by its start in UTC and four random hex digits (`20261120T103200-3f9a`), a stem
by its recording and a part number (`20261120T103200-3f9a-000000`): both sort by time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

RECORDINGS = "recordings"
JOURNAL = "journal"
LOCK = "lock"
SEGMENT_SUFFIX = ".parquet"
JOURNAL_SUFFIX = ".journal"
DAMAGED_SUFFIX = (
    ".damaged"  # a journal that was sealed without its damaged frames, kept for whoever can mend it
)
_HOST = "host="
_DATE = "date="
_LONGEST_HOST = 128
_STEM = re.compile(r"(?P<recording>\d{8}T\d{6}-[0-9a-f]{4})-(?P<part>\d{6,18})")


def new_recording(now_us: int) -> str:
    """Return a new recording id for a start at `now_us` (UTC microseconds)."""
    started = datetime.fromtimestamp(now_us // 1_000_000, UTC)
    return f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def stem(recording: str, part: int) -> str:
    """Return the name, without suffix, of a part's journal and segments."""
    return f"{recording}-{part:06d}"


def split_stem(name: str) -> tuple[str, int] | None:
    """Return the recording and part number of a stem; None for a name that sockrec did not give."""
    match = _STEM.fullmatch(name)
    return (match["recording"], int(match["part"])) if match else None


def host_folder(host: str) -> str:
    """Return the folder name of a host: Hive's `host=` and the name, percent-encoded.

    DuckDB and Spark decode the same encoding. A name of more than 128 encoded characters is cut and
    ends in `~` and a hash of the whole.
    """
    safe = quote(host, safe="", errors="backslashreplace")
    if len(safe) > _LONGEST_HOST:
        digest = hashlib.blake2b(host.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
        while len(safe) > _LONGEST_HOST - 17:  # by whole characters
            host = host[: min(len(host) - 1, _LONGEST_HOST)]
            safe = quote(host, safe="", errors="backslashreplace")
        safe = f"{safe}~{digest}"
    if safe.startswith(".") or not safe:
        safe = f"%2E{safe[1:]}"
    return _HOST + safe


def host_of(folder: str) -> str | None:
    """Return the host that a folder name stands for; None if it is no host's folder."""
    return unquote(folder.removeprefix(_HOST), errors="replace") if folder.startswith(_HOST) else None


def date_folder(time_us: int) -> str:
    """Return the folder name of the UTC day of a time in microseconds."""
    return f"{_DATE}{datetime.fromtimestamp(time_us // 1_000_000, UTC):%Y-%m-%d}"


def date_of(folder: str) -> str | None:
    """Return the day that a folder name stands for; None if it is no day's folder."""
    return folder.removeprefix(_DATE) if folder.startswith(_DATE) else None


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths inside the capture at `root`."""

    root: Path

    def journals(self, host: str) -> Path:
        """Folder of a host's journals and lock."""
        return self.root / JOURNAL / host_folder(host)

    def journal(self, host: str, stem: str) -> Path:
        """The journal of a part."""
        return self.journals(host) / f"{stem}{JOURNAL_SUFFIX}"

    def lock(self, host: str) -> Path:
        """The file whose lock says that a recorder of this host writes here."""
        return self.journals(host) / LOCK

    def segments(self, table: str, host: str) -> Path:
        """Folder of the days of a table on a host."""
        return self.root / table / host_folder(host)

    def segment(self, table: str, host: str, date: str, stem: str) -> Path:
        """The Parquet file of a table of a part; `date` is `YYYY-MM-DD`."""
        return self.segments(table, host) / f"{_DATE}{date}" / f"{stem}{SEGMENT_SUFFIX}"

    def recording(self, host: str, recording: str) -> Path:
        """The JSON file that tells how a recording was made."""
        return self.root / RECORDINGS / host_folder(host) / f"{recording}.json"

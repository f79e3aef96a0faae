"""sockrec: a flight recorder for sockets on Linux.

`sockrec.open(path)` opens a capture; see `sockrec.api.Capture` for the questions it answers.
`sockrec.baseline(path)` reads what a host normally has open, to compare with. A `sockrec.Finding` is one
thing that `diagnose` tells, ours or of your own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockrec.version import __version__

if TYPE_CHECKING:
    from sockrec.api import Capture as Capture
    from sockrec.api import baseline as baseline
    from sockrec.api import open as open  # noqa: A004 - `sockrec.open` is the name people expect
    from sockrec.query.findings import Finding as Finding

__all__ = ["Capture", "Finding", "__version__", "baseline", "open"]


def __getattr__(name: str) -> object:
    # DuckDB takes 0.1 s to import, which `sockrec --help` and `sockrec record` do not have to pay.
    if name in {"Capture", "baseline", "open"}:
        from sockrec import api

        return getattr(api, name)
    if name == "Finding":
        from sockrec.query import findings

        return findings.Finding
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

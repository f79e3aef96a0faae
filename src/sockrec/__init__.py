"""sockrec: a flight recorder for sockets on Linux.

`sockrec.open(path)` opens a capture; see `sockrec.api.Capture` for the questions it answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockrec.version import __version__

if TYPE_CHECKING:
    from sockrec.api import Capture as Capture
    from sockrec.api import open as open  # noqa: A004 - `sockrec.open` is the name people expect

__all__ = ["Capture", "__version__", "open"]


def __getattr__(name: str) -> object:
    # DuckDB takes 0.1 s to import, which `sockrec --help` and `sockrec record` do not have to pay.
    if name in {"Capture", "open"}:
        from sockrec import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

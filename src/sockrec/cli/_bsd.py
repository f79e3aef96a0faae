"""What BSD's netstat would have printed of one sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockrec.render.bsd_flags import BsdFlags
    from sockrec.render.names import Names
    from sockrec.replay.moment import Moments, Sample


class Bsd:
    """Prints samples of one host under one set of flags, as one run of BSD's netstat would."""

    def __init__(self, moments: Moments, flags: BsdFlags) -> None:
        self._moments, self._flags = moments, flags
        self.lacking: str | None = None

    def text(self, sample: Sample, names: Names, at_us: int | None = None) -> bytes:
        """Return the bytes for one sample."""
        from sockrec.render.bsd import bsd_text

        unix_rows = self._moments.unix_rows(sample) if self._flags.unix else []
        rows = self._moments.rows(sample, at_us)
        return bsd_text(rows, unix_rows, self._flags, names, self._moments.host)

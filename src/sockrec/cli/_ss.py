"""What ss would have printed of one sample: what its flags ask for is read, and no more."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sockrec.catalog import Catalog
    from sockrec.render.names import Names
    from sockrec.render.ss_flags import SsFlags
    from sockrec.replay.moment import Sample
    from sockrec.replay.network import Network

# The format that brought what ss shows and netstat does not.
_FORMAT: Final = 4
_PORT_RANGE: Final = "net.ipv4.ip_local_port_range"
_TWO_NUMBERS: Final = re.compile(r"([0-9]{1,5})\s+([0-9]{1,5})")


class Ss:
    """Prints samples of one host under one set of flags, as one run of ss does.

    `lacking` says what the last one was recorded without.
    """

    def __init__(self, catalog: Catalog, flags: SsFlags) -> None:
        self._catalog, self._flags = catalog, flags
        self.lacking: str | None = None

    def text(self, sample: Sample, names: Names, at_us: int | None = None) -> bytes:
        """Return the bytes for one sample; timers and ages, and what is read more seldom, as at `at_us`.

        Raises `UsageError` for a filter with a name that the recorded host did not know, and
        `NothingMatchedError` for a summary of what was not recorded.
        """
        from sockrec.render.ss import USUAL_EPHEMERAL_PORTS, ss_text
        from sockrec.render.ss_summary import summary_text
        from sockrec.replay.network import Network
        from sockrec.replay.ss import SsSockets

        network = Network(self._catalog, sample, at_us)
        text = summary_text(network.counters()).encode("ascii") if self._flags.summary else b""
        if not self._flags.sockets:
            return text
        if self._format_of(sample) < _FORMAT:
            self.lacking = (
                "in captures of this age shutdowns, marks, cgroups, descriptors, memory and part of tcp_info"
                " are not recorded: they are left out"
            )
        sockets = SsSockets(self._catalog, sample, at_us)
        rows = sockets.rows() if self._flags.inet or self._flags.inet6 else []
        unix_rows = sockets.unix_rows() if self._flags.unix else []
        ephemeral = _port_range(network) or USUAL_EPHEMERAL_PORTS
        return text + ss_text(rows, unix_rows, self._flags, names, ephemeral)

    def _format_of(self, sample: Sample) -> int:
        """Return the format that a sample was recorded in; today's where its description is lost."""
        for facts in self._catalog.recordings:
            if facts.get("recording") == sample.recording:
                return int(facts["format_version"])
        return _FORMAT


def _port_range(network: Network) -> tuple[int, int] | None:
    """Return the first and the last port that the host drew ports from; None if that was not recorded."""
    for limit in network.limits():
        if limit.name == _PORT_RANGE and (ports := _TWO_NUMBERS.fullmatch(limit.value)):
            return int(ports[1]), int(ports[2])
    return None

"""What `ss -s` prints: how many sockets there are, as the kernel counts them (iproute2 6.1, misc/ss.c)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sockrec.errors import NothingMatchedError
from sockrec.model.network import Counter

_SOURCES: Final = ("sockstat", "sockstat6", "snmp")


def summary_text(counters: Iterable[Counter]) -> str:
    """Return what `ss -s` prints, blank line at the end included.

    `counters` are those of one moment; of them sockstat, sockstat6 (missing where there is no IPv6) and
    snmp count. Raises `NothingMatchedError` if the capture holds no sockstat of that moment.
    """
    values = {
        (counter.section, counter.name): counter.value for counter in counters if counter.source in _SOURCES
    }
    if ("sockets", "used") not in values:
        raise NothingMatchedError(
            "ss -s: the counters of /proc/net/sockstat were not recorded at that moment"
        )

    def value(section: str, name: str = "inuse") -> int:
        return values.get((section, name), 0)

    hashed = value("TCP") + value("TCP6")
    allocated, timewait = value("TCP", "alloc"), value("TCP", "tw")
    rows = {
        "RAW": (value("RAW"), value("RAW6")),
        "UDP": (value("UDP"), value("UDP6")),
        "TCP": (value("TCP"), value("TCP6")),
    }
    rows["INET"] = (sum(inet for inet, _ in rows.values()), sum(inet6 for _, inet6 in rows.values()))
    rows["FRAG"] = (value("FRAG"), value("FRAG6"))
    lines = [
        f"Total: {value('sockets', 'used')}",
        f"TCP:   {allocated + timewait} (estab {value('Tcp', 'CurrEstab')}, "
        f"closed {allocated - (hashed - timewait)}, orphaned {value('TCP', 'orphan')}, timewait {timewait})",
        "",
        "Transport Total     IP        IPv6",
        *(f"{name}\t  {inet + inet6:<9d} {inet:<9d} {inet6:<9d}" for name, (inet, inet6) in rows.items()),
        "",
    ]
    return "".join(f"{line}\n" for line in lines)

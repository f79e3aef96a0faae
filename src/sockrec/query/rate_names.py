"""Which recorded interfaces and counters are meant by the names that people type."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from sockrec.catalog.sources import literal
from sockrec.errors import NothingMatchedError, UsageError

if TYPE_CHECKING:
    from sockrec.catalog import Catalog

_MOST_NAMED: Final = 12
# Files of the kernel that name each counter in full, without a section.
_UNSECTIONED: Final = frozenset({"snmp6", "sctp/snmp"})


class CounterName(NamedTuple):
    """One counter: its file, and its section and name there."""

    source: str
    section: str
    name: str

    @property
    def label(self) -> str:
        """How people call it: `TcpExt.ListenOverflows`, `Ip6InReceives`, `conntrack.count`."""
        if self.section:
            return f"{self.section}.{self.name}"
        return self.name if self.source in _UNSECTIONED else f"{self.source}.{self.name}"


def hosts(catalog: Catalog, host: str | None) -> list[str]:
    """Return the hosts asked for; raises `UsageError` for one that is not recorded."""
    known = catalog.survey.hosts
    if host is None:
        return known
    if host not in known:
        raise UsageError(f"no host {host!r} is recorded here; name one with --host: {', '.join(known)}")
    return [host]


def interfaces(catalog: Catalog, names: Sequence[str], host: str | None = None) -> list[str]:
    """Return the interfaces meant, spelt as recorded, each once; raises `NothingMatchedError` for others."""
    of_host = "" if host is None else f"WHERE host = {literal(host)}"
    known = [str(name) for (name,) in catalog.rows(f"SELECT DISTINCT name FROM base.link_counters {of_host}")]
    found: dict[str, None] = {}
    for name in names:
        if name not in known:
            raise NothingMatchedError(f"no interface {name!r} was recorded; {_instead(name, known)}")
        found[name] = None
    return list(found)


def counters(catalog: Catalog, names: Sequence[str], host: str | None = None) -> list[CounterName]:
    """Return the counters meant, each once: `TcpExt.ListenOverflows`, or a bare `listenoverflows`.

    Case does not matter. Raises `UsageError` for a name of several, `NothingMatchedError` for an
    unknown one.
    """
    of_host = "" if host is None else f"WHERE host = {literal(host)}"
    known = [
        CounterName(*row)
        for row in catalog.rows(
            f"SELECT DISTINCT source, section, name FROM base.counters {of_host} ORDER BY ALL"
        )
    ]
    found: dict[CounterName, None] = {}
    for name in names:
        found[_counter(name, known)] = None
    return list(found)


def _counter(text: str, known: Iterable[CounterName]) -> CounterName:
    known = list(known)
    spelt = [one for one in known if text in (one.label, one.name)]
    folded = text.casefold()
    candidates = spelt or [one for one in known if folded in (one.label.casefold(), one.name.casefold())]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        several = ", ".join(sorted({one.label for one in candidates}))
        raise UsageError(f"{text!r} is the name of several counters: give one of {several}")
    raise NothingMatchedError(
        f"no counter {text!r} was recorded; {_instead(text, [one.label for one in known])}"
    )


def _instead(text: str, known: Sequence[str]) -> str:
    """Return which names come near, or what there is."""
    if not known:
        return "none was"
    folded: dict[str, str] = {}
    for name in sorted(known):
        folded.setdefault(name.casefold(), name)
        folded.setdefault(name.rpartition(".")[2].casefold(), name)
    wanted = text.casefold()
    holding = [name for short, name in folded.items() if wanted and wanted in short]
    near = difflib.get_close_matches(wanted, folded, n=_MOST_NAMED, cutoff=0.6)
    found = list(dict.fromkeys([*(folded[short] for short in near), *holding]))
    if found:
        return f"names like it: {_some(found)}"
    return f"there are {_some(sorted(known))}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")

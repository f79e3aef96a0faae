"""What a finding is, and what each of them is asked with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sockrec.catalog.sources import bounds, literal
from sockrec.errors import UsageError

if TYPE_CHECKING:
    import duckdb

    from sockrec.catalog import Catalog
    from sockrec.model.baseline import Baseline

SEVERITIES: Final = ("critical", "warning", "notice")
"""Something does not work; something will not for long, or is slow; something to know."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number from which on a finding is one; `why` says why it is that."""

    name: str
    default: float
    unit: str
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that happened, with its evidence.

    `text` is a sentence or two for people; `not_before` and `not_after` bound when it began (null: it was so
    when recording began); `subject` is who; `numbers` are what it rests on; `look` is what to ask next; `sql`
    shows it, over the views of `sockrec sql`.
    """

    kind: str
    severity: str
    title: str
    text: str
    not_before: datetime | None
    not_after: datetime
    host: str
    subject: str
    numbers: Mapping[str, Any]
    look: str
    sql: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of finding: what it is called, from which numbers on it is one, and what finds it.

    Its documentation is the docstring of `find`.
    """

    name: str
    find: Callable[[Asked], Iterable[Finding]]
    thresholds: tuple[Threshold, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A capture and the time asked about, microseconds UTC; None is the beginning or the end.

    `settings` has thresholds by `kind.name`, where they are not the default; `baseline` is what is usual, if
    that is known.
    """

    catalog: Catalog
    first_us: int | None = None
    last_us: int | None = None
    host: str | None = None
    settings: Mapping[str, float] = field(default_factory=dict)
    baseline: Baseline | None = None
    _shared: dict[str, list[dict[str, Any]]] = field(default_factory=dict, repr=False, compare=False)

    def threshold(self, kind: str, threshold: Threshold) -> float:
        """Return what a threshold is set to."""
        return self.settings.get(f"{kind}.{threshold.name}", threshold.default)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a statement as mappings."""

        def ask(connection: duckdb.DuckDBPyConnection) -> tuple[list[str], list[tuple[Any, ...]]]:
            # Not as a relation: each statement would be bound twice, and there are many.
            answer = connection.execute(sql)
            return [name for name, *_ in answer.description or ()], answer.fetchall()

        names, rows = self.catalog.run(ask)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def any(self, *sources: str) -> bool:
        """Return whether there is a row of one of `sources`, each what follows FROM.

        It is quickly told, and spares a host on which all is well what takes longer.
        """
        found = " OR ".join(f"EXISTS (FROM {source})" for source in sources)
        return bool(self.rows(f"SELECT {found} AS found")[0]["found"])

    def shared(self, name: str, make: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return rows that several kinds of findings look at, made once."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    @property
    def first(self) -> str:
        """The first moment asked about, as SQL."""
        return bounds(self.first_us, self.last_us)[0]

    @property
    def last(self) -> str:
        """The last one."""
        return bounds(self.first_us, self.last_us)[1]

    def within(self, not_before: str, not_after: str, host: str = "host") -> str:
        """Return the condition that something between two moments may be of the time and host asked about."""
        parts = [f"{not_after} IS NOT NULL" if self.first_us is None else f"{not_after} >= {self.first}"]
        if self.last_us is not None:
            parts.append(f"coalesce({not_before}, {not_after}) <= {self.last}")
        if self.host is not None:
            parts.append(f"{host} = {literal(self.host)}")
        return " AND ".join(parts)


def parse_settings(texts: Iterable[str], kinds: Iterable[Kind]) -> dict[str, float]:
    """Return thresholds given as `kind.name=number`; raises `UsageError` for what is none of theirs."""
    known = {f"{kind.name}.{one.name}": one for kind in kinds for one in kind.thresholds}
    found: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in known:
            raise UsageError(f"there is no threshold {name!r}: `sockrec diagnose --list` shows them")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = -1.0
        if not equals or found[name] < 0:
            raise UsageError(f"{text!r} sets no threshold: write it as {name}={known[name].default:g}")
    return found


def process(pid: int | None, program: str | None) -> str:
    """Return `myapp[4121]`, or that it is not known."""
    return "a process not known" if pid is None else f"{program or '?'}[{pid}]"


def listed(names: list[str]) -> str:
    """Return `one`, `one and two`, `one, two and three`."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def count(number: int, noun: str) -> str:
    """Return `1 connection`, `2,000 connections`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

"""A baseline as TOML that people read, edit and keep under version control.

It is sorted, and the same baseline gives the same text. Names are exact: what steers a terminal is escaped as
TOML does it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import tomlkit
from tomlkit.items import AoT, Array, Table

from sockrec.errors import UsageError
from sockrec.model import baseline_text
from sockrec.model.baseline import ANY, Baseline, Connects, Listens, ordered
from sockrec.render import escape

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_HEAD: Final = """\
# What this host normally has open: a baseline, learned by `sockrec baseline save`. Edit it as you like.
#
# `sockrec baseline diff FILE` and `sockrec diagnose --baseline FILE` compare a capture with it.
# [[listens]] is a service, [[connects]] what a program connects to. Peers are networks, "any" is every one.
# A list that is left out is any too; without a program it may be every one. Port "ephemeral" is any free one.
"""
# More stand one a line: a change is then one line for who reviews it.
_MOST_ON_A_LINE: Final = 4
_HEADER: Final = re.compile(r"\s*\[")
_OWN: Final = re.compile(r"[ \t]*#")
Entry = Listens | Connects


def text(baseline: Baseline) -> str:
    """Return the whole file."""
    parts = [f"{_HEAD}\nschema = {baseline_text.SCHEMA}\n"]
    parts += (_block(entry) for entry in baseline.entries)
    return "\n".join(parts)


def added(before: str, name: str, learned: Baseline) -> str:
    """Return a file's text with what was learned in it, and its comments where they were.

    Entries stay in their order; new ones go where they belong in it. Raises `UsageError` if the text is no
    baseline; `name` is the file's.
    """
    known = baseline_text.parse(before, name)
    whole = known.added(learned)
    if whole == known:
        return before
    document = tomlkit.parse(before)
    by_key = {_key(entry): entry for entry in whole.entries}
    for kind in (baseline_text.LISTENS, baseline_text.CONNECTS):
        _change(kind, document.get(kind), by_key)
    changed = tomlkit.dumps(document)
    old = {_key(entry) for entry in known.entries}
    new = [entry for key, entry in by_key.items() if key not in old]
    for put in (_put_in, _put_behind):
        after = put(changed, new)
        if _holds(after, whole):
            return after
    return text(whole)  # written in a way that can't be added to, such as tables in one line


def _holds(after: str, whole: Baseline) -> bool:
    try:
        return baseline_text.parse(after, "") == whole
    except UsageError:
        return False


def _change(kind: str, tables: object, entries: dict[tuple[object, ...], Entry]) -> None:
    """Put more into the lists of tables that are there; a list that is left out is any, and stays so."""
    for table in tables if isinstance(tables, AoT) else ():
        port = None if table["port"] == baseline_text.EPHEMERAL else int(table["port"])
        one: Entry = Listens(str(table["protocol"]), port, table.get("program"))
        if kind == baseline_text.CONNECTS:
            one = Connects(str(table["program"]), str(table["protocol"]), port)
        for name, values in _lists(entries[_key(one)]):
            if isinstance(there := table.get(name), Array) and {str(value) for value in there} != set(values):
                _refill(table, name, there, values)


def _key(entry: Entry) -> tuple[object, ...]:
    return (_kind(entry), *entry.key)


def _refill(table: Table, name: str, there: Array, values: list[str]) -> None:
    # Comments inside of a list stay, if nothing of it goes.
    if "#" in there.as_string() and {str(one) for one in there} <= set(values):
        for value in values:
            if value not in there:
                there.append(_string(value))
        return
    comment = there.trivia.comment
    table[name] = _array(values)
    if comment:
        table[name].comment(comment.lstrip("# "))


def _put_in(before: str, new: Iterable[Entry]) -> str:
    """Return a text with new entries in front of the first one that sorts behind them, and its comments."""
    lines = before.splitlines(keepends=True)
    there = list(_places(lines))
    last = []
    # From behind, so that the places in front stay what they are.
    for entry in sorted(new, key=_rank, reverse=True):
        place = next((line for line, rank in there if rank > _rank(entry)), None)
        if place is None:
            last.append(entry)
        else:
            lines[place:place] = [*_block(entry).splitlines(keepends=True), "\n"]
    return _put_behind("".join(lines), reversed(last))


def _put_behind(before: str, new: Iterable[Entry]) -> str:
    return "\n".join([before if before.endswith("\n") else before + "\n", *map(_block, new)])


def _places(lines: list[str]) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Yield where each entry of a file begins, its comments included, and where it belongs."""
    headers = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    for number, end in itertools.pairwise([*headers, len(lines)]):
        try:
            one = baseline_text.parse(f"schema = {baseline_text.SCHEMA}\n{''.join(lines[number:end])}", "")
        except UsageError:  # a line of a text that looks like a header
            continue
        begin = number
        # What a person wrote right above a header is about it.
        while begin > 0 and _OWN.match(lines[begin - 1]):
            begin -= 1
        for entry in one.entries:
            yield begin, _rank(entry)


def _rank(entry: Entry) -> tuple[object, ...]:
    """Return where an entry stands in a file: services first."""
    return (isinstance(entry, Connects), *entry.key)


def _kind(entry: Entry) -> str:
    return baseline_text.LISTENS if isinstance(entry, Listens) else baseline_text.CONNECTS


def _block(entry: Entry) -> str:
    """Return one entry as a table of the file."""
    document: TOMLDocument = tomlkit.document()
    table = tomlkit.table()
    port: Any = baseline_text.EPHEMERAL if entry.port is None else entry.port
    named = None if entry.program is None else _string(entry.program)
    if isinstance(entry, Connects):
        table["program"] = named
    table["protocol"], table["port"] = entry.protocol, port
    if isinstance(entry, Listens) and named is not None:
        table["program"] = named
    for name, values in _lists(entry):
        table[name] = _array(values)
    tables = tomlkit.aot()
    tables.append(table)
    document[_kind(entry)] = tables
    return tomlkit.dumps(document)


def _lists(entry: Entry) -> list[tuple[str, list[str]]]:
    if isinstance(entry, Connects):
        return [("peers", ordered(entry.peers))]
    return [
        ("users", sorted(entry.users)),
        ("addresses", ordered(entry.addresses)),
        ("peers", ordered(entry.peers)),
    ]


def _array(values: list[str]) -> Array:
    array = tomlkit.array()
    for value in values:
        array.append(_string(value))
    return array.multiline(len(values) > _MOST_ON_A_LINE)


def _string(value: str) -> Any:
    """Return a text as TOML writes it, what would steer a terminal escaped."""
    return value if value == ANY else tomlkit.value(escape.toml_text(value))

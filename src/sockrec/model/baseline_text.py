"""A baseline read from its TOML, as people edit it: a wrong one names its line."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final

from sockrec.errors import UsageError
from sockrec.model.baseline import ANY, Baseline, Connects, Listens, together

SCHEMA: Final = 1
"""The version of the file. A newer one is refused; an older one is read for ever."""

EPHEMERAL: Final = "ephemeral"
LISTENS: Final = "listens"
CONNECTS: Final = "connects"

_PROTOCOLS: Final = ("tcp", "udp", "udplite", "raw", "sctp")
_HIGHEST_PORT: Final = 65_535
_AT_LINE: Final = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")
_HEADER: Final = re.compile(r"""\s*\[\[?\s*["']?([\w-]+)["']?\s*\]""")


class _WrongError(Exception):
    """What is wrong, with the name of the key that it is about; None for the whole table."""

    def __init__(self, problem: str, key: str | None = None) -> None:
        super().__init__(problem)
        self.key = key


def parse(text: str, name: str) -> Baseline:
    """Return the baseline that a text holds; `name` is the file's.

    Raises `UsageError` with the line and what is wrong there.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        problem = _AT_LINE.sub("", str(error))
        raise UsageError(f"{name}, line {line}: {problem[:1].lower()}{problem[1:]}") from None
    try:
        _check_schema(data)
    except _WrongError as error:
        raise UsageError(f"{name}, line {_line(text, None, 0, error.key)}: {error}") from None
    return Baseline(
        together(_entries(data, text, name, LISTENS, _listens)),
        together(_entries(data, text, name, CONNECTS, _connects)),
    )


def _check_schema(data: Mapping[str, Any]) -> None:
    for key in data:
        if key not in ("schema", LISTENS, CONNECTS):
            raise _WrongError(f"{key!r} is not known here: give schema, [[{LISTENS}]] or [[{CONNECTS}]]", key)
    schema = data.get("schema")
    if schema is None:
        raise _WrongError(f"this is no baseline: it begins with `schema = {SCHEMA}`")
    if type(schema) is not int or schema < 1:
        raise _WrongError(f"schema is {SCHEMA}, not {schema!r}", "schema")
    if schema > SCHEMA:
        raise _WrongError(f"schema {schema} is of a newer sockrec: update this one", "schema")


def _entries(
    data: Mapping[str, Any], text: str, name: str, kind: str, read: Callable[[Mapping[str, Any]], Any]
) -> list[Any]:
    tables = data.get(kind, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        line = _line(text, kind, 0, None)
        raise UsageError(f"{name}, line {line}: write each of {kind} as a table of its own, [[{kind}]]")
    found = []
    for number, table in enumerate(tables):
        try:
            found.append(read(table))
        except _WrongError as error:
            raise UsageError(f"{name}, line {_line(text, kind, number, error.key)}: {error}") from None
    return found


def _listens(table: Mapping[str, Any]) -> Listens:
    _check_keys(table, ("protocol", "port", "program", "users", "addresses", "peers"), ("protocol", "port"))
    return Listens(
        _protocol(table),
        _port(table),
        None if "program" not in table else _text(table, "program"),
        _texts(table, "users", _any_text),
        _texts(table, "addresses", _address),
        _texts(table, "peers", _network),
    )


def _connects(table: Mapping[str, Any]) -> Connects:
    _check_keys(table, ("program", "protocol", "port", "peers"), ("program", "protocol", "port"))
    return Connects(_text(table, "program"), _protocol(table), _port(table), _texts(table, "peers", _network))


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise _WrongError(f"{key!r} is not known here: give {', '.join(known)}", key)
    for key in needed:
        if key not in table:
            raise _WrongError(f"{key} is missing")


def _protocol(table: Mapping[str, Any]) -> str:
    protocol = table["protocol"]
    if protocol not in _PROTOCOLS:
        raise _WrongError(f"protocol is one of {', '.join(_PROTOCOLS)}, not {protocol!r}", "protocol")
    return str(protocol)


def _port(table: Mapping[str, Any]) -> int | None:
    port = table["port"]
    if port == EPHEMERAL:
        return None
    if type(port) is not int or not 0 <= port <= _HIGHEST_PORT:
        raise _WrongError(f'port is 0 to {_HIGHEST_PORT} or "{EPHEMERAL}", not {port!r}', "port")
    return port


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value:
        raise _WrongError(f"{key} is text in quotes, not {value!r}", key)
    return value


def _texts(table: Mapping[str, Any], key: str, read: Callable[[str], str]) -> frozenset[str]:
    """Return the texts of a list; what is left out is any."""
    values = table.get(key, [ANY])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _WrongError(f'{key} is a list of texts, such as ["{ANY}"], not {values!r}', key)
    try:
        found = frozenset(value if value == ANY else read(value) for value in values)
    except ValueError as error:
        raise _WrongError(f"{key}: {error}", key) from None
    return frozenset({ANY}) if ANY in found else found


def _any_text(value: str) -> str:
    return value


def _address(value: str) -> str:
    return str(ipaddress.ip_address(value))


def _network(value: str) -> str:
    return str(ipaddress.ip_network(value))


def _line(text: str, kind: str | None, number: int, key: str | None) -> int:
    """Return the line of a key of the table `number` of a kind, or of its header; 1 if it can't be found.

    A text over several lines that looks like a header or a key misleads it by some lines.
    """
    own, seen, begun = None, -1, 1
    for line, content in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(content):
            if own == kind and seen == number:
                break  # the table is over
            own = header[1]
            if kind is None and own == key:
                return line
            if own == kind:
                seen += 1
                begun = line if seen == number else begun
        elif (kind is None and own is None) or (own == kind and seen == number):
            if key and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", content):
                return line
        elif own is None and kind and re.match(rf"\s*{kind}\s*=", content):
            return line
    return begun

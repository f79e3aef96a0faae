"""What a baseline does not have: a service, or a program that connects out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from sockrec.catalog.sources import literal
from sockrec.model.addresses import endpoint
from sockrec.model.baseline import ANY, Baseline, Listens, ordered
from sockrec.model.programs import known_as_sql
from sockrec.query.baseline import Difference, Span, compare, seen
from sockrec.query.baseline.learn import services
from sockrec.query.baseline.seen import Seen
from sockrec.query.findings.finding import Asked, Finding, Kind, count, process


def find_listeners(asked: Asked) -> Iterator[Finding]:
    """Find each service that the baseline does not have: its port, its program, user or address there.

    Asked with `--baseline`; without one it is silent. Sockets on ephemeral UDP ports are those of clients,
    and raw ones those of ping: `sockrec baseline diff` shows them too. A service that came to a wider or
    another address while it was recorded is told as that.
    """
    if asked.baseline is None:
        return
    known = seen.facts(asked.catalog)
    by_host: defaultdict[str, list[Seen]] = defaultdict(list)
    for one in seen.listening(asked.catalog, _span(asked)):
        by_host[one.host].append(one)
    for host, rows in sorted(by_host.items()):
        now = services(rows)
        for difference in compare.services(asked.baseline.listens, now, known, host):
            after = difference.after
            if isinstance(after, Listens) and after.port is not None and after.protocol != "raw":
                yield from _listener(difference, after, rows)


def find_programs(asked: Asked) -> Iterator[Finding]:
    """Find each program that connects out, and that the baseline has no connections of.

    Asked with `--baseline`; without one it is silent. Connections to this host's loopback do not go out; new
    places of a program that is known are in `sockrec baseline diff`.
    """
    if asked.baseline is None:
        return
    usual = {one.program for one in asked.baseline.connects}
    for first, places in seen.going_out(asked.catalog, _span(asked), usual):
        yield _program(first, places, asked.baseline)


def _span(asked: Asked) -> Span:
    return Span(asked.host, asked.first_us, asked.last_us)


def _first(rows: Iterable[Seen]) -> Seen:
    return min(rows, key=lambda one: (str(one.not_after), one.address, one.port or 0))


def _listener(difference: Difference, now: Listens, rows: list[Seen]) -> Iterator[Finding]:
    identity = now.protocol, now.port, now.program
    mine = [one for one in rows if (one.protocol, one.port, one.program) == identity]
    before = difference.before if isinstance(difference.before, Listens) else None
    fresh, was = mine, "nothing on that port"
    if before is not None and "program" in difference.changed:
        was = f"{before.program} there"
    elif before is not None:
        fresh = [one for one in mine if _is_other(one.address, before.addresses)]
        others = [one for one in mine if _is_other(one.user, before.users)]
        if fresh and len(fresh) < len(mine) and not others:
            return  # it was where it should be, and moved since
        if others:
            was = f"it as user {', '.join(sorted(before.users))}"
        else:
            was = f"it on {', '.join(ordered(before.addresses))}"
        fresh = others or fresh
    if not fresh:
        return
    first = _first(fresh)
    place = endpoint(first.address, now.port)
    who = process(first.pid, first.program)
    path = f"{now.port}" if now.protocol == "tcp" else f"{now.port}/{now.protocol}"
    yield Finding(
        kind="new-listener",
        severity="warning",
        title=f"port {path} is served as it is not in the baseline",
        text=(
            f"{who} listens on {now.protocol} {place} as user {first.user or 'not known'}: the baseline has"
            f" {was}."
        ),
        not_before=first.not_before,
        not_after=_after(first),
        host=first.host,
        subject=f"{who} on {now.protocol} {place}",
        numbers={
            "port": now.port,
            "pid": first.pid,
            "program": first.program,
            "user": first.user,
            "changed": list(difference.changed),
        },
        look=f"sockrec port {path}; sockrec baseline diff FILE",
        sql=(
            "SELECT began_not_after, local_address, pid, program, ended_not_after FROM listeners"
            f" WHERE protocol = {literal(now.protocol)} AND local_port = {now.port}"
            f" AND host = {literal(first.host)} ORDER BY began_not_after"
        ),
    )


def _is_other(value: str | None, usual: frozenset[str]) -> bool:
    return value is not None and ANY not in usual and value not in usual


def _after(one: Seen) -> datetime:
    assert one.not_after is not None  # noqa: S101 - who was seen was so at some moment
    return one.not_after


def _program(first: Seen, places: int, usual: Baseline) -> Finding:
    program = first.program or ""
    place = f"{first.protocol} {endpoint(first.address, first.port)}"
    who = process(first.pid, program)
    more = f" and {count(places - 1, 'other place')}" if places > 1 else ""
    listens = any(one.program == program for one in usual.listens)
    known = "knows it as a service that does not" if listens else "does not have it"
    return Finding(
        kind="new-program",
        severity="notice",
        title=f"{program} connects out, which is not in the baseline",
        text=f"{who} connected to {place}{more}: the baseline {known}.",
        not_before=first.not_before,
        not_after=_after(first),
        host=first.host,
        subject=f"{program} to {place}",
        numbers={"port": first.port, "pid": first.pid, "program": program, "places": places},
        look=f"sockrec events --pid {first.pid}; sockrec baseline diff FILE",
        sql=_connections(program, first),
    )


def _connections(program: str, first: Seen) -> str:
    mine = f"{known_as_sql('program')} = {literal(program)} AND host = {literal(first.host)}"
    if first.protocol == "tcp":
        return (
            "SELECT remote_address, remote_port, count(*) AS connections, min(opened_not_after) AS first"
            f" FROM connections WHERE role IS DISTINCT FROM 'server' AND {mine}"
            " GROUP BY ALL ORDER BY first"
        )
    return (
        "SELECT remote_address, remote_port, min(first_seen) AS first FROM sockets"
        f" WHERE protocol = {literal(first.protocol)} AND remote_port <> 0 AND {mine}"
        " GROUP BY ALL ORDER BY first"
    )


LISTENER: Final = Kind("new-listener", find_listeners)
PROGRAM: Final = Kind("new-program", find_programs)

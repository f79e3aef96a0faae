"""Name databases as netstat reads them, for tests that make their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sockrec.render.names import Names


def names_of(
    users: Iterable[tuple[int, str]] = (),
    services: Iterable[tuple[str, int, str]] = (),
    protocols: Iterable[tuple[str, int]] = (),
    hosts: Mapping[str, str] | None = None,
) -> Names:
    """Return the names that netstat would find in databases given in their own order.

    `services` are (name, port, protocol) as getservent(3) gives them, `protocols` (name, number) as
    getprotoent(3): of several entries for a number, netstat uses the last. `users` are (uid, name):
    getpwuid(3) uses the first.
    """
    first: dict[int, str] = {}
    for uid, name in users:
        first.setdefault(uid, name)
    return Names(
        first,
        {(port, protocol): name for name, port, protocol in services},
        {number: name for name, number in protocols},
        dict(hosts or {}),
    )

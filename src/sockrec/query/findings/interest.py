"""Which sockets a finding is about, as far as its numbers tell."""

from __future__ import annotations

from typing import Any, NamedTuple

from sockrec.query.findings.finding import Finding


class Interest(NamedTuple):
    """A socket, else those with some ports at either end, else those of a process."""

    socket_id: int | None
    ports: tuple[int, ...]
    pid: int | None


def interest(finding: Finding) -> Interest:
    """Return what the sockets of a finding are told by; of what its numbers do not tell there is nothing."""
    told = finding.numbers
    pid = told.get("pid")
    return Interest(told.get("socket_id"), _ports(told), pid if _is_number(pid) else None)


def _ports(told: Any) -> tuple[int, ...]:
    """Return the port, the ports and the port after a move, whichever are told; `ports` may be how many."""
    listed = told.get("ports")
    after = told.get("after")
    found = [told.get("port"), *(listed if isinstance(listed, list | tuple) else ())]
    if isinstance(after, dict):
        found.append(after.get("port"))
    return tuple(sorted({port for port in found if _is_number(port)}))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and value > 0

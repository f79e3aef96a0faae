"""Which sockets a finding is about, as far as its numbers tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sockrec.query.findings import Finding


def of_interest(finding: Finding, sockets: npt.NDArray[np.int64]) -> dict[str, list[int]]:
    """Return the `sockets` of a finding, as places in an array of ids, else its `ports`, else its `pids`.

    A socket is of a finding that has one of its ports at either end, or one of its processes holds it.
    """
    told = finding.numbers
    places = np.flatnonzero(sockets == told["socket_id"]).tolist() if "socket_id" in told else []
    ports = [] if places else _ports(told)
    pids = [told["pid"]] if not places and not ports and _is_number(told.get("pid")) else []
    return {"sockets": places, "ports": ports, "pids": pids}


def _ports(told: Any) -> list[int]:
    """Return the port, the ports and the port after a move, whichever are told; `ports` may be how many."""
    listed = told.get("ports")
    after = told.get("after")
    found = [told.get("port"), *(listed if isinstance(listed, list | tuple) else ())]
    if isinstance(after, dict):
        found.append(after.get("port"))
    return sorted({port for port in found if _is_number(port)})


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and value > 0

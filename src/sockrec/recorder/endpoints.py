"""Endpoints as one number each, so that what has no cookie finds its socket."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sockrec.kernel.arrays import U8
from sockrec.recorder.seen import Ints

_MIX = np.uint64(0x9E3779B97F4A7C15)


def mixed(columns: Iterable[NDArray[Any]]) -> Ints:
    """Return one number for each row of some columns, equal for equal rows and hardly ever for others.

    Captures have some of these numbers as `socket_id`: what makes them must stay as it is.
    """
    found: NDArray[np.uint64] | None = None
    for column in columns:
        values = column.astype(np.int64).view(np.uint64)
        if found is not None:
            values ^= found ^ (found >> np.uint64(29))
        found = values * _MIX
    if found is None:
        raise ValueError("no columns")
    return found.view(np.int64)


def of_pairs(
    family: NDArray[Any], local: U8, remote: U8, local_port: NDArray[Any], remote_port: NDArray[Any]
) -> Ints:
    """Return a number for each pair of endpoints, addresses being arrays of 16 bytes."""
    ours = np.ascontiguousarray(local).view(np.int64)
    theirs = np.ascontiguousarray(remote).view(np.int64)
    return mixed((family, local_port, remote_port, ours[:, 0], ours[:, 1], theirs[:, 0], theirs[:, 1]))

"""One reading of one kind of socket, as arrays, and where each of its sockets stands in the roster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Condition = tuple[NDArray[Any], ...]
Scope = tuple[tuple[int, int], ...]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]

NEVER: Final = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True)
class Times:
    """When a reading took place, in recorded microseconds."""

    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Observed:
    """One reading of one kind of socket, in the kernel's order.

    `key` (n) is the identity; `condition`, arrays of n, what makes a row of its own when it changes;
    `activity` (k, n) the numbers that move; `doubtful` marks the kinds of socket
    (values of `condition[0]`) that could not be read whole; `scope` says, as (row of `condition`,
    value) pairs, that only such sockets were read.
    """

    key: Ints
    condition: Condition
    activity: Ints
    doubtful: frozenset[int] = frozenset()
    scope: Scope = ()

    def only(self, places: Rows) -> Observed:
        """Return the sockets at some places alone."""
        condition = tuple(column[places] for column in self.condition)
        return Observed(self.key[places], condition, self.activity[:, places], self.doubtful, self.scope)


def in_scope(scope: Scope, condition: Condition) -> Mask:
    """Mark the sockets of a condition that a reading of that scope says something of."""
    mask = np.ones(len(condition[0]), np.bool_)
    for row, value in scope:
        mask &= condition[row] == value
    return mask


@dataclass(frozen=True, slots=True)
class Match:
    """Where each socket of a reading stands in the roster: its place, or -1 for a new one.

    `same` tells that the reading has the same sockets in the same order. `order` sorts its keys.
    """

    place: Rows
    known: Mask
    same: bool
    order: Rows

    def was(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return a column of the roster (or of rows of it) for the sockets read; anything for new ones."""
        if self.same:
            return column
        if not column.shape[-1]:
            return np.zeros((*column.shape[:-1], len(self.place)), column.dtype)
        return column.take(self.place, axis=-1)

"""Names that come from a short list of the kernel's own, as numbers that hold as long as the process.

Congestion controls (TCP_CA_NAME_MAX) and upper layer protocols (TCP_ULP_NAME_MAX) have at most 15 bytes, and
there are as many as the kernel has modules. Thousands of sockets have one of them: they are told apart by
their words in a dump, all at once, and named when a row is written.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from sockrec.kernel.netlink import Words

NONE: Final = 0
"""The number of no name."""

_numbers: Final[dict[bytes, int]] = {b"": NONE}
_names: Final[list[str | None]] = [None]


def number(raw: bytes) -> int:
    """Return the number of a name, which ends at its first NUL."""
    name = raw.partition(b"\0")[0]
    known = _numbers.get(name)
    if known is None:
        known = _numbers[name] = len(_names)
        _names.append(name.decode("utf-8", "backslashreplace"))
    return known


def numbers(rows: Words) -> npt.NDArray[np.int32]:
    """Return the number of the name in each row of words, padded with NULs."""
    if (rows == rows[0]).all():
        return np.full(len(rows), number(rows[0].tobytes()), np.int32)
    different, which = np.unique(rows, axis=0, return_inverse=True)
    return np.array([number(one.tobytes()) for one in different], np.int32)[which.reshape(-1)]


def name(known: int) -> str | None:
    """Return the name of a number that `number` gave; None for none."""
    return _names[known]

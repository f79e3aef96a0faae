"""Columns of whole numbers as text for a page: differences, a byte of each after the other, deflate, base64.

`assets/unpack.js` is the other side.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt


def pack(columns: Mapping[str, npt.NDArray[np.int64]]) -> tuple[list[dict[str, Any]], str]:
    """Return what is packed (`name`, `length`, `delta`: whether differences stand there), and the text.

    Numbers are taken modulo 2**32. Of each column the form that takes less room is chosen.
    """
    listed, packed = [], bytearray()
    for name, column in columns.items():
        forms = [(delta, _planes(_signed(column) if delta else column)) for delta in (False, True)]
        delta, planes = min(forms, key=lambda form: len(zlib.compress(form[1], 1)))
        listed.append({"name": name, "length": len(column), "delta": delta})
        packed += planes
    return listed, base64.b64encode(zlib.compress(bytes(packed), 9)).decode()


def _signed(column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the differences, small ones of either sign as small numbers (zigzag)."""
    difference = np.diff(column, prepend=0).astype(np.uint32).view(np.int32).astype(np.int64)
    return (difference << 1) ^ (difference >> 31)


def _planes(column: npt.NDArray[np.int64]) -> bytes:
    """Return the lowest bytes of all numbers, then the next ones: the higher ones are mostly alike."""
    numbers = (column & 0xFFFFFFFF).astype("<u4")
    return numbers.view(np.uint8).reshape(-1, 4).T.tobytes()

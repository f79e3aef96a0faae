"""Columns of Arrow rows from the ledger's numbers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from socket import IPPROTO_RAW, IPPROTO_TCP, IPPROTO_UDP
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sockrec.model import addresses, states
from sockrec.recorder.seen import NEVER, Ints

Columns = dict[str, Any]

PROTOCOLS: Final = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp", 136: "udplite", 132: "sctp", IPPROTO_RAW: "raw"}
FAMILIES: Final = {int(socket.AF_INET): "inet", int(socket.AF_INET6): "inet6"}


def array(values: Any, type_: pa.DataType) -> pa.Array:
    """Return a column, NEVER in an array of numbers being null."""
    if not isinstance(values, np.ndarray):
        return values if isinstance(values, pa.Array) else pa.array(values, type_)
    missing = values == NEVER if values.dtype == np.int64 else None
    if missing is not None and not missing.any():
        missing = None
    numbers = pa.array(values, mask=missing)
    return numbers if numbers.type == type_ else numbers.cast(type_)


def batch(schema: pa.Schema, columns: Columns, constant: Mapping[str, Any]) -> pa.RecordBatch:
    """Return the rows of some columns; a missing one has one value in each row, by default null."""
    length = len(next(iter(columns.values())))
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        if values is None:
            values = pa.repeat(pa.scalar(constant.get(field.name), field.type), length)
        arrays.append(array(values, field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def repeated(words: Sequence[str], sizes: Sequence[int]) -> pa.Array:
    """Return each word as often as its size says."""
    return pa.array(np.repeat(np.array(words, dtype=object), sizes), pa.string())


def named(numbers: NDArray[Any], names: Mapping[int, str | None]) -> pa.Array:
    """Return each number's name; a number without one is shown as it is."""
    found, index = np.unique(numbers, return_inverse=True)
    words = [names.get(number, str(number)) for number in found.tolist()]
    return pa.array(words, pa.string()).take(pa.array(index))


def each(numbers: NDArray[Any], text: Callable[[int], str | None]) -> pa.Array:
    """Return the text of each number, which is asked for once."""
    if len(numbers) and (numbers == numbers[0]).all():
        return pa.repeat(pa.scalar(text(int(numbers[0])), pa.string()), len(numbers))
    found, index = np.unique(numbers, return_inverse=True)
    return pa.array([text(number) for number in found.tolist()], pa.string()).take(pa.array(index))


def told(values: NDArray[np.int8]) -> Ints:
    """Return small numbers, of which -1 is none."""
    wide = values.astype(np.int64)
    wide[wide < 0] = NEVER
    return wide


def state_names(state: Ints, connected: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.Array:
    """Return the stored names of states; `connected` marks the protocols that have CLOSE."""
    unconnected = (state == states.CLOSE) & ~connected
    return named(np.where(unconnected, 0, state), {**states.NAMES, 0: "UNCONN"})


def address_texts(high: Ints, low: Ints, ipv6: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
    """Return addresses, given as halves of their 16 bytes, as text."""
    raw = np.stack((high, low), axis=1).view("V16").ravel().tolist()
    if ipv6.all() or not ipv6.any():
        # Most of many are a few: each is looked up once.
        six = bool(ipv6.any())
        known = {one: _address(one, six) for one in set(raw)}
        return [known[one] for one in raw]
    return [_address(one, six) for one, six in zip(raw, ipv6.tolist(), strict=True)]


@lru_cache(maxsize=65_536)
def _address(raw: bytes, ipv6: bool) -> str:
    return addresses.to_text(raw, ipv6)


@lru_cache(maxsize=1024)
def interface(index: int) -> str | None:
    """Return a device's name; None for none."""
    if not index:
        return None
    try:
        return socket.if_indextoname(index)
    except OSError:  # the device is gone, its sockets are not
        return f"if{index}"

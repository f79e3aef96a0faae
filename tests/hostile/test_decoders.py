"""Decoders given bytes that were changed: each raises its one documented error, or returns."""

from __future__ import annotations

import base64
import importlib
import random
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.scale import cases, figures, is_torture
from tests.fuzz import TARGETS, __main__

# A decoder that takes longer for some kilobytes goes round and round.
_SECONDS_EACH = 5
_SECONDS = 60


def _changed(seed: bytes, changes: random.Random) -> bytes:
    """Return bytes with some of them changed, cut out, doubled, or set to what lengths are made of."""
    found = bytearray(seed)
    for _ in range(changes.randrange(1, 6)):
        if not found:
            break
        start = changes.randrange(len(found))
        length = changes.choice((1, 2, 4, 8, 64))
        kind = changes.randrange(5)
        if kind == 0:
            found[start] ^= 1 << changes.randrange(8)
        elif kind == 1:
            found[start : start + length] = changes.choice((b"\0", b"\xff")) * length
        elif kind == 2:
            del found[start : start + length]
        elif kind == 3:
            found[start:start] = found[start : start + length]
        else:
            found[start : start + 4] = changes.getrandbits(32).to_bytes(4, "little")
    return bytes(found[: changes.randrange(len(found) + 1)] if changes.randrange(8) == 0 else found)


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_takes_any_bytes(name: str) -> None:
    target: Any = importlib.import_module(f"tests.fuzz.{name}")
    seeds = target.seeds()
    for seed in seeds:
        target.check(seed)

    @settings(max_examples=cases(150, 5_000), deadline=None)
    @given(st.one_of(st.binary(max_size=300), st.tuples(st.sampled_from(seeds), st.integers(0, 1 << 64))))
    def check(drawn: bytes | tuple[bytes, int]) -> None:
        data = drawn if isinstance(drawn, bytes) else _changed(drawn[0], random.Random(drawn[1]))
        began = time.process_time()
        target.check(data)
        assert time.process_time() - began < _SECONDS_EACH

    check()


def _message(kind: int, body: bytes) -> bytes:
    """Return a sequence number, and a netlink message that has it."""
    return struct.pack("=I", 7) + struct.pack("=IHHII", 16 + len(body), kind, 0, 7, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value


# A footer that contradicts itself (a histogram has not the size that it must have): pyarrow ended itself
_FOOTER = (
    "UEFSMRUAFRQVFCwVAhUAFQYVBhwYBAEAAAAYBAEAAAAWACgEAQAAABgEAQAAABERAAAAAgAAAAIBAQAAABUEGSw1ABgGc2No"
    "ZW1hFQIAFQIlAhgBYSUeTKwTCBEAAAAWAhkcGRwmABwVAhklBgAZGAFhFQAWAhZyFnImCDwYBAEAAAAYBAEAAAAWACgEAQAA"
    "ABgEAQAAABERABkcFQAVABUCADwpRhkmAAIAAAAWchYCJggWcgAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4x"
    "GRwcAAAAoQAAAFBBUjE="
)
# What fuzzing has found.
FOUND = [
    ("netlink", b"\0" + _message(18, bytes(72) + 2 * _attribute(2, bytes(232)))),
    ("netlink", b"\1" + _message(20, bytes(72) + 2 * _attribute(7, bytes(36)))),
    ("unix_diag", _message(2, struct.pack("=i", -(1 << 31)))),
    ("proc_net", b"\5Num\n0000000000000000: 00000002 00000000 00010000 2001 01 12345 /x\n"),
    ("proc_net", b"\5Num\n0000000000000000: 00000002 00000000 00010000 0001 01 99999999999999999999 /x\n"),
    ("trace_pages", struct.pack("=QQII", (1 << 63) - 1, 8, 1 | 1000 << 5, 0)),
    ("segment", base64.b64decode(_FOOTER)),
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_broke_a_decoder_once(name: str, data: bytes) -> None:
    importlib.import_module(f"tests.fuzz.{name}").check(data)


if is_torture():
    # Coverage-guided, for minutes: `python -m tests.fuzz` is the same.
    @pytest.mark.timeout(2 * _SECONDS + 300)
    @pytest.mark.parametrize("name", TARGETS)
    def test_a_decoder_takes_what_leads_deeper_into_it(name: str) -> None:
        tried, fault = __main__.run(name, _SECONDS)
        figures(f"fuzzed {name}", inputs=tried)
        assert (fault, tried > 0) == ("", True)

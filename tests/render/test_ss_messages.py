"""Every word of an internet socket against the installed ss, which reads made-up sock_diag messages.

`TCPDIAG_FILE` is ss's own way to show a dump of earlier: so anything that a kernel may say is compared, what
this one can't be made to say included (DCTCP, TLS, clocks that ran for weeks).
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import diag
from tests.support.netns import Namespace
from tests.support.proc_rows import names_of
from tests.support.ss_judge import difference, replayed, run_ss

U31 = st.one_of(st.sampled_from([0, 1, 2, 3]), st.integers(0, 5000), st.integers(0, (1 << 31) - 1))
U64 = st.one_of(U31, st.integers(0, (1 << 63) - 1))
U8 = st.integers(0, 255)
PORT = st.one_of(st.just(0), st.integers(1, 65535))
INET = st.one_of(st.sampled_from([bytes(4), b"\x7f\0\0\1", b"\x0a\0\0\5"]), st.binary(min_size=4, max_size=4))
INET6 = st.one_of(
    st.sampled_from(
        [bytes(16), bytes(15) + b"\1", bytes(10) + b"\xff\xff\x0a\0\0\5", b"\xfe\x80" + bytes(14)]
    ),
    st.binary(min_size=16, max_size=16),
)
WORD = st.sampled_from([b"cubic", b"bbr", b"reno", b"a_name_of_15chr"])
# Of a timer that ran out to one of weeks, with every unit of time between.
EXPIRES = st.one_of(st.integers(0, 70_000), st.integers(0, 700_000), U31)


@st.composite
def tcp_infos(draw: st.DrawFn, listening: bool, recv_q: int) -> bytes:
    """Draw a struct tcp_info: of this kernel, of an older one with fewer fields, or of a newer one."""
    info = bytearray(diag.TCP_INFO_BYTES + 16)
    filled = draw(st.sampled_from([0.2, 1.0]))
    for name, kind, offset in diag.TCP_INFO:
        if draw(st.floats(0, 1)) <= filled:
            values = {"B": U8, "I": U31, "Q": U64}[kind]
            struct.pack_into(f"={kind}", info, offset, draw(values))
        if name in ("pacing_rate", "max_pacing_rate") and draw(st.booleans()):
            struct.pack_into("=Q", info, offset, (1 << 64) - 1)
        if name == "min_rtt_us" and draw(st.booleans()):
            struct.pack_into("=I", info, offset, 0xFFFFFFFF)
        if name == "rto_us" and draw(st.booleans()):
            struct.pack_into("=I", info, offset, 3_000_000)
        if name == "reordering" and draw(st.booleans()):
            struct.pack_into("=I", info, offset, 3)
        if name == "snd_ssthresh" and draw(st.booleans()):
            struct.pack_into("=I", info, offset, draw(st.sampled_from([0xFFFE, 0xFFFF, 0x7FFFFFFF])))
    info[6:8] = draw(st.binary(min_size=2, max_size=2))
    if listening:
        struct.pack_into("=I", info, 24, recv_q)  # tcp_get_info(): the queue
    return bytes(info[: draw(st.sampled_from([104, 136, 192, 232, 248]))])


def attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


@st.composite
def memories(draw: st.DrawFn) -> bytes:
    words = draw(st.lists(U31, min_size=9, max_size=9))
    words[4] = draw(st.integers(0, (1 << 32) - 1))
    return struct.pack("=9I", *words)[: draw(st.sampled_from([28, 32, 36]))]


@st.composite
def upper_protocols(draw: st.DrawFn) -> bytes:
    """Draw INET_DIAG_ULP_INFO: a name, and what TLS or MPTCP adds."""
    name = draw(st.sampled_from([b"tls", b"mptcp", b"smc"]))
    payload = attribute(diag.ULP_NAME, name + b"\0")
    if name == b"tls":
        inner = b""
        for kind, values in (
            (1, [0x0303, 0x0304, 0x0305]), (2, [51, 52, 53]), (3, [1, 2, 3, 4, 5]), (4, [1, 2, 3, 4, 5]),
        ):  # fmt: skip
            if draw(st.booleans()):
                inner += attribute(kind, struct.pack("=H", draw(st.sampled_from(values))))
        if draw(st.booleans()):
            inner += attribute(5, b"")
        payload += attribute(diag.ULP_TLS, inner)
    if name == b"mptcp":
        inner = b""
        for kind, form in (
            (1, "I"),
            (2, "I"),
            (4, "Q"),
            (5, "I"),
            (6, "I"),
            (7, "H"),
            (8, "I"),
            (9, "B"),
            (10, "B"),
        ):
            if draw(st.integers(0, 9)):
                most = 0x1FF if kind == 8 else 255 if form == "B" else 65535
                inner += attribute(kind, struct.pack(f"={form}", draw(st.integers(0, most))))
        payload += attribute(diag.ULP_MPTCP, inner)
    return payload


@st.composite
def messages(draw: st.DrawFn, raw: bool) -> bytes:
    """Draw what the kernel may say of a TCP socket, or of a raw one (raw_diag)."""
    family, address = draw(st.sampled_from([(socket.AF_INET, INET), (socket.AF_INET6, INET6)]))
    state = draw(st.sampled_from([1, 7] if raw else [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]))
    recv_q, inode = draw(U31), draw(U31)
    timer = 0 if raw else draw(st.integers(0, 6))
    protocol = draw(st.sampled_from([1, 2, 6, 17, 33, 58, 89, 255]))
    told = b""

    def add(kind: int, values: st.SearchStrategy[bytes]) -> None:
        nonlocal told
        if draw(st.integers(0, 3)):
            told += attribute(kind, draw(values))

    add(diag.SKMEMINFO, memories())
    add(diag.SHUTDOWN, st.sampled_from([b"\0", b"\1", b"\2", b"\3"]))
    add(diag.MARK, U31.map(lambda mark: struct.pack("=I", mark)))
    add(diag.CGROUP_ID, st.sampled_from([1, 0xABCDEF123]).map(lambda number: struct.pack("=Q", number)))
    if family == socket.AF_INET6:
        add(diag.SKV6ONLY, st.sampled_from([b"\0", b"\1"]))
    with_info = False
    if raw:
        told += attribute(diag.PROTOCOL, bytes([protocol]))
    elif draw(st.integers(0, 4)):
        with_info = True
        told += attribute(diag.INFO, draw(tcp_infos(state == 10, recv_q)))
        add(diag.CONG, WORD.map(lambda word: word + b"\0"))
        special = draw(st.integers(0, 6))
        if special == 0:
            add(diag.VEGASINFO, st.tuples(st.booleans(), U31, st.sampled_from([0, 5, 0x7FFFFFFF]), U31).map(
                lambda four: struct.pack("=4I", *four)))  # fmt: skip
        elif special == 1:
            add(diag.DCTCPINFO, st.tuples(st.booleans(), st.integers(0, 1), U31, U31, U31).map(
                lambda five: struct.pack("=2H3I", *five)))  # fmt: skip
        elif special == 2:
            add(diag.BBRINFO, st.tuples(U31, U31, U31, st.integers(0, 999), st.integers(0, 999)).map(
                lambda five: struct.pack("=5I", *five)))  # fmt: skip
        elif special == 3:
            told += attribute(diag.ULP_INFO, draw(upper_protocols()))
    # What the kernel says of a connection that awaits accept(2); captures name its listener's user.
    asked_for = state == 3 and not inode and not with_info
    head = diag.MESSAGE.pack(
        family, state, timer, draw(U8), socket.htons(protocol if raw else draw(PORT)),
        socket.htons(draw(PORT)),
        draw(address), draw(address), 1 if draw(st.booleans()) else 0, draw(st.integers(1, (1 << 63) - 1)),
        draw(EXPIRES), recv_q, draw(U31), 0 if asked_for else draw(U31), inode,
    )  # fmt: skip
    return head + told


@pytest.fixture(scope="module")
def empty() -> Any:
    with Namespace() as namespace:
        yield namespace


def dumped(path: Path, told: list[bytes]) -> None:
    """Write messages as `ss --diag` does."""
    with path.open("wb") as file:
        for message in told:
            file.write(struct.pack("=IHHII", 16 + len(message), 20, 0, 0, 0) + message)
        file.write(struct.pack("=IHHII", 20, diag.NLMSG_DONE, 0, 0, 0) + bytes(4))


AROUND = diag.Surroundings(interfaces={1: "lo"}, cgroups={1: "/"})
# A file answers what was not asked as well, so that -i and -m go together.
FLAGS = ("-tan", "-tanim", "-tanimO", "-tao", "-tane", "-taime", "-tanoemiO --cgroup", "-Htanoeim")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(st.lists(messages(raw=False), min_size=1, max_size=12), st.sampled_from(FLAGS))
def test_tcp(empty: Namespace, tmp_path: Path, told: list[bytes], flags: str) -> None:
    compare(empty, tmp_path, told, "tcp", flags)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(messages(raw=True), min_size=1, max_size=8), st.sampled_from(["-twanemo", "-wtano", "-wtanm"])
)
def test_raw_of_a_kernel_that_has_raw_diag(
    empty: Namespace, tmp_path: Path, told: list[bytes], flags: str
) -> None:
    compare(empty, tmp_path, told, "raw", flags)


def compare(empty: Namespace, folder: Path, told: list[bytes], protocol: str, flags: str) -> None:
    path = folder / "dump"
    # The order in which ss asks the kernel: all of IPv4 first.
    told.sort(key=lambda message: message[0])
    dumped(path, told)
    theirs = run_ss(empty, flags.split(), {"TCPDIAG_FILE": str(path)})
    rows = [diag.inet_row(message, protocol, AROUND) for message in told]
    ours = replayed((rows, []), flags, names_of(empty, []))
    assert ours == theirs, difference(theirs, ours)

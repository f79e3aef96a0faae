"""Identities of sockets that were read without a cookie: numbers that captures keep."""

from __future__ import annotations

from typing import Any

import pytest

from sockrec.model.states import CLOSE, ESTABLISHED, LISTEN, TIME_WAIT
from sockrec.recorder import observed
from tests.recorder.events.support import inet

LISTENER: dict[str, Any] = {
    "local_port": 7071,
    "remote_port": 0,
    "remote": "0.0.0.0",
    "state": LISTEN,
    "inode": 5,
}
CONNECTED: dict[str, Any] = {"local_port": 7071, "remote_port": 40000, "state": ESTABLISHED, "inode": 5}
UDP: dict[str, Any] = {
    "protocol": 17, "local": "::1", "remote": "::", "local_port": 53, "remote_port": 0, "state": CLOSE,
    "inode": 2**32 - 1,
}  # fmt: skip


def keys(*sockets: dict[str, Any]) -> list[int]:
    found: list[int] = observed.of_inet(
        inet([{"cookie": 0, "uid": 0} | one for one in sockets]), ()
    ).key.tolist()
    return found


def test_made_identities_are_those_that_captures_have() -> None:
    """Of one boot, those of two recordings are compared: another version makes the same ones."""
    assert keys(LISTENER, CONNECTED, UDP) == [
        -9022143579143714887,
        -7738274265731356423,
        -2370648622835069801,
    ]


def test_a_cookie_is_the_identity() -> None:
    assert keys(LISTENER | {"cookie": 77}, LISTENER)[0] == 77


def test_a_connection_stays_itself_when_it_loses_its_inode() -> None:
    assert len(set(keys(CONNECTED, CONNECTED | {"state": TIME_WAIT, "inode": 0}))) == 1


@pytest.mark.parametrize("socket", [LISTENER, UDP])
def test_what_is_bound_again_is_another(socket: dict[str, Any]) -> None:
    assert len(set(keys(socket, socket | {"inode": 6}))) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": 132},
        {"local_port": 7072},
        {"remote_port": 40001},
        {"local": "10.0.0.6"},
        {"remote": "10.0.0.6"},
        {"local": "::ffff:10.0.0.5"},
    ],
)
def test_each_part_of_an_identity_counts(other: dict[str, Any]) -> None:
    assert len(set(keys(CONNECTED, CONNECTED | other))) == 2

"""How connections end, told of both ends: of those that samples saw, and of those that none did."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.events.pairs import ATTEMPTS, ENDINGS, Pair, attempt, wires
from tests.events.recorded import MILLISECOND, assert_nothing_lost, moment, recorded, rows

pytestmark = pytest.mark.moments

PORTS = range(9100, 9100 + len(ENDINGS))
VAIN = range(9300, 9300 + len(ATTEMPTS))


@pytest.mark.parametrize("sampled", [False, True], ids=["unsampled", "sampled"])
def test_every_way_is_named_at_both_ends(tmp_path: Path, sampled: bool) -> None:
    captures = {"client": tmp_path / "client", "server": tmp_path / "server"}
    interval = "300ms" if sampled else "10s"
    truth: dict[int, tuple[datetime, datetime]] = {}
    pairs: list[Pair] = []
    with wires() as between:
        try:
            with (
                recorded(between.client, captures["client"], interval=interval) as one,
                recorded(between.server, captures["server"], interval=interval) as other,
            ):
                for port, ending in zip(PORTS, ENDINGS.values(), strict=True):
                    pairs.append(Pair(between, ending.address, port))
                if sampled:
                    one.more_samples(2)
                    other.more_samples(2)
                for port, ending, pair in zip(PORTS, ENDINGS.values(), pairs, strict=True):
                    before = datetime.now(UTC)
                    ending.end(between, pair)
                    truth[port] = (before, datetime.now(UTC))
                for port, vain in zip(VAIN, ATTEMPTS.values(), strict=True):
                    attempt(between, vain, port)
                if not sampled:
                    # Of what no sample saw, an end is told when its program lets go of the socket.
                    for ending, pair in zip(ENDINGS.values(), pairs, strict=True):
                        pair.let_go(
                            client=ending.client != "still open", server=ending.server != "still open"
                        )
                one.stop()
                other.stop()
        finally:
            for pair in pairs:
                pair.close()
    for role, capture in captures.items():
        side = "remote_port" if role == "client" else "local_port"
        found = rows(
            capture,
            f"SELECT {side} AS port, role, established, how, closed_not_before, closed_not_after "
            f"FROM connections WHERE {side} IN {(*PORTS, *VAIN)} ORDER BY 1",
        )
        told = [(row["port"], row["role"], row["established"], words_of(row)) for row in found]
        expected = [
            (port, role, True, getattr(ending, role))
            for port, ending in zip(PORTS, ENDINGS.values(), strict=True)
        ]
        if role == "client":
            expected += [
                (port, role, False, vain.how) for port, vain in zip(VAIN, ATTEMPTS.values(), strict=True)
            ]
        assert told == expected
        for row in found:
            first, last = moment(row["closed_not_before"]), moment(row["closed_not_after"])
            assert first == last, row
            if last is not None and row["port"] in truth:
                before, after = truth[row["port"]]
                assert before - MILLISECOND <= last <= after + 20 * MILLISECOND, row
        seen = rows(
            capture,
            f"SELECT DISTINCT sampled FROM events WHERE kind = 'closed' AND {side} IN {tuple(PORTS)}",
        )
        assert seen == [{"sampled": sampled}]
        assert_nothing_lost(capture)


def words_of(row: dict[str, Any]) -> str | None:
    """Return how a connection ended, as the endings name it."""
    if row["closed_not_after"] is None:
        assert row["how"] is None, row
        return "still open"
    how: str | None = row["how"]
    return how


def test_counters_survive_where_the_kernel_keeps_them(tmp_path: Path) -> None:
    """A half-closed connection: bytes that came after the FIN of the other side, which is no byte itself."""
    capture = tmp_path / "cap"
    with wires() as between:
        port = PORTS[0]
        pair = Pair(between, ENDINGS["the client is done first"].address, port)
        with recorded(between.client, capture, interval="10s"):
            ENDINGS["the client is done first"].end(between, pair)
        pair.close()
    (row,) = rows(
        capture,
        "SELECT bytes_sent, bytes_received, opened_as FROM connections WHERE remote_port = 9100",
    )
    assert row == {"bytes_sent": 0, "bytes_received": 8, "opened_as": "found"}

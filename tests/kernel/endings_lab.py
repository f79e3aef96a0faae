"""Real connections that end, and all that is told of their sockets."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest

from sockrec.kernel import endings, transitions
from sockrec.kernel.arrays import FIELD, InetSockets
from sockrec.kernel.destroyed import DestroyedSource
from sockrec.kernel.endings import CAUSES
from sockrec.kernel.tracing import Tracer
from sockrec.model.states import CLOSE, NAMES, NUMBERS
from tests.support.netns import Namespace
from tests.support.short_lived import cookie_of, listening, until

NO_LINGER = struct.pack("ii", 1, 0)


class Lab:
    """All that is told of the sockets of some namespaces."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.sources: list[DestroyedSource] = []

    def hear(self, namespace: Namespace) -> None:
        with namespace.entered():
            self.sources.append(DestroyedSource(1 << 20))

    def ends(self, *cookies: int) -> list[str]:
        """Tell of each socket its last state before CLOSE, the cause, bytes written and come in if known."""
        parts: list[InetSockets] = []
        until(lambda: self._announced(parts, cookies))
        time.sleep(0.005)
        sockets, trace = InetSockets.concat(parts), self.tracer.read()
        assert trace.lost == 0
        changes, ends = transitions.transitions(trace), transitions.cookies(trace)
        received, sent = endings.resets_received(trace), endings.resets_sent(trace)
        errors = endings.errors(trace)
        at = endings.sockets_of(errors, changes)
        places = [int(np.flatnonzero(ends.cookie == cookie)[0]) for cookie in cookies]
        rows, clients, seen = [], [], []
        for skaddr, over in zip(ends.skaddr[places], ends.times[places], strict=True):
            began = max(ends.times[(ends.skaddr == skaddr) & (ends.times < over)], default=0)
            mine = (changes.skaddr == skaddr) & (changes.times > began) & (changes.times <= over)
            (path,) = np.nonzero(mine)
            *_, before, row = path[: np.flatnonzero(changes.new_state[path] == CLOSE)[-1] + 1]
            since, closed = changes.times[before], changes.times[row]
            rows.append(row)
            clients.append(NUMBERS["SYN_SENT"] in changes.new_state[path])
            told = errors.error[(at == skaddr) & (errors.times >= closed) & (errors.times <= over)]
            seen.append((
                skaddr in received.skaddr[(received.times > since) & (received.times <= closed)],
                skaddr in sent.skaddr[(sent.times > since) & (sent.times <= over)],
                told[0] if len(told) else 0,
            ))  # fmt: skip
        last = changes.take(np.array(rows))
        found = [int(np.flatnonzero(sockets.cookie == cookie)[0]) for cookie in cookies]
        acked, came, recv_q, send_q = (
            sockets.activity[FIELD[name], found]
            for name in ("bytes_acked", "bytes_received", "recv_q", "send_q")
        )
        cause = endings.causes(last, *(np.array(column) for column in zip(*seen, strict=True)))
        cause = endings.unanswered(cause, last.old_state, send_q)
        written = endings.bytes_written(last.old_state, np.array(clients), acked, send_q)
        inside = endings.ended_in_interrupt(trace)[places]
        came = endings.bytes_from_peer(last, cause, ends.times[places], inside, came, recv_q)
        return [
            f"{NAMES[state]}: {CAUSES[code]}" + (f", {out} {in_}" if port else "")
            for state, code, out, in_, port in zip(
                *(each.tolist() for each in (last.old_state, cause, written, came)),
                sockets.remote_port[found].tolist(),
                strict=True,
            )
        ]

    def _announced(self, parts: list[InetSockets], cookies: tuple[int, ...]) -> bool:
        parts += [source.read().sockets for source in self.sources]
        return set(cookies) <= {int(cookie) for part in parts for cookie in part.cookie}


@pytest.fixture
def lab(netns: Namespace) -> Iterator[Lab]:
    with Tracer() as tracer, netns.entered():
        assert transitions.enable(tracer) == ""
        assert endings.enable(tracer) == []
        made = Lab(tracer)
        made.hear(netns)
        yield made
        for source in made.sources:
            source.close()


def pair(address: str = "10.0.0.5") -> tuple[socket.socket, socket.socket, int, int]:
    """Connect; the client says 1000 bytes, the server 3000. Returns both ends and their cookies."""
    with listening(address) as listener:
        client = socket.create_connection((address, listener.getsockname()[1]), timeout=10)
        server, _ = listener.accept()
    server.settimeout(10)
    say(client, server, 1000)
    say(server, client, 3000)
    return client, server, cookie_of(client), cookie_of(server)


def say(one: socket.socket, other: socket.socket, size: int) -> None:
    one.sendall(b"x" * size)
    assert len(other.recv(size, socket.MSG_WAITALL)) == size


def reset(one: socket.socket, _other: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    one.close()

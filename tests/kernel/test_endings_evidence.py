"""What an ending is told from: nothing that may be missing, nothing that is another socket's."""

from __future__ import annotations

import errno
import time

import numpy as np
import pytest

from sockrec.kernel import endings, transitions
from sockrec.kernel.endings import CAUSES
from sockrec.kernel.tracing import Tracer
from sockrec.model.states import CLOSE, NUMBERS
from tests.kernel.endings_lab import Lab, lab, pair, reset

__all__ = ["lab"]


def test_what_may_be_missing_proves_nothing(lab: Lab) -> None:
    client, server, *_ = pair()
    reset(client, server)
    server.close()
    time.sleep(0.02)
    ends = transitions.transitions(lab.tracer.read())
    ends = ends.take((ends.new_state == CLOSE) & (ends.old_state == NUMBERS["ESTABLISHED"])).take(
        np.arange(2)
    )
    no, none = np.zeros(2, np.bool_), np.zeros(2, np.int32)
    ends.thread[:] = 1
    for state, told, without in (
        ("LISTEN", None, None),
        ("ESTABLISHED", None, None),
        ("CLOSE_WAIT", None, None),
        ("FIN_WAIT1", "timed out", None),
        ("SYN_SENT", "closed by us", None),
        ("LAST_ACK", "closed by the peer", "closed by the peer"),
    ):
        ends.old_state[:] = NUMBERS[state]
        assert [CAUSES[code] for code in endings.causes(ends, no, no, none)] == [told] * 2
        assert [CAUSES[code] for code in endings.causes(ends, no, no, none, whole=False)] == [without] * 2
    # Either of the two tells a refusal; a reset that a listener sends is another's.
    for state, received, sent, error, told in (
        ("SYN_SENT", True, False, 0, "refused"),
        ("SYN_SENT", False, False, errno.ECONNREFUSED, "refused"),
        ("LISTEN", False, True, 0, None),
    ):
        ends.old_state[:] = NUMBERS[state]
        code = endings.causes(ends, no | received, no | sent, none + error)[0]
        assert CAUSES[code] == told


def test_an_error_belongs_to_the_socket_that_just_ended(lab: Lab) -> None:
    """IP_RECVERR reports errors of connections that go on."""
    client, server, *_ = pair()
    ports = [end.getsockname()[1] for end in (client, server)]
    reset(client, server)
    server.close()
    time.sleep(0.02)
    changes = transitions.transitions(lab.tracer.read())
    # The trace is of the whole host: others' connections end meanwhile.
    changes = changes.take(np.isin(changes.local_port, ports) & np.isin(changes.remote_port, ports))
    rows = changes.take(np.isin(changes.old_state, (NUMBERS["ESTABLISHED"], NUMBERS["SYN_RECV"])))
    ends = (rows.family, rows.local, rows.remote, rows.local_port, rows.remote_port)
    errors = endings.SocketErrors(rows.times + 1, np.ones(len(rows), np.int32), *ends)
    closed = rows.new_state == CLOSE
    assert sorted(closed) == [False, True, True]
    assert endings.sockets_of(errors, changes).tolist() == np.where(closed, rows.skaddr, 0).tolist()


def test_what_this_kernel_lacks_is_said_in_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a filter by a field that it lacks is done without."""
    monkeypatch.setattr(endings, "_CONDITIONS", {
        "tcp/none": ("",), endings.SENT: ("colour==1", "skaddr!=0"), "sock/none": ("",),
    })  # fmt: skip
    monkeypatch.setattr(endings, "_LOST", {"tcp/none": "the one", "sock/none": "the other"})
    with Tracer() as tracer:
        transitions.enable(tracer)
        why = "can't be enabled: No such file or directory: it is not known"
        assert endings.enable(tracer) == [
            f"tracepoint tcp/none {why} the one",
            f"tracepoint sock/none {why} the other",
        ]
        trace = tracer.read()
    assert list(trace.events)[2:] == [endings.SENT]
    assert not len(endings.resets_received(trace))
    assert not len(endings.resets_sent(trace))
    assert not len(endings.errors(trace))
    assert not len(endings.sockets_of(endings.errors(trace), transitions.transitions(trace)))

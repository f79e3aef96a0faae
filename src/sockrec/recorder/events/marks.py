"""Resets and errors among the state changes: a chain then tells how its connection ended."""

from __future__ import annotations

from typing import Final

import numpy as np

from sockrec.kernel import endings
from sockrec.kernel.arrays import I32, I64
from sockrec.kernel.tracing import Trace
from sockrec.kernel.transitions import Transitions
from sockrec.recorder.events import chains

FIRST: Final = 100
"""States from here on are marks."""
RESET_RECEIVED: Final = 100
RESET_SENT: Final = 101
ERROR: Final = 102
"""The mark's `remote_port` is the errno."""


def of(trace: Trace, changes: Transitions) -> Transitions:
    """Return what a trace tells of ends as changes from and to a state that marks them.

    `changes` are those of this trace and the last before.
    """
    received, sent = endings.resets_received(trace), endings.resets_sent(trace)
    errors = endings.errors(trace)
    address = endings.sockets_of(errors, changes)
    known = address != 0
    return chains.joined(
        _marked(received.times, received.skaddr, RESET_RECEIVED),
        _marked(sent.times, sent.skaddr, RESET_SENT),
        _marked(errors.times[known], address[known], ERROR, errors.error[known]),
    )


def _marked(times: I64, skaddr: I64, mark: int, error: I32 | None = None) -> Transitions:
    marked = chains.blank(len(times))
    marked.times, marked.skaddr = times, skaddr
    marked.old_state = marked.new_state = np.full(len(times), mark, np.uint8)
    if error is not None:
        marked.remote_port = error
    return marked

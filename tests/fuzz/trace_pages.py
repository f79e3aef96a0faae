"""Pages of the trace ring buffer, and the events in them. Input: pages of 4096 bytes, the last one short."""

from __future__ import annotations

import numpy as np

from sockrec.kernel import endings, process_events, transitions
from sockrec.kernel.process_events import ProcessEvents
from sockrec.kernel.ring_buffer import walk_each, walk_together
from sockrec.kernel.tracing import Trace, Tracer, _Event, _record, _settle
from tests.fuzz import kernel_seeds

PAGE = 4096
HEADER_WORDS = 4


def seeds() -> list[bytes]:
    """Return real pages, two at a time."""
    pages, _, _ = kernel_seeds.trace()
    assert pages
    return [pages[start : start + 2 * PAGE] for start in range(0, len(pages), 2 * PAGE)]


def check(data: bytes) -> None:
    """Walk and decode them: nothing is raised, both walks agree, no record leaves its page."""
    _, numbers, formats = kernel_seeds.trace()
    count = -(-len(data) // PAGE)
    if not count:
        return
    pages = np.frombuffer(data.ljust(count * PAGE, b"\0"), np.uint32).reshape(count, -1)
    one, other = walk_each(pages, HEADER_WORDS), walk_together(pages, HEADER_WORDS)
    for first, second in zip(
        (one.starts, one.lengths, one.times), (other.starts, other.lengths, other.times), strict=True
    ):
        assert np.array_equal(first, second)
    width = PAGE // 4
    assert ((one.starts + one.lengths - 1) // width == one.starts // width).all()

    tracer = object.__new__(Tracer)  # its files are the kernel's; what it makes of pages is not
    tracer._buffer, tracer._header_words = pages, HEADER_WORDS
    tracer._events = {number: (name, _Event(_record(formats[name]))) for number, name in numbers.items()}
    tracer._decode(count)
    until = int(one.times.max()) if len(one) else 0
    trace = Trace(
        {name: _settle(event, until) for name, event in tracer._events.values()}, 0, until // 1000, 0, 0
    )
    changes = transitions.transitions(trace)
    assert len(transitions.tie(changes, transitions.cookies(trace))) == len(changes)
    endings.ended_in_interrupt(trace)
    endings.resets_received(trace)
    endings.resets_sent(trace)
    endings.sockets_of(endings.errors(trace), changes)
    events = object.__new__(ProcessEvents)
    events._preparing, events._renamed = {}, {}
    execs = events.execs(trace)
    assert len(execs) == len(trace.events[process_events.EXEC])
    process_events.exits(trace)
    process_events.signals(trace)
    process_events.oom_kills(trace)

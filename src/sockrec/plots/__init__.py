"""Figures of what a capture holds, for notebooks and pages; they need `pip install 'sockrec[plots]'`.

    import sockrec, sockrec.plots

    with sockrec.open("incident") as capture:
        sockrec.plots.listening(capture, 7071).show()

All share one axis: local time of the capture, at the offset from UTC that held when it began (named
under the axis), from its first sample to its last. Gaps of the recording are grey. A figure holds
its data: it can be shown after the capture was closed.
"""

from sockrec.plots.activity import connections, queues, states
from sockrec.plots.calls import calls
from sockrec.plots.held import programs
from sockrec.plots.periods import listening
from sockrec.plots.rates import rates

__all__ = ["calls", "connections", "listening", "programs", "queues", "rates", "states"]

"""Questions asked beside the screen: the viewer goes on being used meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from sockrec.view.source import Source

Words = ParamSpec("Words")
Answer = TypeVar("Answer")

_ROUND_S = 0.02


class Background:
    """A thread that asks one question after the other; of those that nobody waits for any more, none."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"sockrec-{name}")
        self._last: Future[object] | None = None

    async def ask(
        self, question: Callable[Words, Answer], *args: Words.args, **kwargs: Words.kwargs
    ) -> Answer:
        """Return the answer, and let the screen be used until it is there."""
        future = self._pool.submit(question, *args, **kwargs)
        self._last = future  # type: ignore[assignment]
        return await asyncio.wrap_future(future)

    def end(self, source: Source | None) -> None:
        """Ask nothing more; what is being asked of a source is broken off."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        # Between two statements there is nothing to break off: the next one is.
        while self._last is not None and not self._last.done():
            if source is not None:
                source.interrupt()
            time.sleep(_ROUND_S)
        self._pool.shutdown()

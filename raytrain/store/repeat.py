"""Work that is done again and again beside the work that counts: flushing, renewing what onlookers see.

The invariant: it never ends or delays what it serves. What fails is tried at the next turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Repeating:
    """Calls `work` every so many seconds on a thread of its own, until `end`, which waits for a call in progress."""

    def __init__(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        self._seconds, self._work = seconds, work
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"raytrain-{name}", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self._work()
            except Exception:  # the next turn tries again
                pass

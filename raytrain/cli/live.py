"""What a person sees while a run works: a live line in a terminal, plain lines anywhere else.

Never both. It reads the run's progress object, so the same view serves a worker in this process or far away.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raytrain.errors import Superseded
from raytrain.store import Store

PLAIN_EVERY_SECONDS = 10.0  # between two bars where a line cannot be renewed: a log file, a pipe, the journal
POLL_SECONDS = 0.5


GIVE_WAY_SECONDS = 15.0


def stop_here() -> None:
    """What a request to stop does to this process: the same as Ctrl-C on its terminal."""
    os.kill(os.getpid(), signal.SIGTERM)


def give_way(error: Superseded) -> None:
    """Ends this process when another attempt has taken over and we have not ended by ourselves.

    A driver that slept for long finds its cluster gone and may wait for it for ever; whatever it would still do does
    not count any more. Its cluster dies with it.
    """
    time.sleep(GIVE_WAY_SECONDS)
    print(f"superseded: {error}", file=sys.stderr, flush=True)
    os._exit(3)


class Live:
    """Lines through `say`; while `training` is open, one renewed line (terminal) or one every ten seconds."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self._bar = ""
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        with self._lock:
            self._wipe()
            print(line, file=sys.stderr, flush=True)
            self._draw()

    @contextmanager
    def training(
        self, store: Store, run: str, attempt: int, usd_per_hour: float, note: Callable[[str], None]
    ) -> Iterator[None]:
        """Follows the progress object of an attempt until the block ends; its lines also go to `note`."""
        stop = threading.Event()
        seen = (store, run, attempt, usd_per_hour, note, stop)
        follower = threading.Thread(target=self._follow, args=seen, daemon=True)
        follower.start()
        try:
            yield
        finally:
            stop.set()
            follower.join()
            with self._lock:
                self._wipe()
                self._bar = ""

    def _follow(
        self,
        store: Store,
        run: str,
        attempt: int,
        usd_per_hour: float,
        note: Callable[[str], None],
        stop: threading.Event,
    ) -> None:
        from raytrain.train.progress import read_progress

        start, said, printed = time.time(), ("", 0), 0.0
        total: int | None = None
        speeds: list[tuple[float, int]] = []
        while True:
            last = stop.wait(POLL_SECONDS if store.local else 3 * POLL_SECONDS)
            try:
                state = read_progress(store, run)
            except Exception:  # only a display
                state = None
            if state is not None and state["attempt"] == attempt:
                for number, line in state["lines"]:
                    if state["leg"] != said[0] or number > said[1]:
                        self.say(f"  {line}")
                        note(f"  {line}")
                        said = (state["leg"], number)
                total = state.get("max_steps", total)
                if "loss" in state:
                    speeds = [*speeds[-60:], (time.time(), int(state["step"]))]
                    bar = _bar(state, total, speeds, (time.time() - start) / 3600 * usd_per_hour)
                    plain = last or time.time() - printed >= PLAIN_EVERY_SECONDS
                    self._show(bar, plain, last)
                    if plain:
                        note(f"  {bar}")
                        printed = time.time()
            if last:
                return

    def _show(self, bar: str, plain: bool, last: bool) -> None:
        if self.terminal:
            with self._lock:
                self._wipe()
                self._bar = "" if last else bar
                self._draw()
        elif plain:
            self.say(f"  {bar}")

    def _wipe(self) -> None:
        if self.terminal and self._bar:
            print("\r\x1b[2K", end="", file=sys.stderr)

    def _draw(self) -> None:
        if self.terminal and self._bar:
            print(self._bar, end="", file=sys.stderr, flush=True)


def _bar(state: dict[str, Any], total: int | None, speeds: list[tuple[float, int]], usd: float) -> str:
    step = int(state["step"])
    parts = [f"step {step:,}" + (f"/{total:,}" if total else "")]
    if total:
        done = int(20 * step / total)
        parts.insert(0, "█" * done + "·" * (20 - done))
    parts.append(f"loss {state['loss']:.3f}")
    if "val_bits_per_byte" in state:
        parts.append(f"val {state['val_bits_per_byte']:.3f} bpb")
    parts.append(f"{state['tokens_per_second']:,.0f} tok/s")
    parts.append(f"MFU {state['mfu']:.0%}")
    (t0, s0), (t1, s1) = speeds[0], speeds[-1]
    if total and s1 > s0:
        left = (total - step) * (t1 - t0) / (s1 - s0)
        parts.append(f"ETA {int(left) // 60}:{int(left) % 60:02d}")
    parts.append(f"${usd:.4f}")
    return "  ".join(parts)

"""The signals that end a command between two steps."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

EXIT = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}  # SIGUSR1: preempted, run again

ECHO = 1.0  # seconds


def end_when_preempted() -> None:
    """SIGUSR1 ends this process with its exit code also where nothing is under way: it is one to run again."""
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(EXIT[signal.SIGUSR1]))


class Signals:
    """Remembers the first SIGINT, SIGTERM or SIGUSR1; a second one ends this process at once.

    What comes within ECHO seconds of the first is the same one again: a scheduler and a launcher may both pass it on.
    """

    def __init__(self) -> None:
        self.got: int | None = None
        self._at = 0.0

    def __bool__(self) -> bool:
        return self.got is not None

    @contextmanager
    def caught(self) -> Iterator[Signals]:
        """Within this, signals are remembered instead of obeyed."""
        before = {number: signal.signal(number, self._note) for number in EXIT}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if self.got is None:
            self.got, self._at = number, now
        elif now - self._at >= ECHO:
            os._exit(EXIT[signal.Signals(number)])

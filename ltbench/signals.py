"""The signals that end a command between two steps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

EXIT = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 75}  # SIGUSR1: preempted, run again


def end_when_preempted() -> None:
    """SIGUSR1 ends this process with its exit code also where nothing is under way: it is one to run again."""
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(EXIT[signal.SIGUSR1]))


class Signals:
    """Remembers the first SIGINT, SIGTERM or SIGUSR1; a second one ends this process at once."""

    def __init__(self) -> None:
        self.got: int | None = None

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
        if self.got is not None:
            os._exit(EXIT[signal.Signals(number)])
        self.got = number

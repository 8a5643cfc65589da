"""The process of one worker: it carries out the runs that it is given, one after another."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

from . import runs
from .errors import LtbenchError
from .events import Event
from .signals import EXIT
from .state import Settings
from .trainer import Interrupted, LostError

LEAVE = "leave"  # your run, which another runner has taken over


def work(pipe: Connection, settings: Settings, plugins: Sequence[str], number: int) -> None:
    """A worker's life: take a run, carry it out, until the pipe closes."""
    for each in EXIT:
        signal.signal(each, signal.SIG_IGN)  # a terminal signals the whole group; the parent tells what to do
    signal.pthread_sigmask(signal.SIG_UNBLOCK, EXIT)
    _take_device(settings.device, number)
    from . import registry

    for plugin in plugins:
        registry.load_plugin(plugin)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        if task is None:
            return
        if task == LEAVE:  # a run that has ended since
            continue
        spec, parents = task
        try:
            status = runs.execute(spec, parents, settings, _teller(pipe), _listener(pipe)).status
        except Interrupted:
            status = None
        except LtbenchError as error:  # the record that is there could not be read
            status = "failed"
            pipe.send(Event(spec.key, "finished", f"failed: {error}", status="failed"))
        pipe.send((spec.key, status))


def _listener(pipe: Connection) -> Callable[[], bool]:
    """Whether to stop: told None, or by a parent that has gone. Told LEAVE, it raises LostError."""

    def stop() -> bool:
        if not pipe.poll():
            return False
        with contextlib.suppress(EOFError, OSError):
            if pipe.recv() == LEAVE:
                raise LostError
        return True

    return stop


def _teller(pipe: Connection) -> Callable[[Event], None]:
    """Sends events to the parent; where it is gone, stops the run so that no orphan trains on."""

    def tell(event: Event) -> None:
        try:
            pipe.send(event)
        except OSError:
            raise Interrupted from None

    return tell


def _take_device(device: str, number: int) -> None:
    import torch

    torch.set_num_threads(1)  # two runs of one thread each beat one run of two
    if device == "cuda":
        torch.cuda.set_device(number % torch.cuda.device_count())

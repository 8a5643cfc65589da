"""Which runs of a plan this runner may carry out, where others may be at the same plan in the same folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import state
from .leases import Holder, Leases
from .record import Record
from .runspec import RunSpec
from .state import Settings


class Claims:
    """The runs that are still to be done, each claimed by a lease before it is begun."""

    def __init__(self, todo: Sequence[RunSpec], settings: Settings) -> None:
        self.settings, self.leases = settings, Leases()
        self._lacking = {spec.key for spec in todo if state.done(spec, settings)}  # done, but their weights are needed
        self._before = {spec.key: _stamp(settings.record_path(spec)) for spec in todo}

    def take(self, spec: RunSpec, *workers: int) -> Holder | Record | None:
        """Claim a run for this process and its workers: None where it is ours now.

        Else who is at it, or the record of another runner that has been through with it since we began. Raises OSError
        where the run's folder cannot be written to, and LtbenchError where its record is damaged.
        """
        holder = self.leases.acquire(self.settings.folder(spec), *workers)
        if holder:
            return holder
        try:
            found = self._done_by_others(spec)
        except BaseException:
            self.give_back(spec)
            raise
        if found:
            self.give_back(spec)
        return found

    def _done_by_others(self, spec: RunSpec) -> Record | None:
        before = state.done(spec, self.settings)
        if before:
            return None if spec.key in self._lacking and not state.has_weights(spec, self.settings) else before
        # what has failed in another runner's hands is not tried once more by each of the others
        changed = _stamp(self.settings.record_path(spec)) != self._before[spec.key]
        return state.latest(spec, self.settings) if changed else None

    def give_back(self, spec: RunSpec) -> None:
        """The run has ended, or is left to others."""
        self.leases.release(self.settings.folder(spec))

    def lost(self, spec: RunSpec) -> bool:
        """Whether another runner has taken this run over."""
        return self.leases.lost(self.settings.folder(spec))

    def close(self) -> None:
        """Give all runs back."""
        self.leases.close()


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a record is written anew; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns

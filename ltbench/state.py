"""What of a plan is on the disk, records and weights, and so what is left to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from . import checkpoints
from . import record as records
from .errors import LtbenchError, UnreadableError
from .record import Record
from .runspec import RunSpec

NOT_DONE = "not done"  # why a run is carried out that has no final record


@dataclass(frozen=True)
class Settings:
    """Where a run's files lie and how it is carried out; nothing here may change its numbers on one machine."""

    results: Path
    runs: Path
    data: Path
    device: str = "cpu"  # cpu, cuda or mps
    checkpoint: float = 60.0  # seconds between checkpoints; 0 is every step
    workers: int | None = None  # processes that read files beside each run; None: as many as suit

    def record_path(self, spec: RunSpec) -> Path:
        """The file of a run's record."""
        return self.results / spec.suite / f"{spec.stem}.json"

    def folder(self, spec: RunSpec) -> Path:
        """The folder of a run's checkpoints, weights, logits and log."""
        return self.runs / spec.stem


def latest(spec: RunSpec, settings: Settings) -> Record | None:
    """The record of a run, however it ended. Raises LtbenchError where the record there is damaged."""
    path = settings.record_path(spec)
    try:
        return records.read(path) if path.is_file() else None
    except UnreadableError:
        raise
    except LtbenchError as error:
        raise LtbenchError(f"{error}; `ltbench doctor {settings.results} --fix` puts it aside") from None


def done(spec: RunSpec, settings: Settings) -> Record | None:
    """The record of a run that need not be run again. Raises LtbenchError where the record there is damaged."""
    found = latest(spec, settings)
    return found if found and found.key == spec.key and found.status in records.FINAL else None


def weights_of(spec: RunSpec, settings: Settings) -> dict[str, Tensor] | None:
    """A finished run's weights, for its children; None where they are absent, damaged or not those of its record."""
    record = done(spec, settings)
    numbers = record.numbers if record and record.status == "complete" else ""
    return checkpoints.load_final(settings.folder(spec), spec.key, "weights", numbers)


def has_weights(spec: RunSpec, settings: Settings) -> bool:
    """Whether a finished run's weights are there, whole, for its children."""
    return weights_of(spec, settings) is not None


def outstanding(chosen: Mapping[str, RunSpec], settings: Settings) -> dict[str, str]:
    """key -> why it must be carried out, parents first: no final record yet, or weights that a child lacks."""
    todo: dict[str, str] = {}
    lacking: set[str] = set()
    for key, spec in reversed(list(chosen.items())):
        before = done(spec, settings)
        if before is None:
            todo[key] = NOT_DONE
        elif key in lacking and before.status == "complete" and not has_weights(spec, settings):
            todo[key] = "done, but its weights are needed and absent"
        else:
            continue
        lacking |= {parent.key for parent in spec.parents.values()}
    return {key: todo[key] for key in chosen if key in todo}

"""The record of a run: before it has results, and what comes to stand on the disk when it ends."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import checkpoints, leases, registry, sources, world
from . import record as records
from .errors import LtbenchError, told
from .record import Record, Status
from .runspec import RunSpec
from .state import Settings, done, latest


def describe(spec: RunSpec) -> Record:
    """The record of a run before it has results."""
    dataset_card = {"name": spec.data.label, "counts": spec.counts, "groups": spec.groups}
    return Record.model_validate(
        {
            **{k: v for k, v in asdict(spec.identity).items() if k not in ("fingerprints", "parents")},
            "suite": spec.suite,
            "key": spec.key,
            "status": "failed",
            "label": spec.label,
            "data": {**dataset_card, "fingerprints": spec.identity.fingerprints},
            "suite_recipe": spec.suite_recipe.recorded(),
            "parents": spec.parents,
            "source": sources.source_hash(registry.get(spec.ref.method)),
        }
    )


def numbers(before: Record, results: dict[str, Any]) -> str:
    """Record.numbers of a run that has these results. before: what describe() said as it began."""
    return Record.model_validate(before.model_dump() | results).numbers


def give_up(spec: RunSpec, reason: str, settings: Settings, status: Status = "failed") -> Record:
    """The record of a run that could not begin or end, written unless a final one is there."""
    record = describe(spec).model_copy(update={"status": status, "reason": reason})
    try:
        if done(spec, settings) is None:
            records.write(record, settings.record_path(spec).parent)
    except (OSError, LtbenchError) as error:
        return _unwritten(record, error)
    return record


def publish(record: Record, spec: RunSpec, settings: Settings) -> Record:
    """Write the record, unless a complete one is there: then both must agree. Returns what is true of the run now."""
    path, folder = settings.record_path(spec), settings.folder(spec)
    before = done(spec, settings)
    again = before is not None and before.status == record.status == "complete"
    if again and before and before.numbers != record.numbers:
        checkpoints.forget_final(folder)  # no child may start from weights that are not the record's
        reason = f"trained again, it contradicts {path}: delete that record, or take other --results and --runs"
        return before.model_copy(update={"status": "failed", "reason": reason})
    if world.is_first() and not leases.is_anothers(folder):
        try:
            if not before:
                records.write(record, path.parent)
            if record.status in records.FINAL:
                checkpoints.drop_checkpoints(folder)
        except OSError as error:
            return _unwritten(record, error)
    return record


def publish_alone(record: Record, spec: RunSpec, settings: Settings) -> str:
    """Write what one of several processes may have met alone, unless another has told of this run since it began.

    Returns what to add to its reason: "", or why it could not be written.
    """
    try:
        before = latest(spec, settings)
        ours = before is not None and before.key == spec.key
        told_already = ours and before is not None and before.volatile.finished >= record.volatile.started
        if not told_already and done(spec, settings) is None:
            records.write(record, settings.record_path(spec).parent)
    except (OSError, LtbenchError) as error:
        return f"; its record could not be written ({told(error)})"
    return ""


def _unwritten(record: Record, error: Exception) -> Record:
    """A run whose record is not on the disk has failed, whatever became of it."""
    reason = f"{record.reason or record.status}; its record could not be written ({told(error)})"
    return record.model_copy(update={"status": "failed", "reason": reason})

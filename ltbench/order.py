"""In what order the runs of a plan are carried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from . import state
from .record import Status
from .runspec import RunSpec
from .state import Settings


def by_urgency(todo: Sequence[RunSpec]) -> list[RunSpec]:
    """Seed after seed, and within one what the longest chain of epochs waits for first; parents before children."""
    chain: Counter[str] = Counter()  # key -> epochs from here to the end of the longest chain
    for spec in reversed(todo):  # children stand behind their parents
        chain[spec.key] += spec.recipe.epochs
        for parent in spec.parents.values():
            chain[parent.key] = max(chain[parent.key], chain[spec.key])
    # members of an ensemble have seeds of 1000 and more: they belong to the seed that asks for them
    return sorted(todo, key=lambda spec: (spec.ref.seed % 1000, -chain[spec.key]))


def failed_parents(
    spec: RunSpec, plan: Mapping[str, RunSpec], settings: Settings, ended: Mapping[str, Status]
) -> list[str]:
    """The labels of the parents that are not complete: they ended otherwise, now or in an earlier command."""
    status = {key: _status_of(plan[key], settings, ended) for key in {parent.key for parent in spec.parents.values()}}
    return [parent.label for parent in spec.parents.values() if status[parent.key] != "complete"]


def _status_of(spec: RunSpec, settings: Settings, ended: Mapping[str, Status]) -> Status:
    """How a parent ended, now or in an earlier command."""
    before = None if spec.key in ended else state.done(spec, settings)
    return before.status if before else ended.get(spec.key, "failed")


def ready_among(waiting: Sequence[RunSpec], begun: Sequence[RunSpec] = ()) -> list[RunSpec]:
    """Those that start from nothing that waits or is under way."""
    unfinished = {spec.key for spec in (*waiting, *begun)}
    return [spec for spec in waiting if not unfinished & {parent.key for parent in spec.parents.values()}]

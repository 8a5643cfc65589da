"""Runs one after another in this process, which is one of several that train each run together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

from accelerate.utils import gather_object

from . import machine, outcome, runs, world
from .claims import Claims
from .errors import LtbenchError, told
from .events import Event, Report, by_others, elsewhere
from .leases import Holder
from .order import failed_parents, ready_among
from .record import Status
from .runspec import RunSpec
from .signals import Signals
from .state import Settings
from .trainer import Interrupted, LostError, check_divisible

LOOK = 1.0  # seconds between two looks at a run that another runner is at


def carry_out_together(
    todo: Sequence[RunSpec],
    plan: Mapping[str, RunSpec],
    settings: Settings,
    report: Report,
    signals: Signals,
) -> dict[str, Status]:
    """See jobs.carry_out(). One that fails alone ends itself."""
    _check_batches(todo, world.size())
    try:
        return one_by_one(todo, plan, settings, report, signals)
    except Exception as error:  # in this process alone, perhaps
        runs.end_process(told(error))


def one_by_one(
    todo: Sequence[RunSpec], plan: Mapping[str, RunSpec], settings: Settings, report: Report, stop: Signals
) -> dict[str, Status]:
    """One after another in this process, which is one of several that train each run together.

    The first process claims the runs, and the others do as it says.
    """
    machine.make_accelerator(settings.device, "fp32")  # the processes find each other
    # another runner may have ended a run between two processes' looks at what is left
    todo = [plan[key] for key in machine.agreed([spec.key for spec in todo])]
    claims = Claims(todo, settings) if world.is_first() else None
    ended: dict[str, Status] = {}
    waiting, seen = list(todo), set[str]()
    try:
        while waiting:
            if any(gather_object([bool(stop)])):  # one that was told to stop stops them all
                break
            for spec in ready_among(waiting):
                answer = machine.agreed(claims.take(spec) if claims else None)
                if isinstance(answer, Holder):
                    if spec.key not in seen:
                        report(elsewhere(spec, answer))
                    seen.add(spec.key)
                    continue
                waiting.remove(spec)
                if answer:
                    ended[spec.key] = answer.status
                    report(by_others(spec, answer))
                    break
                failed = machine.agreed(failed_parents(spec, plan, settings, ended) if claims else [])
                if failed:
                    reason = f"it starts from {failed[0]}, which is not complete"
                    if claims:
                        outcome.give_up(spec, reason, settings)
                    ended[spec.key] = "failed"
                    report(Event(spec.key, "finished", f"failed: {reason}", status="failed"))
                else:
                    parents = runs.parents_of(spec, plan)
                    try:
                        asked = partial(_stops, spec, stop, claims)
                        ended[spec.key] = runs.execute(spec, parents, settings, report, asked).status
                    except LostError:  # it is for the other to end it
                        waiting.append(spec)
                if claims:
                    claims.give_back(spec)
                break
            else:  # others are at all of them
                time.sleep(LOOK)
    except Interrupted:
        pass
    finally:
        if claims:
            claims.close()
    return ended


def _stops(spec: RunSpec, stop: Signals, claims: Claims | None) -> bool:
    """Whether this process is told to stop. Raises LostError where another runner has taken the run over."""
    if claims and claims.lost(spec):
        raise LostError
    return bool(stop)


def _check_batches(todo: Sequence[RunSpec], processes: int) -> None:
    """Raises LtbenchError naming each run whose batch cannot be divided by that many processes."""
    faults: dict[str, None] = {}
    for spec in todo:
        try:
            if spec.recipe.epochs:
                check_divisible(spec.recipe, processes)
        except LtbenchError as error:
            faults[f"{spec.label}: {error}"] = None
    if faults:
        raise LtbenchError("\n".join(faults))

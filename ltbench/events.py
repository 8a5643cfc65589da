"""What a run tells while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .leases import Holder
from .record import Record, Status
from .runspec import RunSpec


@dataclass(frozen=True)
class Event:
    """Something that a run tells while it goes on; progress screens and logs are made of these."""

    key: str
    kind: str  # elsewhere, started, resumed, noted, epoch, evaluating, interrupted, finished
    text: str  # one plain line
    epoch: int = 0  # epochs done
    epochs: int = 0
    rate: float = 0.0  # images a second
    terms: Mapping[str, float] = field(default_factory=dict)
    status: Status | None = None


Report = Callable[[Event], None]


def elsewhere(spec: RunSpec, holder: Holder) -> Event:
    """That another runner carries the run out."""
    return Event(spec.key, "elsewhere", f"another runner is at it: {holder}")


def by_others(spec: RunSpec, found: Record) -> Event:
    """How the run ended in another runner's hands."""
    reason = f": {found.reason}" if found.reason else ""
    return Event(spec.key, "finished", f"{found.status}{reason} (by another runner)", status=found.status)

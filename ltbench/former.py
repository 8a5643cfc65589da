"""Finished runs of former settings: in what they differ from the runs that a plan asks for in their place."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from . import record as records
from .keys import Identity, without_off
from .labels import spelled
from .record import Record
from .runspec import RunSpec

HASHES = {"plugin": "source", "fingerprints": "images", "weights": "first weights", "parents": "runs to start from"}


def differences(wanted: Sequence[RunSpec], asked: Container[str], folder: Path) -> dict[str, str]:
    """key -> in what a finished run of the same label and seed differs from it; none for those without such a run.

    wanted: runs that are not done; asked: the keys that some row has or needs, which are no former ones; folder: of the
    suite's records. Of several former runs the one that differs least counts.
    """
    former: dict[tuple[str, int, str], list[Record]] = {}
    for record in records.read_folder(folder)[0].values() if wanted else ():
        if record.key not in asked and record.status == "complete":
            former.setdefault((record.label, record.seed, record.part), []).append(record)
    found = {}
    for spec in wanted:
        told = [_between(record, spec) for record in former.get((spec.label, spec.ref.seed, spec.ref.part), ())]
        if told:
            nearest = min(told, key=len)
            found[spec.key] = f"a finished run of this name differs: {'; '.join(nearest)}"
    return found


def _between(record: Record, spec: RunSpec) -> list[str]:
    """What differs, as "recipe.lr 0.1 (now 0.2)". Other runs to start from are told where nothing else is."""
    then = _fields(record.identity) | {"data": record.data.name}
    now = _fields(spec.identity) | {"data": spec.data.label}
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if len(names) > 1 and "parents" in names:
        names.remove("parents")
    if "data" in names and "fingerprints" in names:
        names.remove("fingerprints")
    return [_told(name, then.get(name), now.get(name)) for name in names]


def _told(name: str, then: Any, now: Any) -> str:
    return f"other {HASHES[name]}" if name in HASHES else f"{name} {spelled(then)} (now {spelled(now)})"


def _fields(identity: Identity) -> dict[str, Any]:
    """All that a key hangs on, by the name that a suite has for it."""
    plain = {key: value for key, value in vars(identity).items() if key not in ("recipe", "options")}
    recipe = {f"recipe.{key}": value for key, value in without_off(identity.recipe).items() if key != "name"}
    return plain | recipe | {f"option {key}": value for key, value in without_off(identity.options).items()}

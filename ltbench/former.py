"""Finished runs of former settings: in what they differ from the runs that a plan asks for in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import record as records
from .keys import Identity, canonical_json, without_off
from .labels import spelled
from .record import Record

if TYPE_CHECKING:
    from .runspec import RunSpec

HASHES = {"plugin": "source", "fingerprints": "images", "weights": "first weights", "parents": "runs to start from"}


def differences(wanted: Sequence[RunSpec], asked: Set[str], folder: Path) -> dict[str, str]:
    """key -> in what a finished run of the same label and seed differs from it; none for those without such a run.

    wanted: runs that are not done; asked: the keys that some row has, which are no former ones, nor are those that they
    start from; folder: of the suite's records. Of several former runs the one that differs least counts, one of the
    same data and backbone first.
    """
    here = records.read_folder(folder)[0] if wanted else {}
    former: dict[tuple[str, int, str], list[Record]] = {}
    for record in unasked(here, asked).values():
        former.setdefault((record.label, record.seed, record.part), []).append(record)
    found = {}
    for spec in wanted:
        others = former.get((spec.label, spec.ref.seed, spec.ref.part), ())
        told = [(_elsewhere(record, spec), _between(record, spec)) for record in others]
        if told:
            _, nearest = min(sorted(told), key=lambda each: (each[0], len(each[1])))
            found[spec.key] = f"a finished run of this name differs: {'; '.join(nearest)}"
    return found


def unasked(here: Mapping[str, Record], asked: Set[str]) -> dict[str, Record]:
    """The complete records that are not asked for, and that nothing which is starts from."""
    rest = here.keys() - needed(here, asked)
    return {key: here[key] for key in here if key in rest and here[key].status == "complete"}


def needed(here: Mapping[str, Record], asked: Set[str]) -> set[str]:
    """The keys that are asked for, and those of all that they start from."""
    needed, left = set(asked), [here[key] for key in asked & here.keys()]
    while left:
        parents = {parent.key for parent in left.pop().parents.values()} - needed
        needed |= parents
        left += [here[key] for key in parents & here.keys()]
    return needed


def _elsewhere(record: Record, spec: RunSpec) -> bool:
    """Whether a run is of another block: a suite of two backbones has two runs of one name."""
    return (record.data.name, record.backbone) != (spec.data.label, spec.identity.backbone)


def _between(record: Record, spec: RunSpec) -> list[str]:
    """What differs, as "recipe.lr 0.1 (now 0.2)". Other runs to start from are told where nothing else is."""
    then = _fields(record.identity) | {"data": record.data.name}
    now = _fields(spec.identity) | {"data": spec.data.label}
    names = [name for name in {**then, **now} if canonical_json(then.get(name)) != canonical_json(now.get(name))]
    if len(names) > 1 and "parents" in names:
        names.remove("parents")
    if "data" in names and "fingerprints" in names:
        names.remove("fingerprints")
    return [_told(name, then.get(name), now.get(name)) for name in names]


def _told(name: str, then: Any, now: Any) -> str:
    if name in HASHES:
        return f"other {HASHES[name]}"
    write = spelled if spelled(then) != spelled(now) else repr  # 30 and 30.0
    return f"{name} {write(then)} (now {write(now)})"


def _fields(identity: Identity) -> dict[str, Any]:
    """All that a key hangs on, by the name that a suite has for it."""
    plain = {key: value for key, value in vars(identity).items() if key not in ("recipe", "options")}
    recipe = {f"recipe.{key}": value for key, value in without_off(identity.recipe).items() if key != "name"}
    return plain | recipe | {f"option {key}": value for key, value in without_off(identity.options).items()}

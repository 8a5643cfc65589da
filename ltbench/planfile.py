"""plan.json: what a suite asks for, so that what is missing shows; the folders of results, each of which has one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

from . import record as records
from .atomic import write_atomically
from .errors import LtbenchError, UnreadableError
from .record import SCHEMA, Record


class Row(BaseModel, frozen=True, extra="forbid"):
    """A row that a suite asks for: one method on one data set and backbone, over seeds."""

    label: str
    method: str
    data: str
    backbone: str
    recipe: str  # the suite recipe's name, with what --set has changed in it
    block: str  # hash of data fingerprints, backbone and suite recipe: rows of one block may be compared
    keys: dict[str, str]  # seed -> key
    settings: str = ""  # hash of all that the keys hang on but seed and images, which a row's runs have in common
    skip: str = ""  # the reason why this row does not run
    sets: tuple[str, ...] = ()  # the --set values that it was asked for with


class PlanFile(BaseModel, frozen=True, extra="forbid"):
    """What a suite file asks for, whatever was picked with --only and --seeds."""

    schema_version: int = SCHEMA
    suite: str
    baseline: str
    rows: tuple[Row, ...]
    classes: dict[str, tuple[str, ...]] = {}  # block -> the names of its classes, in label order, where they have names

    def class_names(self, block: str, classes: int) -> tuple[str, ...]:
        """The names of the classes of a block's data; "" each where so many are not named."""
        found = self.classes.get(block, ())
        return found if len(found) == classes else ("",) * classes


def write(plan: PlanFile, folder: Path) -> None:
    """Write folder/plan.json, unless it says so already."""
    if not says(folder, plan):
        write_atomically(folder / "plan.json", _text(plan))


def says(folder: Path, plan: PlanFile) -> bool:
    """Whether folder/plan.json is that plan's, to the byte."""
    path = folder / "plan.json"
    return path.is_file() and path.read_bytes() == _text(plan).encode()


def _text(plan: PlanFile) -> str:
    return json.dumps(plan.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def read(folder: Path) -> PlanFile:
    """folder/plan.json. Raises LtbenchError where it is absent or damaged."""
    path = folder / "plan.json"
    try:
        return PlanFile.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LtbenchError(f"{path}: absent; `ltbench run` writes it") from None
    except OSError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # not UTF-8, or not a plan
        raise LtbenchError(f"{path}: not a plan; `ltbench run` of its suite writes it anew") from None


def suite_folders(results: Path) -> list[Path]:
    """The folders below results (or results itself) that hold a plan. Raises LtbenchError where there is none."""
    if (results / "plan.json").is_file():
        return [results]
    found = sorted(path.parent for path in results.glob("*/plan.json")) if results.is_dir() else []
    if not found:
        lone = any(records.files(folder) for folder in (results, *results.glob("*/")))
        hint = "; of the records there `ltbench run` of their suite makes one" if lone else ""
        raise LtbenchError(f"{results}: no results here (no plan.json in it or in a folder below{hint})")
    return found


def read_results(
    results: Path, groups: tuple[int, int] | None = None
) -> Iterator[tuple[PlanFile, dict[str, Record], list[str]]]:
    """(plan, records by key, what was refused and why) of each suite. Raises LtbenchError where one lacks its plan.

    groups: as in record.read_folder().
    """
    for folder in suite_folders(results):
        yield read(folder), *records.read_folder(folder, groups)


def row_labels(results: Path) -> dict[str, None]:
    """The labels of all rows of a results folder. Raises LtbenchError where it holds no plan, or a damaged one."""
    return dict.fromkeys(row.label for folder in suite_folders(results) for row in read(folder).rows)


def merged(old: PlanFile, new: PlanFile) -> PlanFile:
    """The rows of both; a row that stands in both has the seeds of both. new: of a --set."""
    rows = {(row.block, row.label): row for row in old.rows}
    for row in new.rows:
        rows[row.block, row.label] = _joined(rows.get((row.block, row.label)), row)
    return _of_rows(new, old, rows.values()).model_copy(update={"baseline": old.baseline})


def refreshed(old: PlanFile, new: PlanFile) -> PlanFile:
    """The rows of a suite file as it is now, new, with what only a --set asks for: seeds of theirs, and other rows."""
    kept = {(row.block, row.label): row for row in _standing(old, new) if row.sets}
    rows = [_joined(kept.pop((row.block, row.label), None), row) for row in new.rows]
    return _of_rows(new, old, (*rows, *kept.values()))


def renewed(old: PlanFile, now: PlanFile) -> PlanFile:
    """A plan whose rows of the suite file are those of the file as it is now; none more where all are of a --set."""
    if any(not row.sets for row in old.rows):
        return refreshed(old, now)
    return _of_rows(old, now, _standing(old, now))


def _of_rows(plan: PlanFile, other: PlanFile, rows: Iterable[Row]) -> PlanFile:
    """A plan with these rows of its own and another's, and the names of their classes."""
    kept = tuple(rows)
    named = other.classes | plan.classes
    classes = {block: named[block] for block in dict.fromkeys(row.block for row in kept) if block in named}
    return plan.model_copy(update={"rows": kept, "classes": classes})


def _standing(old: PlanFile, now: PlanFile) -> list[Row]:
    """The rows but those of blocks that the suite file, now, has no more."""
    blocks = {row.block for row in now.rows}
    return [row for row in old.rows if row.block in blocks or not is_of_file(row)]


def is_of_file(row: Row) -> bool:
    """Whether a row is of one of the suite file's own blocks: no --set has changed its data, backbone or recipe."""
    return all(re.split(r"[+.=]", text, maxsplit=1)[0] in ("seeds", "methods", "baseline") for text in row.sets)


def _joined(old: Row | None, new: Row) -> Row:
    """A row with the seeds that it had before; not those of older code or other settings."""
    if old is None or old.keys.keys() <= new.keys.keys() or _is_older(old, new):
        return new
    return new.model_copy(update={"keys": {**old.keys, **new.keys}, "sets": new.sets or old.sets})


def _is_older(old: Row, new: Row) -> bool:
    """Whether a row's runs are of other code than those of its name now; in older files no row has settings."""
    shared = old.keys.keys() & new.keys.keys()
    return any(old.keys[seed] != new.keys[seed] for seed in shared) or old.settings not in ("", new.settings)

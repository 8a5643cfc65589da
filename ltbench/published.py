"""results/reported.csv: what papers and their codes report, shown beside what was measured here."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from .errors import LtbenchError
from .schema import Reported

NAME = "reported.csv"
OPTIONAL = ("many", "medium", "few", "ci95")


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of reported.csv: one published row, in per cent; empty cells are None.

    label, data, backbone and recipe name the row of ours that it stands beside: recipe is the suite recipe nearest to
    the source's training, epochs what the source trained for. routing and distilled say whether the published model
    skips experts at test and was distilled, best_epoch whether its code is known to report the best epoch on test.
    ci95: the source's own half-width, where it gives one. mark: V where the number was read in the named source, Q
    where it is quoted by the named third party.
    """

    data: str
    backbone: str
    label: str
    recipe: str
    epochs: int
    top1: float
    many: float | None
    medium: float | None
    few: float | None
    ci95: float | None
    routing: bool
    distilled: bool
    best_epoch: bool
    paper: str
    table: str
    source: str
    mark: Literal["V", "Q"]
    note: str


def read(results: Path) -> tuple[Published, ...]:
    """The entries of results/reported.csv, or of the one beside a suite's folder; none where there is no such file.

    Raises LtbenchError naming the line that is wrong.
    """
    folders = (results, results.parent) if (results / "plan.json").is_file() else (results,)
    path = next((folder / NAME for folder in folders if (folder / NAME).is_file()), None)
    if path is None:
        return ()
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file, strict=True)
        try:
            return tuple(_entry(path, lines.line_num, line) for line in lines)
        except (csv.Error, UnicodeDecodeError) as error:
            raise LtbenchError(f"{path}:{lines.line_num}: {error}") from None


def _entry(path: Path, number: int, line: dict[str, str]) -> Published:
    given = {key: None if value == "" and key in OPTIONAL else value for key, value in line.items()}
    try:
        entry = msgspec.convert(given, Published, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        raise LtbenchError(f"{path}:{number}: {error}") from None
    for key, value in msgspec.structs.asdict(entry).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise LtbenchError(f"{path}:{number}: {key} must be a number, got {given[key]!r}")
    return entry


def beside(
    entries: Iterable[Published],
    data: str,
    backbone: str,
    label: str,
    recipe: str,
    top1: dict[str, float | None],
    n: int,
) -> Reported | None:
    """What is published for a row: first of its own recipe, else of another; in each case the first in the file.

    A recipe in which `--precision` alone was changed is no other one: sources seldom say what they computed in.
    top1: mean and ci95 as measured over n seeds. `differs` says whether the two are further apart than their intervals
    together. A published number without an interval is taken for one more run: it differs where it is outside the 95 %
    prediction interval of such a run, mean +- ci95 * sqrt(n + 1). None where that cannot be said: another recipe, one
    seed, or nothing measured.
    """
    found: Sequence[Published] = [e for e in entries if (e.data, e.backbone, e.label) == (data, backbone, label)]
    names = {recipe, re.sub(r" \[precision=\w+\]$", "", recipe)}
    entry = next((e for e in found if e.recipe in names), found[0] if found else None)
    if entry is None:
        return None
    same = entry.recipe in names
    mean, half = top1["mean"], top1["ci95"]
    differs = None
    if same and mean is not None and half is not None:
        room = half * math.sqrt(n + 1) if entry.ci95 is None else half + entry.ci95
        differs = abs(mean - entry.top1) > room
    reported: Reported = {
        "top1": entry.top1, "many": entry.many, "medium": entry.medium, "few": entry.few, "source": entry.source,
        "recipe": entry.recipe, "epochs": entry.epochs, "routing": entry.routing, "distilled": entry.distilled,
        "best_epoch": entry.best_epoch, "same_recipe": same, "differs": differs,
    }  # fmt: skip
    return reported

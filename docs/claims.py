"""Is each decimal in a page's prose a figure of the rows that its paragraph names? Asked by leaderboard.py --check.

A paragraph or an item of a list that has decimals ends with a comment, which a reader of the page does not see:

    <!-- of: ride(experts=3) - ce; crt; cifar100_lt: ride_ea; published; by hand 77.8 101.3 -->

`A - B` names the difference, its interval, p, and the ratio of their multiply-adds, over the seeds of both; `A` what
the table says of a row; `each A - B` and `each A` the same of its runs one by one, and their standard deviation. All
are of the page's own results, or of the folder before the colon. `published` stands for all of reported.csv, `by hand`
for numbers that no record holds. Signs and whole numbers are not looked at.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ltbench import planfile, scores
from ltbench import record as records
from ltbench.compare import Comparison, between, compare
from ltbench.digits import fixed
from ltbench.errors import LtbenchError
from ltbench.record import Record
from ltbench.tables import TableRow, load

RESULTS = Path(__file__).parent.parent / "results"
GROUPS = ("top1", "many", "medium", "few")
MADE = re.compile(r"<!-- (\S+): made by .*?<!-- end of \1 -->|^```.*?^```", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"<!-- of: (.*?) -->", re.DOTALL)
UNSEEN = re.compile(r"`[^`]*`|\]\([^)]*\)|Python 3\.\d+")  # code, addresses, versions
DECIMAL = re.compile(r"\d+\.\d+")


class Paragraph(NamedTuple):
    """A paragraph, or an item of a list."""

    line: int
    text: str


def wrong(text: str, folder: str) -> list[str]:
    """One line per decimal that is no figure of the rows named, and per row that there is none of.

    text: of a page; folder: of results/, which rows are of where none is named.
    """
    return [complaint for paragraph in _paragraphs(text) for complaint in _wrong(paragraph, folder)]


def _paragraphs(text: str) -> Iterator[Paragraph]:
    """Those of prose: no tables, code or headings, and nothing that is made."""
    text = MADE.sub(lambda made: re.sub(r"[^\n]+", "", made[0]), text)  # its lines stay, for the numbers of the others
    held: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if held and (not line.strip() or line.startswith("- ")):
            yield Paragraph(number - len(held), "\n".join(held))
            held = []
        if line.strip() and not line.startswith(("|", "#", "![")):
            held.append(line)


def _wrong(paragraph: Paragraph, folder: str) -> Iterator[str]:
    names = NAMED.search(paragraph.text)
    said = DECIMAL.findall(UNSEEN.sub("", NAMED.sub("", paragraph.text)))
    if said and not names:
        yield f"line {paragraph.line}: it has figures ({', '.join(said)}) and no <!-- of: ... --> that names their rows"
    if not names:
        return
    known: set[str] = set()
    for name in (" ".join(name.split()) for name in names[1].split(";")):
        try:
            known |= _figures(name, folder)
        except LtbenchError as error:
            yield f"line {paragraph.line}: {error}"
    yield from (f"line {paragraph.line}: {n} is no figure of {names[1]}" for n in said if n not in known)


def _figures(name: str, folder: str) -> set[str]:
    """What a name in a comment stands for, as a page writes it."""
    if name == "published":
        return _published()
    if name.startswith("by hand "):
        return set(name.split()[2:])
    folder, name = name.split(": ") if ": " in name else (folder, name)
    each, labels = name.startswith("each "), name.removeprefix("each ").split(" - ")
    if len(labels) == 2:
        return _differences(folder, *labels) if each else _difference(folder, *labels)
    return _runs_of(folder, *labels) if each else _row_of(folder, *labels)


def _written(numbers: Iterable[float | None], places: int = 1) -> set[str]:
    return {fixed(abs(number), places) for number in numbers if number is not None}


@cache
def _published() -> set[str]:
    with (RESULTS / "reported.csv").open(encoding="utf-8", newline="") as file:
        return _written(float(row[group]) for row in csv.DictReader(file) for group in GROUPS if row[group])


@cache
def compared(folder: str, a: str, b: str) -> Comparison:
    """Two rows head to head: tables and prose speak of the same pairs."""
    found = between(planfile.read(RESULTS / folder), _runs(folder), a, b)
    (only,) = found or compare(RESULTS / folder, a, b).found  # the latter says why there is nothing to compare
    return only


def _difference(folder: str, a: str, b: str) -> set[str]:
    found = compared(folder, a, b)
    gaps = (found["top1"], found["many"], found["medium"], found["few"])
    said = _written(number for gap in gaps for number in (gap["difference"], gap["low"], gap["high"]))
    chance = set() if found["p"] is None else {f"{found['p']:.2g}"}  # as `ltbench compare` prints it
    return said | chance | _written([cost(folder, a, b, found["seeds"])], places=2)


@cache
def _differences(folder: str, a: str, b: str) -> set[str]:
    ours, theirs = _by_seed(folder, a), _by_seed(folder, b)
    both = ours.keys() & theirs.keys()
    pairs = (pair for seed in both for pair in zip(ours[seed], theirs[seed], strict=True))
    return _written(x - y for x, y in pairs if x is not None and y is not None)


@cache
def _runs_of(folder: str, label: str) -> set[str]:
    runs = _by_seed(folder, label)
    top1 = [run[0] for run in runs.values() if run[0] is not None]
    spread = [statistics.stdev(top1)] if len(top1) > 1 else []
    return _written([*spread, *(figure for run in runs.values() for figure in run)])


@cache
def _row_of(folder: str, label: str) -> set[str]:
    row = next((row for row in _rows(folder) if row["label"] == label), None)
    if row is None:
        raise LtbenchError(f"results/{folder} has no row {label}")
    spreads = (row["top1"], row["many"], row["medium"], row["few"], row["ece"], row["alone"])
    top1, alone = row["top1"]["mean"], row["alone"]["mean"]
    return (
        _written(spread[figure] for spread in spreads for figure in ("mean", "ci95"))
        | _written([top1 - alone] if top1 is not None and alone is not None else [])
        | _written(macs / 1e6 for macs in (row["macs"], row["macs_used"]) if macs)
    )


@cache
def _rows(folder: str) -> list[TableRow]:
    return load(RESULTS / folder).rows


def cost(folder: str, a: str, b: str, seeds: Iterable[int]) -> float:
    """The multiply-adds that A carried out at these seeds, over those of B."""
    used = {(run.label, run.seed): run.macs_used for run in _runs(folder).values()}
    return sum(used[a, seed] for seed in seeds) / sum(used[b, seed] for seed in seeds)


def _by_seed(folder: str, label: str) -> dict[int, list[float | None]]:
    """Seed -> top-1, many, medium, few, and the mean of the single experts, of each complete run of that name."""
    found = {run.seed: _of(run) for run in _runs(folder).values() if run.label == label and run.status == "complete"}
    if not found:
        raise LtbenchError(f"results/{folder} has no complete run of {label}")
    return found


@cache
def _runs(folder: str) -> dict[str, Record]:
    return records.read_folder(RESULTS / folder)[0]


def _of(run: Record) -> list[float | None]:
    figures = scores.figures(run)
    return [*(figures[group] for group in GROUPS), scores.alone(run)]

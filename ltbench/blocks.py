"""Results -> blocks: rows that may be compared, each with its runs, for figures and the report. Torch-free."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from . import footers, scores, tables
from .planfile import Row
from .record import Record
from .schema import TableRow


@dataclass(frozen=True, eq=False)
class Entry:
    """A row of the leaderboard, as tables.load gives it, with its runs in the order of their seeds."""

    row: TableRow
    asked: Row  # of the plan
    found: Mapping[str, Record]  # the suite's records, by key

    @property
    def label(self) -> str:
        """The row's name."""
        return str(self.row["label"])

    @cached_property
    def keys(self) -> dict[int, str]:
        """Seed -> key, of every seed that was asked for, in order."""
        return dict(sorted((int(seed), key) for seed, key in self.asked.keys.items()))

    @cached_property
    def runs(self) -> tuple[Record, ...]:
        """Those with a record, whatever their status."""
        return tuple(self.found[key] for key in self.keys.values() if key in self.found)

    def mean(self, figure: str) -> float:
        """top1, many, ... over the complete runs, in per cent; nan where it is not defined."""
        value = self.row[figure]["mean"]  # type: ignore[literal-required]
        return math.nan if value is None else float(value)

    def half(self, figure: str) -> float:
        """Half the width of that figure's interval; 0 where there is none."""
        return float(self.row[figure]["ci95"] or 0.0)  # type: ignore[literal-required]

    @cached_property
    def complete(self) -> tuple[Record, ...]:
        """The runs that the row's figures are means of."""
        return tuple(run for run in self.runs if run.status == "complete")

    @cached_property
    def figures(self) -> dict[int, dict[str, float | None]]:
        """Seed -> top1, many, medium, few, ... of each complete run, in per cent."""
        return {run.seed: scores.figures(run) for run in self.complete}


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one dataset, backbone and suite recipe."""

    name: str  # a file name
    baseline: str  # a label
    entries: tuple[Entry, ...]
    weights: Path  # the folder that `ltbench run` calls --runs, for what needs logits
    names: tuple[str, ...] = ()  # of the classes, as the plan has them

    @property
    def title(self) -> str:
        """What the block holds, in a line."""
        return footers.heading(self.entries[0].row)

    @cached_property
    def ran(self) -> list[Entry]:
        """The rows with a complete run on test images."""
        return [entry for entry in self.entries if entry.complete and not math.isnan(entry.mean("top1"))]

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images per class [C]; empty before anything has run."""
        return self.ran[0].complete[0].data.counts if self.ran else ()

    @property
    def named(self) -> bool:
        """Whether the classes have names."""
        return len(self.names) == len(self.counts) and all(name.strip() for name in self.names)

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """The classes of many, medium and few."""
        if not self.ran:
            return {name: [] for name in scores.GROUPS}
        data = self.ran[0].complete[0].data
        return scores.group_classes(data.counts, data.groups)

    @cached_property
    def base(self) -> Entry | None:
        """The baseline's row, where it has run."""
        return next((entry for entry in self.ran if entry.label == self.baseline), None)

    def foremost(self, most: int, among: Sequence[Entry] | None = None) -> list[Entry]:
        """The baseline and the rows of highest top-1, at most so many, in the table's order."""
        rows = self.ran if among is None else list(among)
        best = sorted(rows, key=lambda e: (e is not self.base, -(e.row["top1"]["mean"] or 0.0)))[:most]
        return [entry for entry in rows if entry in best]


def load(
    results: Path, weights: Path, only: Sequence[str] = (), groups: tuple[int, int] | None = None
) -> tuple[list[Block], list[str]]:
    """(blocks in the order of their folders, what was refused). Raises LtbenchError where there are no results.

    only: the labels of the rows that are shown, beside the baseline; all where none is named. groups: as in
    record.read_folder().
    """
    blocks: list[Block] = []
    refused: list[str] = []
    for suite in tables.suites(results, tables.Options(only=tuple(only), groups=groups)):
        refused += suite.refused
        entries: dict[str, list[Entry]] = {}
        for row, asked in zip(suite.rows(), suite.shown, strict=True):
            entries.setdefault(asked.block, []).append(Entry(row, asked, suite.found))
        blocks += [
            Block("", suite.plan.baseline, tuple(rows), weights, suite.plan.classes.get(key, ()))
            for key, rows in entries.items()
        ]
    rows = [block.entries[0].row for block in blocks]
    names = file_names([(row["suite"], row["data"], row["backbone"], row["recipe"]) for row in rows])
    return [replace(block, name=name) for block, name in zip(blocks, names, strict=True)], refused


def file_names(blocks: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """A file name for each block of (suite, data, backbone, recipe): the suite, and what tells it from others there.

    Names differ, in upper and lower case too: suite, suite-resnet20, suite-2, ...
    """
    taken: set[str] = set()
    out = []
    for block in blocks:
        of_suite = [other for other in blocks if other[0] == block[0]]
        start = name = _file_name([part for i, part in enumerate(block) if not i or len({b[i] for b in of_suite}) > 1])
        times = 1
        while name.lower() in taken:
            times += 1
            name = f"{start}-{times}"
        taken.add(name.lower())
        out.append(name)
    return out


def _file_name(parts: Sequence[str]) -> str:
    """Of parts of 60 letters at most."""
    named = [re.sub(r"[^\w.-]+", "_", part, flags=re.ASCII).lstrip(".").rstrip("_")[:60] for part in parts]
    return "-".join(filter(None, named)) or "suite"

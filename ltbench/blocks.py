"""Results -> blocks: rows that may be compared, each with its runs, for figures and the report. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from . import record as records
from . import scores, tables
from .record import Record


@dataclass(frozen=True)
class Entry:
    """A row of the leaderboard, as tables.load gives it, with its runs in the order of their seeds."""

    row: dict[str, Any]
    keys: dict[int, str]  # of every seed that was asked for, in order
    runs: tuple[Record, ...]  # those with a record, whatever their status

    @property
    def label(self) -> str:
        """The row's name."""
        return str(self.row["label"])

    @cached_property
    def complete(self) -> tuple[Record, ...]:
        """The runs that the row's figures are means of."""
        return tuple(run for run in self.runs if run.status == "complete")

    @cached_property
    def figures(self) -> dict[int, dict[str, float | None]]:
        """Seed -> top1, many, medium, few, ... of each complete run, in per cent."""
        return {run.seed: scores.figures(run) for run in self.complete}


@dataclass(frozen=True)
class Block:
    """Rows of one dataset, backbone and suite recipe."""

    name: str  # a file name
    baseline: str  # a label
    entries: tuple[Entry, ...]
    weights: Path | None = None  # the folder of runs/, for what needs logits

    @property
    def title(self) -> str:
        """What the block holds, in a line."""
        return tables.heading([entry.row for entry in self.entries])

    @cached_property
    def ran(self) -> list[Entry]:
        """The rows with a complete run."""
        return [entry for entry in self.entries if entry.complete]

    @property
    def counts(self) -> tuple[int, ...]:
        """Training images per class [C]; empty before anything has run."""
        return self.ran[0].complete[0].data.counts if self.ran else ()

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
        best = sorted(rows, key=lambda entry: (entry is not self.base, -(entry.row["top1"]["mean"] or 0.0)))[:most]
        return [entry for entry in rows if any(entry is one for one in best)]


def load(results: Path, weights: Path | None = None) -> tuple[list[Block], list[str]]:
    """(blocks in the order of their folders, what was refused). Raises LtbenchError where there are no results."""
    blocks, refused = [], []
    for folder in records.suite_folders(results):
        board = tables.load(folder)
        refused += board.refused
        plan = records.read_plan(folder)
        found, _ = records.read_folder(folder)
        keys = {(row.block, row.label): row.keys for row in plan.rows}
        for rows in tables.blocks(board.rows):
            entries = tuple(_entry(row, keys[row["block"], row["label"]], found) for row in rows)
            blocks.append(Block(_file_name(plan.suite), plan.baseline, entries, weights))
    return _distinct(blocks), refused


def _entry(row: dict[str, Any], keys: dict[str, str], found: dict[str, Record]) -> Entry:
    ordered = dict(sorted((int(seed), key) for seed, key in keys.items()))
    return Entry(row, ordered, tuple(found[key] for key in ordered.values() if key in found))


def _file_name(suite: str) -> str:
    return re.sub(r"[^\w.-]+", "_", suite, flags=re.ASCII).lstrip(".")[:60] or "suite"


def _distinct(blocks: list[Block]) -> list[Block]:
    """The blocks under names that differ, in upper and lower case too: suite, suite-2, ..."""
    taken: set[str] = set()
    out = []
    for block in blocks:
        name, times = block.name, 1
        while name.lower() in taken:
            times += 1
            name = f"{block.name}-{times}"
        taken.add(name.lower())
        out.append(replace(block, name=name))
    return out

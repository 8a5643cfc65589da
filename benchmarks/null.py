"""How often a row is told apart from itself: python benchmarks/null.py FOLDER...

FOLDER: of one suite's records. A row of which at least LEAST seeds are complete (the members of an ensemble are such
runs) is split into two sets of n seeds each, in every way there is, and each pair of sets is tested as the table tests
two rows. A test that is what it says tells 5 % of them apart. The pairs share runs, so the shares are less certain than
their number suggests.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ltbench import paired
from ltbench import record as records
from ltbench.digits import fixed
from ltbench.record import Record
from ltbench.scores import group_classes

LEAST = 6  # two sets of three
SIZES = (1, 2, 3)
HEAD = (
    "| results | row | seeds | sets of | pairs | all | many | medium | few | half differ by | one in twenty by |",
    "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
)


class Found(NamedTuple):
    """Of all pairs of disjoint sets of seeds of one row."""

    gaps: list[float]  # how far the two are apart in top-1, in points
    told: dict[str, float]  # part of the classes -> the share of pairs told apart, in per cent


def rows(folder: Path) -> dict[str, list[Record]]:
    """The complete runs that differ in their seed alone, where there are enough, by seed."""
    runs, _ = records.read_folder(folder)
    alike: dict[str, list[Record]] = defaultdict(list)
    for run in sorted(runs.values(), key=lambda run: (run.label, run.seed)):
        if run.status == "complete" and run.predictions:
            alike[replace(run.identity, seed=0).key].append(run)
    return {found[0].label: found for found in alike.values() if len(found) >= LEAST}


def pairs(seeds: int, size: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every two disjoint sets of so many of the seeds, once."""
    for one in combinations(range(seeds), size):
        for other in combinations(sorted(set(range(seeds)) - set(one)), size):
            if one < other:
                yield one, other


def told_apart(runs: list[Record], size: int) -> Found:
    """Test all pairs of sets of so many runs of one row."""
    hits = np.stack([found for run in runs if (found := paired.hits(run)) is not None])
    of_class = np.repeat(np.arange(len(runs[0].total)), runs[0].total)
    groups = group_classes(runs[0].data.counts, runs[0].data.groups)
    parts = {"all": hits} | {name: hits[:, np.isin(of_class, classes)] for name, classes in groups.items()}
    tested = {
        name: [paired.difference(part[list(one)], part[list(other)]) for one, other in pairs(len(runs), size)]
        for name, part in parts.items()
    }
    told = {
        name: 100 * float(np.mean([found.p is not None and found.p < paired.LEVEL for found in each]))
        for name, each in tested.items()
    }
    return Found([abs(found.mean) for found in tested["all"]], told)


def lines(folders: list[Path], sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """The table, in Markdown: what is told apart in per cent of the pairs, and how far they are apart in points."""
    yield from HEAD
    for folder in folders:
        for label, runs in rows(folder).items():
            for size in sizes:
                found = told_apart(runs, size)
                half, most = (fixed(float(np.percentile(found.gaps, share))) for share in (50, 95))
                shares = (f"{fixed(share)} %" for share in found.told.values())
                cells = folder.name, f"`{label}`", len(runs), size, len(found.gaps), *shares, half, most
                yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    print("\n".join(lines([Path(word) for word in sys.argv[1:]])))

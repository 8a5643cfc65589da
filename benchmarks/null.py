"""How often a row is told apart from itself: python benchmarks/null.py FOLDER...

FOLDER: of one suite's records. Of a row of which at least LEAST seeds are complete (the members of an ensemble are such
runs) every two disjoint sets of n seeds are tested as the table tests two rows, paired in the order of their seeds. A
test that is what it says tells 5 % of them apart at p < 0.05. The pairs share runs, so the shares are less certain than
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
STRICT = 0.001
HEAD = (
    "| results | row | seeds | sets of | pairs | p < 0.05: all | many | medium | few | p < 0.001: all "
    "| apart by: all | many | medium | few |",
    "| --- | --- " + "| --: " * 12 + "|",
)


class Found(NamedTuple):
    """Of all pairs of disjoint sets of seeds of one row, in one part of the classes."""

    told: float  # per cent of the pairs with p < 0.05
    told_strictly: float  # with p < STRICT
    apart: float  # points of accuracy that one pair in twenty reaches or exceeds


def rows(folder: Path) -> list[list[Record]]:
    """The complete runs that differ in their seed alone, where there are enough, by seed."""
    runs, _ = records.read_folder(folder)
    alike: dict[str, list[Record]] = defaultdict(list)
    for run in sorted(runs.values(), key=lambda run: (run.label, run.seed)):
        if run.status == "complete" and paired.hits(run) is not None:
            alike[replace(run.identity, seed=0).key].append(run)
    return [found for found in alike.values() if len(found) >= LEAST]


def pairs(seeds: int, size: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every two disjoint sets of so many of the seeds, once."""
    for one in combinations(range(seeds), size):
        for other in combinations(sorted(set(range(seeds)) - set(one)), size):
            if one < other:
                yield one, other


def told_apart(runs: list[Record], size: int) -> dict[str, Found]:
    """Part of the classes -> what the test says of all pairs of sets of so many runs of one row."""
    hits = np.stack([found for run in runs if (found := paired.hits(run)) is not None])
    of_class = np.repeat(np.arange(len(runs[0].total)), runs[0].total)
    groups = group_classes(runs[0].data.counts, runs[0].data.groups)
    parts = {"all": hits} | {name: hits[:, np.isin(of_class, classes)] for name, classes in groups.items()}
    return {name: share(part, size) for name, part in parts.items()}


def share(hits: np.ndarray, size: int) -> Found:
    """What the test says of all pairs of sets of so many of these runs; hits [S, M] by run and image."""
    tested = [paired.difference(hits[list(one)], hits[list(other)]) for one, other in pairs(len(hits), size)]
    chances = np.array([1.0 if found.p is None else found.p for found in tested])
    told, strictly = (100 * float((chances < level).mean()) for level in (paired.LEVEL, STRICT))
    return Found(told, strictly, float(np.percentile([abs(found.mean) for found in tested], 95)))


def lines(folders: list[Path], sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """The table, in Markdown."""
    yield from HEAD
    for folder in folders:
        for runs in rows(folder):
            for size in sizes:
                found = told_apart(runs, size)
                shares = [*(part.told for part in found.values()), found["all"].told_strictly]
                told, apart = [f"{fixed(share)} %" for share in shares], [fixed(part.apart) for part in found.values()]
                tested = sum(1 for _ in pairs(len(runs), size))
                cells = folder.name, f"`{runs[0].label}`", len(runs), size, tested, *told, *apart
                yield f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """0; 1 where no row has enough seeds; 2 without a folder."""
    folders = [Path(word) for word in sys.argv[1:]]
    strange = [f"no such folder: {folder}" for folder in folders if not folder.is_dir()]
    if strange or not folders:
        print(*(strange or [__doc__]), sep="\n", file=sys.stderr)
        return 2
    if not any(map(rows, folders)):
        print(f"no row has {LEAST} complete seeds in {', '.join(map(str, folders))}", file=sys.stderr)
        return 1
    print("\n".join(lines(folders)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

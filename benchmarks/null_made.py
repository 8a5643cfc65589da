"""How rough the shares of null.py are: python benchmarks/null_made.py FOLDER...

Of each row that null.py tries, 40 rows of as many made runs that nothing but luck tells apart, and what null.py says of
these. The made rows are like the real one in three figures: the accuracy, how unsure its images are (the mean of
p (1 - p) over images, p being how often runs get one right), and what a seed is worth (the standard deviation of the
accuracy that this leaves over). Seeds and images are crossed, as the table's test takes them to be: a seed's worth is
laid on the images in proportion to how unsure they are.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import null
import numpy as np

from ltbench import paired

ROWS = 40
SIZES = (2, 3)
HEAD = (
    "| results | row | unsure | a seed's worth | sets of | p < 0.05: real | made: mean | 5 % at most | 5 % at least "
    "| p < 0.001: real | made: 5 % at least |",
    "| --- | --- " + "| --: " * 9 + "|",
)


class Like(NamedTuple):
    """What made runs have of real ones."""

    accuracy: float
    unsure: float  # the mean of p (1 - p) over images
    worth: float  # the standard deviation of the accuracy by seed alone


def like(hits: np.ndarray) -> Like:
    """Of hits [S, M] by run and image."""
    unsure = float(hits.var(axis=0, ddof=1).mean())
    spread = float(hits.mean(1).var(ddof=1)) - unsure / hits.shape[1]
    return Like(float(hits.mean()), unsure, math.sqrt(max(spread, 0.0)))


def made(random: np.random.Generator, of: Like, runs: int, images: int) -> np.ndarray:
    """[S, M] whether each run gets each image right; how easy images are has a beta distribution."""
    share = of.unsure / (of.accuracy * (1 - of.accuracy))
    size = share / (1 - share)
    easy = random.beta(of.accuracy * size, (1 - of.accuracy) * size, images)
    shift = random.normal(0, of.worth, (runs, 1)) * easy * (1 - easy) / of.unsure
    return random.random((runs, images)) < np.clip(easy + shift, 0, 1)


def lines(folders: Sequence[Path], rows: int = ROWS, sizes: Sequence[int] = SIZES) -> Iterator[str]:
    """The table, in Markdown."""
    yield from HEAD
    for folder in folders:
        for runs in null.rows(folder):
            real = np.stack([found for run in runs if (found := paired.hits(run)) is not None])
            of, random = like(real), np.random.default_rng(0)
            drawn = [made(random, of, *real.shape) for _ in range(rows)]
            about = folder.name, f"`{runs[0].label}`", f"{of.unsure:.3f}", null.fixed(100 * of.worth, 2)
            for size in sizes:
                told, strictly, _ = null.share(real, size)
                shares, strict, _ = zip(*(null.share(hits, size) for hits in drawn), strict=True)
                said = told, np.mean(shares), *np.percentile(shares, (5, 95)), strictly, np.percentile(strict, 95)
                cells = *about, size, *(f"{null.fixed(float(number))} %" for number in said)
                yield f"| {' | '.join(map(str, cells))} |"


def main() -> int:
    """0; 1 where no row has enough seeds; 2 without a folder."""
    folders = [Path(word) for word in sys.argv[1:]]
    if not folders or not all(folder.is_dir() for folder in folders):
        print(__doc__, file=sys.stderr)
        return 2
    if not any(map(null.rows, folders)):
        print(f"no row has {null.LEAST} complete seeds in {', '.join(map(str, folders))}", file=sys.stderr)
        return 1
    for line in lines(folders):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

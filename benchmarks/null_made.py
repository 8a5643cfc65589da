"""How rough the shares of null.py are: python benchmarks/null_made.py [ROWS]

Makes rows (40) of twelve runs that nothing but luck tells apart, and asks of each what null.py asks. A made run gets
an image right as often as the image is easy, shifted by what its seed is worth; so seeds and images are crossed, as the
table's test takes them to be. What it prints is the spread of such a row's shares over the rows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import null
import numpy as np

SEEDS, IMAGES = 12, 10_000
WORTH = (0.3, 0.6)  # points of accuracy, the standard deviation of seeds: about what 200 and 30 epochs show
SIZES = (2, 3)
HEAD = (
    "| seeds' sd | sets of | p < 0.05: mean | 5 % of rows at most | 5 % at least | p < 0.001: mean | 5 % at least |",
    "| --: " * 7 + "|",
)


def row(random: np.random.Generator, worth: float, images: int = IMAGES) -> np.ndarray:
    """[S, M] whether each run gets each image right; worth: points of accuracy."""
    easy = random.beta(0.5, 0.5, images)  # most images are right, or wrong, in nearly every run
    shift = random.normal(0, worth / 100, (SEEDS, 1))
    return random.random((SEEDS, images)) < np.clip(easy + shift, 0, 1)


def lines(rows: int, worth: Sequence[float] = WORTH, images: int = IMAGES) -> Iterator[str]:
    """The table, in Markdown."""
    yield from HEAD
    for sd in worth:
        random = np.random.default_rng(0)
        made = [row(random, sd, images) for _ in range(rows)]
        for size in SIZES:
            told, strictly, _ = zip(*(null.share(hits, size) for hits in made), strict=True)
            shares = np.mean(told), *np.percentile(told, (5, 95)), np.mean(strictly), np.percentile(strictly, 95)
            yield f"| {sd} | {size} | {' | '.join(f'{null.fixed(float(share))} %' for share in shares)} |"


def main() -> int:
    """0; 2 where ROWS is no number of rows."""
    words = sys.argv[1:] or ["40"]
    if len(words) > 1 or not words[0].isascii() or not words[0].isdigit() or not int(words[0]):
        print(__doc__, file=sys.stderr)
        return 2
    for line in lines(int(words[0])):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

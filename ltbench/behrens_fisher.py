"""The distribution of a mean whose variance is in part estimated from a few runs, and in part as good as known.

Of Behrens and Fisher's problem the case in which one of two variances is known (Fisher 1935, The fiducial argument in
statistical inference): the estimated part, A of nu degrees of freedom, is taken for A nu / chi2, chi2 distributed with
nu degrees, and the tail of the normal distribution is averaged over that. With nothing known it is Student's, with
nothing estimated the normal distribution. Between them it errs to the safe side (Robinson 1976). Satterthwaite's
degrees of freedom, of one Student's distribution in its place, are near it at 5 % and far too sure below: where a few
runs agree by chance they grow without bound.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from .student import LEVEL

NODES = 400
MOST = 1000  # degrees of freedom, beyond which an estimate is as good as known


class Variance(NamedTuple):
    """Of a mean: what runs make of it, estimated with so many degrees of freedom, and what else there is, known."""

    of_runs: float
    freedom: int
    known: float
    least: float = 0.0  # the sum is no less, whatever the runs say

    @property
    def total(self) -> float:
        """The estimate of it."""
        return max(self.of_runs + self.known, self.least)


def p_value(distance: float, variance: Variance) -> float:
    """Two-sided: the probability of a mean at least as far from the truth. Some part of the variance is not 0."""
    tails = []
    for times, share in _nodes(min(variance.freedom, MOST)):
        total = max(variance.of_runs * times + variance.known, variance.least)
        tails.append(share * math.erfc(abs(distance) / math.sqrt(2 * total)))
    return min(1.0, math.fsum(tails))


def half_width(variance: Variance) -> float:
    """The distance that a mean exceeds with probability 0.05, to nine digits."""
    low, high = 0.0, math.sqrt(variance.total)
    while p_value(high, variance) > 1 - LEVEL:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle, variance) > 1 - LEVEL else (low, middle)
    return high


@lru_cache(maxsize=64)
def _nodes(freedom: int) -> list[tuple[float, float]]:
    """(nu / chi2, its share): the trapezoidal rule over the logarithm of chi2, where it converges fast."""
    spread = math.sqrt(2 / freedom)
    least, most = -80 / freedom - 12 * spread, 2 + 12 * spread  # about nu, where chi2 has its mean
    found = []
    for i in range(NODES + 1):
        shift = least + (most - least) * i / NODES
        chi2 = freedom * math.exp(shift)
        found.append((math.exp(-shift), math.exp(freedom / 2 * (shift + 1) - chi2 / 2)))
    whole = math.fsum(weight for _, weight in found)
    return [(times, weight / whole) for times, weight in found]

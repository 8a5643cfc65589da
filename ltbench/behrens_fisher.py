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
from collections.abc import Iterator
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
    """Two-sided: the probability of a mean at least as far from the truth. Some part of the variance is not 0.

    Right to a millionth of itself; to a thousandth where `least` bears, at whose kink the rule of _nodes() is coarse.
    """
    return min(1.0, math.fsum(share * math.erfc(abs(distance) / scale) for scale, share in _scales(variance)))


def half_width(variance: Variance) -> float:
    """The distance at which p_value() is 0.05."""
    scales = list(_scales(variance))
    distance, step = 0.0, math.inf
    while step > 1e-9 * distance:  # Newton's steps: p falls ever more slowly, so that none of them leads too far
        p = math.fsum(share * math.erfc(distance / scale) for scale, share in scales)
        falls = math.fsum(share / scale * math.exp(-((distance / scale) ** 2)) for scale, share in scales)
        step = (p - (1 - LEVEL)) / (falls * 2 / math.sqrt(math.pi))
        distance += step
    return distance


def _scales(variance: Variance) -> Iterator[tuple[float, float]]:
    """(sqrt(2) standard deviations, its share) of the ways in which the estimate may be off."""
    for times, share in _nodes(min(variance.freedom, MOST)):
        yield math.sqrt(2 * max(variance.of_runs * times + variance.known, variance.least)), share


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

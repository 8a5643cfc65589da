"""Student's distribution for whole degrees of freedom, in closed sums: importing scipy takes a third of a second.

Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math
from functools import lru_cache

LEVEL = 0.95  # of all intervals
ROUNDING = 1e-9  # a spread below this, in per cent or shares, is the arithmetic's: one image is far above it


def within(t: float, freedom: int) -> float:
    """The probability that |T| is at most |t|. Raises ValueError for freedom below 1."""
    if freedom < 1:
        raise ValueError(f"Student's distribution has at least 1 degree of freedom, got {freedom}")
    angle = math.atan2(abs(t), math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for k in range(1 + odd, freedom - 2, 2):
        term *= cosine**2 * k / (k + 1)
        total += term
    if odd:
        return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
    return sine * total


def p_value(t: float, freedom: int) -> float:
    """Two-sided: the probability of a T at least as far from 0."""
    return max(0.0, 1.0 - within(t, freedom))


@lru_cache(maxsize=1024)
def quantile(freedom: int) -> float:
    """The t that |T| exceeds with probability 0.05, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while within(high, freedom) < LEVEL:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if within(middle, freedom) < LEVEL else (low, middle)
    return high

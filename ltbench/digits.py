"""Figures as people read them: the same digits on every chip."""

from __future__ import annotations

import math


def fixed(value: float | None, places: int = 1, sign: bool = False) -> str:
    """48.4, +8.4 with a sign, n/a for None. -0.04 is -0.0, which says on which side of zero it lies.

    Shares of whole images may lie half way between two such figures, and one chip's sums then end just below, another's
    just above: they go away from zero, as is taught.
    """
    if value is None:
        return "n/a"
    clean = round(value, 9) + 0.0  # -0.0 and what is only the arithmetic's lie on neither
    return f"{clean + math.copysign(1e-9, clean):{'+' if sign else ''}.{places}f}"


def plus_minus(mean: float | None, half: float | None, sign: bool = False) -> str:
    """48.4±0.7, 48.4 without an interval, n/a without a mean."""
    return fixed(mean, sign=sign) + ("" if mean is None or half is None else f"±{fixed(half)}")

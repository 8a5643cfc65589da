"""Figures as people read them."""

from __future__ import annotations

import math

import pytest

from ltbench.digits import fixed, plus_minus


@pytest.mark.parametrize(
    ("value", "shown"),
    [(48.44, "48.4"), (-1.0, "-1.0"), (0, "0.0"), (-0.0, "0.0"), (-1e-15, "0.0"), (-0.04, "-0.0"), (None, "n/a")],
)
def test_one_decimal_and_a_minus_where_it_is_below_zero(value, shown):
    assert fixed(value) == shown


@pytest.mark.parametrize("half", [8.55, 0.25, 33.55, 0.05])
def test_what_lies_half_way_is_one_figure_whatever_a_sum_ends_in(half):
    """A committed page had 8.5 from one chip, and 8.6 from another."""
    assert fixed(math.nextafter(half, 0)) == fixed(half) == fixed(math.nextafter(half, math.inf))
    assert float(fixed(half)) > half and fixed(-half) == f"-{fixed(half)}"


def test_signs_and_places():
    assert (fixed(8.35, 2, sign=True), fixed(-0.001, 2, sign=True), fixed(62.4, 0)) == ("+8.35", "-0.00", "62")


def test_a_half_width_stands_beside_what_it_is_of():
    assert plus_minus(48.4, 0.66) == "48.4±0.7" and plus_minus(8.4, None, sign=True) == "+8.4"
    assert plus_minus(None, None) == plus_minus(None, 1.0) == "n/a"

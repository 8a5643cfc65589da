"""Student's distribution against scipy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ltbench import student


@given(st.floats(-200, 200), st.integers(1, 3000))
def test_the_probability_is_scipys(t, freedom):
    # The incomplete beta function, not stats.t: that one is wrong by 1e-9 near 0 (of 3.8e-8 and one degree of freedom
    # it says 2.5e-8 where (2 / pi) atan(t) is 2.4e-8).
    inside = special.betainc(0.5, freedom / 2, t**2 / (t**2 + freedom))
    assert student.within(t, freedom) == pytest.approx(inside, abs=1e-11)
    assert student.p_value(t, freedom) == pytest.approx(1 - inside, abs=1e-11)


def test_the_quantile_is_scipys():
    for freedom in (*range(1, 41), 100, 1001, 9999):
        assert student.quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [0, -1])
def test_no_freedom_is_no_distribution(freedom):
    with pytest.raises(ValueError, match=f"at least 1 degree of freedom, got {freedom}"):
        student.within(1.0, freedom)

"""Student's distribution against scipy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ltbench import student


@given(st.floats(-200, 200), st.integers(1, 3000))
def test_the_probability_is_scipys(t, freedom):
    # scipy's own is wrong by 5e-11 near 0: of t = 4.557e-7 and one degree of freedom, (2 / pi) atan(t) is 2.9013e-7
    assert student.within(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(abs(t), freedom), abs=1e-9)
    assert student.p_value(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-9)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_the_quantile_is_scipys(level):
    for freedom in (*range(1, 41), 100, 1001, 9999):
        assert student.quantile(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)


@pytest.mark.parametrize("freedom", [0, -1])
def test_no_freedom_is_no_distribution(freedom):
    with pytest.raises(ValueError, match=f"at least 1 degree of freedom, got {freedom}"):
        student.within(1.0, freedom)

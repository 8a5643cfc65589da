"""One variance estimated, one known: between Student's distribution and the normal one."""

import math

import calls
import numpy as np
import pytest
from scipy import stats

from ltbench.behrens_fisher import Variance, half_width, p_value


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 200, 999])
def test_with_nothing_known_it_is_students(freedom):
    for t in (0.0, 0.3, 1.0, 2.5, 6.0, 40.0):
        expected = 2 * stats.t.sf(t, freedom)
        assert p_value(3 * t, Variance(9.0, freedom, 0.0)) == pytest.approx(expected, rel=1e-6, abs=1e-13)
    assert half_width(Variance(4.0, freedom, 0.0)) == pytest.approx(2 * stats.t.isf(0.025, freedom), rel=1e-6)


def test_with_nothing_estimated_it_is_the_normal_distribution():
    for t in (0.0, 1.0, -3.0, 8.0):
        assert p_value(2 * t, Variance(0.0, 2, 4.0)) == pytest.approx(2 * stats.norm.sf(abs(t)), rel=1e-9)
    assert half_width(Variance(0.0, 2, 4.0)) == pytest.approx(2 * stats.norm.isf(0.025), rel=1e-8)


@calls.cases(40)
def test_it_is_the_mean_over_the_ways_in_which_the_estimate_may_be_off(case):
    random = np.random.default_rng(case)
    freedom, of_runs, known, distance = int(random.integers(1, 12)), *random.exponential(1, 3)
    least = (of_runs + known) * random.uniform(0, 1.5)
    share = np.arange(0.5, 50_000) / 50_000
    total = np.maximum(of_runs * freedom / stats.chi2.ppf(share, freedom) + known, least)
    expected = (2 * stats.norm.sf(distance / np.sqrt(total))).mean()
    assert p_value(distance, Variance(of_runs, freedom, known, least)) == pytest.approx(expected, rel=2e-3, abs=1e-5)


@calls.cases(30)
def test_the_half_width_is_where_p_is_a_twentieth(case):
    random = np.random.default_rng(case)
    variance = Variance(random.exponential(), int(random.integers(1, 30)), random.exponential(), random.exponential())
    half = half_width(variance)
    assert p_value(half, variance) == pytest.approx(0.05, abs=1e-7)
    assert half >= stats.norm.isf(0.025) * math.sqrt(max(variance.known, variance.least)) * (1 - 1e-9)


@pytest.mark.parametrize("known", [0.0, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("freedom", [1, 2, 4])
def test_what_is_true_is_rejected_as_rarely_as_is_said_or_more_rarely(known, freedom):
    """Robinson 1976; a part estimated as 0 by chance makes nothing sure."""
    random = np.random.default_rng(5)
    outside = 0
    for _ in range(1500):
        estimated = random.chisquare(freedom) / freedom
        outside += p_value(random.normal(0, math.sqrt(1 + known)), Variance(estimated, freedom, known)) < 0.05
    assert outside / 1500 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)

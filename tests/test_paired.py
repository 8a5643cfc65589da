"""The tests of one row against another, against scipy and against a way that takes no short cut."""

from __future__ import annotations

import math
from functools import cache

import calls
import numpy as np
import pytest
from make_records import make
from scipy import stats

from ltbench import paired, record
from ltbench.behrens_fisher import half_width
from ltbench.paired import crossed, difference, mcnemar, mcnemar_exact


@calls.cases(300)
def test_mcnemar_is_the_binomial_test(case):
    random = np.random.default_rng(case)
    n = int(random.integers(0, 40)) if case % 3 else int(random.integers(0, 10_000))
    better = int(random.binomial(n, random.uniform(0.3, 0.7)))
    exact = stats.binomtest(better, n, 0.5).pvalue if n else 1.0
    assert mcnemar_exact(better, n - better) == pytest.approx(exact, rel=1e-8, abs=1e-300)
    at = stats.binom.pmf(better, n, 0.5)
    assert mcnemar(better, n - better) == pytest.approx(
        min(1.0, 2 * stats.binom.cdf(min(better, n - better), n, 0.5) - at), rel=1e-8
    )
    assert mcnemar(better, n - better) == mcnemar(n - better, better) <= mcnemar_exact(better, n - better)


@cache
def misjudged(freedom: int) -> np.ndarray:
    """By how much a variance may be more than its estimate, at equal shares."""
    return freedom / stats.chi2.ppf(np.arange(0.5, 100_000) / 100_000, freedom)


def by_definition(values: np.ndarray) -> tuple[float, float]:
    """(mean, p) of the two-way random model, from an analysis of variance written out cell by cell."""
    seeds, images = values.shape
    mean = values.mean()
    rows, columns = values.mean(1), values.mean(0)
    ms_seed = images * sum((r - mean) ** 2 for r in rows) / (seeds - 1)
    ms_image = seeds * sum((c - mean) ** 2 for c in columns) / (images - 1)
    rest = values - rows[:, None] - columns[None, :] + mean
    ms_rest = (rest**2).sum() / ((seeds - 1) * (images - 1))
    of_seeds = ms_seed * misjudged(seeds - 1)
    # never below the variance of the images' means over seeds, as if these seeds were all there are
    noise = np.maximum(of_seeds + max(ms_image - ms_rest, 0), columns.var(ddof=1) * seeds)
    return mean, float(2 * stats.norm.sf(abs(mean) / np.sqrt(noise / values.size)).mean())


@calls.cases(300)
def test_several_seeds_are_the_two_way_model(case):
    random = np.random.default_rng(case)
    seeds, images = int(random.integers(2, 6)), int(random.integers(20, 400))
    easy = random.uniform(0.1, 0.9, images)
    ours, theirs = (random.random((seeds, images)) < easy + random.normal(0, 0.05, (seeds, 1)) for _ in range(2))
    values = ours.astype(float) - theirs
    mean, p = by_definition(values)
    found = difference(ours, theirs)
    assert found.mean == pytest.approx(100 * mean) and found.p == pytest.approx(p, rel=2e-3)
    assert crossed(values) == pytest.approx(found)


def test_where_runs_are_alike_only_images_count_and_where_images_are_alike_only_runs():
    random = np.random.default_rng(0)
    one = random.normal(0.05, 1, 500)
    alike = np.tile(one, (3, 1))
    assert crossed(alike).p == pytest.approx(stats.ttest_1samp(one, 0).pvalue, rel=0.01)
    each = np.array([0.1, 0.3, 0.2, 0.35])
    assert crossed(np.tile(each[:, None], (1, 50))).p == pytest.approx(stats.ttest_1samp(each, 0).pvalue)


@calls.cases(60)
def test_of_one_seed_weighted_images_give_students_test(case):
    random = np.random.default_rng(case)
    ours, theirs = random.random((2, 1, 200)) < 0.5
    weights = random.uniform(0.1, 2, 200)
    weights /= weights.mean()
    found = difference(ours, theirs, weights)
    gaps = (ours[0].astype(float) - theirs[0]) * weights
    assert found.mean == pytest.approx(100 * gaps.mean())
    assert found.p == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue, rel=1e-6)


@calls.cases(300)
def test_differences_over_seeds_are_students_paired_test(case):
    random = np.random.default_rng(case)
    a, b = random.normal(50, 3, (2, int(random.integers(2, 12))))
    assert paired.over_seeds((a - b).tolist()) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-9)


def test_nothing_to_tell_by():
    assert paired.over_seeds([1.0]) is None and paired.over_seeds([]) is None
    assert paired.over_seeds([0.0, 0.0]) == 1
    alike = np.ones((2, 10), dtype=bool)
    assert difference(alike, alike) == (0.0, 1.0)


def test_equal_differences_of_a_few_seeds_are_no_proof():
    """Two seeds that both gain 2 of 100 images: a coincidence of whole numbers, which once gave p = 0."""
    assert paired.over_seeds([2.0, 2.0]) is None
    alike = np.ones((2, 10), dtype=bool)
    assert difference(alike, ~alike) == (100.0, None)
    one_each = np.zeros((2, 10), dtype=bool)
    one_each[0, 3] = one_each[1, 7] = True  # each seed one image ahead, and not the same one
    found = difference(one_each, np.zeros((2, 10), dtype=bool))
    assert found.p == pytest.approx(2 * stats.norm.sf(stats.ttest_1samp(one_each.mean(0), 0).statistic))


@calls.cases(100)
def test_seeds_that_agree_by_chance_do_not_make_the_images_surer(case):
    """The variance of RIDE - NCM on few classes, three seeds, was once 0.6 of what the images alone make of it."""
    random = np.random.default_rng(case)
    ours, theirs = random.random((2, 3, 200)) < random.uniform(0.1, 0.9, 200)
    values = ours.astype(float) - theirs
    least = values.mean(0).var(ddof=1) / 200 - 1e-12
    _, variance = paired.crossed_variance(values)
    assert variance.total >= least
    assert half_width(variance) >= stats.norm.isf(0.025) * math.sqrt(least) - 1e-9


def chances(rate: float, own: float, seeds: int, random: np.random.Generator) -> np.ndarray:
    """The p of 400 pairs of rows that are equally good in truth.

    rate: how far runs differ in luck; own: how far the rows differ in which images they find easy.
    """
    found = []
    for _ in range(400):
        easy = random.normal(0, 1, 300) + random.normal(0, own, (2, 1, 300))
        luck = random.normal(0, rate, (2, seeds, 1))
        ours, theirs = easy + random.normal(0, 1, (2, seeds, 300)) + luck > 0
        p = difference(ours, theirs).p
        found.append(1.0 if p is None else p)
    return np.array(found)


@pytest.mark.parametrize(("rate", "own"), [(0.0, 0.0), (0.2, 0.0), (0.2, 0.7)])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_rows_that_are_alike_are_told_apart_as_rarely_as_is_said(rate, own, seeds):
    found = chances(rate, own, seeds, np.random.default_rng(3))
    assert (found < 0.05).mean() <= 0.075 and (found < 0.001).mean() <= 0.005  # of 400, three standard errors


# Rows, by their records


def runs(hits: np.ndarray, total: tuple[int, ...], label: str) -> list[record.Record]:
    true = np.repeat(np.arange(len(total)), total)
    return [
        make(
            label, seed, right=tuple(np.bincount(true[hit], minlength=len(total)).tolist()), total=total,
            predictions=record.encode(np.where(hit, true, (true + 1) % len(total))),
        )
        for seed, hit in enumerate(hits)
    ]  # fmt: skip


def test_behind_is_what_the_paired_test_says_of_a_lower_row():
    random = np.random.default_rng(0)
    low, near, high = random.random((3, 3, 3000)) < np.array([0.2, 0.79, 0.8])[:, None, None]
    total = (1000, 1000, 1000)

    def behind(a: np.ndarray, b: np.ndarray) -> bool | None:
        comparer = paired.Comparer([1.0] * 3)
        ours, theirs = (dict(enumerate(runs(hits, total, name))) for hits, name in ((a, "bbn"), (b, "ce")))
        found = comparer.difference(ours, theirs, {})
        assert found == difference(a, b)
        return comparer.behind(ours, theirs, {})

    assert behind(low, high) is True and behind(low[:1], high[:1]) is True
    assert behind(high, low) is False, "it is ahead"
    assert behind(near, high) is False, "not told apart"
    lucky = random.random((3, 3000)) < np.array([0.1, 0.5, 0.9])[:, None]
    assert behind(lucky, lucky[::-1]) is False


def test_rows_without_a_test_are_neither_behind_nor_not():
    """No seed in common, a seed without predictions, or a single test image for two seeds."""
    comparer, total = paired.Comparer([1.0] * 3), (100, 0, 0)
    low, high = (runs(np.arange(100)[None, :] < n, total, name) for n, name in ((10, "ce"), (90, "bbn")))
    scores = {run.key: run.right[0] for run in (*low, *high)}
    assert comparer.behind({0: low[0]}, {1: high[0]}, scores) is None
    bare = low[0].model_copy(update={"predictions": ""})
    assert comparer.behind({0: bare}, {0: high[0]}, scores) is None
    ours, theirs = (runs(np.full((2, 1), right), (1, 0, 0), name) for right, name in ((False, "ce"), (True, "bbn")))
    one = {run.key: 100.0 * run.right[0] for run in (*ours, *theirs)}
    assert comparer.behind(dict(enumerate(ours)), dict(enumerate(theirs)), one) is None


def test_records_without_predictions_are_compared_by_their_scores():
    ours, theirs = ({s: make(label, s, macs=float(s)) for s in range(3)} for label in ("bbn", "ce"))
    scores = {r.key: 60.0 + r.seed for r in ours.values()} | {r.key: 50.0 + 2 * r.seed for r in theirs.values()}
    found = paired.Comparer([1.0] * 3).difference(ours, theirs, scores)
    assert found is not None and found.mean == pytest.approx(9)
    assert found.p == pytest.approx(stats.ttest_1samp([10, 9, 8], 0).pvalue)
    assert paired.Comparer([1.0] * 3).difference(ours, {7: theirs[0]}, scores) is None


def test_where_images_weigh_differently_the_counts_alone_decide_nothing():
    # of 1000 images of class 0 ours are right in 200 and theirs in 800; of 10 of class 1 ours in all, theirs in none
    total = (1000, 10, 0)
    place = np.arange(1010)
    ours, theirs = ((place < 200) | (place >= 1000))[None], (place < 800)[None]
    (a,), (b,) = runs(ours, total, "bbn"), runs(theirs, total, "ce")
    assert paired.Comparer([1.0, 1.0, 1.0]).behind({0: a}, {0: b}, {}) is True
    # by class: -60 and +100 per cent
    assert paired.Comparer([1 / 1000, 1 / 10, 0.0]).behind({0: a}, {0: b}, {}) is False
    assert paired.Comparer([1 / 1000, 1 / 10, 0.0]).difference({0: a}, {0: b}, {}).mean == pytest.approx(20)

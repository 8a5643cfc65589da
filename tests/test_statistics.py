"""Intervals, paired differences and calibration against scipy and numpy, on 300 generated cases."""

from __future__ import annotations

import itertools

import calls
import numpy as np
import pytest
from make_records import make, row, text, write
from scipy import stats

from ltbench.scores import GROUPS, calibration, ece, figures, gain, summary
from ltbench.tables import load


@calls.cases(300)
def test_the_interval_is_students(case):
    random = np.random.default_rng(case)
    values = random.normal(50, random.uniform(0.1, 10), int(random.integers(2, 15)))
    found = summary(values.tolist())
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    assert found["mean"] == pytest.approx(values.mean()) and found["sd"] == pytest.approx(values.std(ddof=1))
    assert found["ci95"] == pytest.approx((high - low) / 2, rel=1e-9)


@calls.cases(300)
def test_a_gain_is_the_paired_difference(case):
    random = np.random.default_rng(case)
    seeds = sorted(random.choice(20, int(random.integers(2, 12)), replace=False).tolist())
    ours, theirs = random.normal(50, 5, (2, len(seeds)))
    strangers = {100: 99.0}  # a seed that only one of them has
    found = gain(dict(zip(seeds, ours, strict=True)) | strangers, dict(zip(seeds, theirs, strict=True)))
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found["n"] == len(seeds) and found["mean"] == pytest.approx(ours.mean() - theirs.mean())
    assert found["ci95"] == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)


@calls.cases(300)
def test_the_calibration_error_is_that_of_the_images(case):
    random = np.random.default_rng(case)
    images, classes = int(random.integers(1, 300)), int(random.integers(2, 10))
    logits = random.normal(0, random.uniform(0.1, 8), (images, classes))
    label = random.integers(0, classes, images)
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    confidence, hit = odds.max(1), odds.argmax(1) == label
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            expected += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert ece(calibration(confidence, hit)) == pytest.approx(100 * expected)


@calls.cases(300)
def test_the_table_of_many_rows_is_what_numpy_makes_of_the_counts(case, tmp_path_factory):
    random = np.random.default_rng(case)
    classes, seeds = int(random.integers(1, 9)), int(random.integers(1, 5))
    counts = tuple(sorted(random.integers(1, 300, classes).tolist(), reverse=True))
    data = make().data.model_copy(update={"counts": counts})
    right = random.integers(0, 11, (2, seeds, classes))
    present = random.random((2, seeds)) < 0.8
    made = [
        [make(label, s, right=tuple(right[i, s].tolist()), total=(10,) * classes, data=data) for s in range(seeds)]
        for i, label in enumerate(("ce", "bbn"))
    ]
    there = [r for i in range(2) for s, r in enumerate(made[i]) if present[i, s]]
    rows = load(write(tmp_path_factory.mktemp("many"), [row(runs) for runs in made], there)).rows
    members = {"top1": np.arange(classes)} | {
        "many": np.flatnonzero(np.array(counts) > 100),
        "medium": np.flatnonzero((np.array(counts) <= 100) & (np.array(counts) >= 20)),
        "few": np.flatnonzero(np.array(counts) < 20),
    }
    for i, found in enumerate(rows):
        assert (found["n"], found["asked"]) == (present[i].sum(), seeds)
        assert found["status"] == ("complete" if present[i].all() else "partial" if present[i].any() else "missing")
        for name, group in members.items():
            values = 10 * right[i][present[i]][:, group].mean(1) if len(group) else np.array([])
            mean = values.mean() if len(values) else None
            sd = values.std(ddof=1) if len(values) > 1 else None
            assert found[name]["mean"] == (None if mean is None else pytest.approx(mean)), name
            assert found[name]["sd"] == (None if sd is None else pytest.approx(sd)), name
    both = present.all(0)
    if present.any(1).all():
        gaps = 10 * (right[1] - right[0])[both].mean(1)
        expected = gaps.mean() if len(gaps) else None
        assert rows[1]["gain"]["mean"] == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_a_group_without_classes_is_na_in_every_format(tmp_path):
    made = [make("ce", data=make().data.model_copy(update={"counts": (200, 200, 200)}))]
    board = load(write(tmp_path, [row(made)], made))
    assert figures(made[0])["few"] is None
    assert [board.rows[0][name]["mean"] for name in GROUPS] == [50, None, None]
    assert text(board, 120).count("n/a") == 2

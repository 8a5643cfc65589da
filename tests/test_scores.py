"""The figures of a record, and their summaries over seeds."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import paired
from ltbench.record import Calibration, Data, Record
from ltbench.scores import accuracy, class_shift, class_weights, ece, figures, gain, group_classes, summary
from ltbench.student import quantile

FEW = settings(deadline=None, max_examples=50)
EDGES = (100, 20)


def record(counts, right, total, calibration=None) -> Record:
    return Record(
        protocol=1, suite="s", key="k", status="complete", method="ce", version=1, plugin="", options={}, label="ce",
        data=Data(name="toy", counts=counts, groups=EDGES, fingerprints={}), backbone="resnet8", seed=0, part="all",
        recipe={}, suite_recipe={}, parents={}, right=right, total=total, calibration=calibration,
    )  # fmt: skip


def test_groups_have_medium_at_both_edges():
    assert group_classes((101, 100, 50, 20, 19, 1), EDGES) == {"many": [0], "medium": [1, 2, 3], "few": [4, 5]}


def test_figures_by_hand():
    # many (9 + 7) / 20, medium (5 + 4) / 20, few 1 / 20; all 26 / 60
    found = figures(record((500, 101, 100, 20, 19, 5), (9, 7, 5, 4, 1, 0), (10,) * 6))
    expected = {"top1": 100 * 26 / 60, "many": 80, "medium": 45, "few": 5}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["ece"] is None


def test_classes_weigh_by_their_test_images():
    # (1 + 30) / (2 + 40), not the mean of 1/2 and 3/4
    assert accuracy(record((9, 9), (1, 30), (2, 40)), [0, 1]) == pytest.approx(100 * 31 / 42)


def test_an_empty_group_has_no_figure():
    found = figures(record((50, 30), (5, 3), (10, 10)))
    assert (found["many"], found["few"]) == (None, None)
    assert found["medium"] == found["top1"] == 40


def test_other_thresholds_move_classes():
    found = figures(record((50, 30), (5, 3), (10, 10)).grouped((40, 35)))
    assert (found["many"], found["medium"], found["few"]) == (50, None, 30)


@FEW
@given(st.lists(st.tuples(st.integers(1, 600), st.integers(0, 10)), min_size=1, max_size=12))
def test_groups_partition_the_classes(classes):
    counts, right = zip(*classes, strict=True)
    groups = group_classes(counts, EDGES)
    assert sorted(c for members in groups.values() for c in members) == list(range(len(counts)))
    found = figures(record(counts, right, (10,) * len(counts)))
    weighed = [len(groups[name]) * found[name] for name in groups if groups[name]]
    assert sum(weighed) / len(counts) == pytest.approx(found["top1"])


# Calibration


def test_ece_by_hand():
    # bins of 4 and 6 images: |3 - 2.4| + |3 - 5.1| = 2.7 of 10
    bins = Calibration(count=(4, 0, 6), right=(3, 0, 3), confidence=(2.4, 0.0, 5.1))
    assert ece(bins) == pytest.approx(27)
    assert figures(record((5,), (6,), (10,), bins))["ece"] == pytest.approx(27)


def test_a_model_as_right_as_it_is_sure_has_no_calibration_error():
    assert ece(Calibration(count=(10, 10), right=(4, 9), confidence=(4.0, 9.0))) == 0


@pytest.mark.parametrize("bins", [None, Calibration(count=(0, 0), right=(0, 0), confidence=(0.0, 0.0))])
def test_without_images_there_is_no_calibration_error(bins):
    assert ece(bins) is None


# Summaries


def test_three_seeds_by_hand():
    # mean 48; deviations -1, 0, 1: sd sqrt(2 / 2) = 1; t(2) = 4.302653, over sqrt 3
    expected = {"mean": 48, "sd": 1, "ci95": 4.302653 / math.sqrt(3)}
    assert summary([47, 48, 49]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706205), (2, 4.302653), (4, 2.776445), (30, 2.042272)])
def test_students_points_are_the_tables(freedom, expected):
    assert quantile(freedom) == pytest.approx(expected, abs=1e-6)


def test_one_seed_has_no_spread():
    assert summary([48.5]) == {"mean": 48.5, "sd": None, "ci95": None}


@pytest.mark.parametrize("values", [[], [None], [1.0, None], [None, 1.0, 2.0]])
def test_what_is_missing_is_not_averaged_over(values):
    assert summary(values) == {"mean": None, "sd": None, "ci95": None}


@FEW
@given(st.lists(st.floats(0, 100), min_size=2, max_size=10))
def test_the_spread_is_the_sample_deviation(values):
    found = summary(values)
    assert found["mean"] == pytest.approx(statistics.fmean(values))
    assert found["sd"] == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_a_gain_is_paired_by_seed():
    # differences 1, 2, 3: mean 2, sd 1; unpaired, the spread would be ten times that
    ours, theirs = {2: 63.0, 0: 41.0, 1: 52.0}, {0: 40.0, 1: 50.0, 2: 60.0}
    expected = {"mean": 2, "ci95": 4.302653 / math.sqrt(3), "n": 3}
    assert gain(ours, theirs) == pytest.approx(expected, rel=1e-6)


def test_a_gain_is_over_the_seeds_that_both_have():
    found = gain({0: 41.0, 1: 99.0}, {0: 40.0, 2: 0.0})
    assert found == {"mean": 1, "ci95": None, "n": 1}


@pytest.mark.parametrize("theirs", [{}, {7: 1.0}, {0: None}])
def test_without_pairs_there_is_no_gain(theirs):
    assert gain({0: 41.0}, theirs)["mean"] is None


def test_a_method_gains_nothing_over_itself():
    assert gain({0: 41.0, 1: 43.0}, {0: 41.0, 1: 43.0}) == {"mean": 0, "ci95": None, "n": 2}


def test_equal_values_show_no_spread_and_no_interval():
    """On a grid of whole images two seeds are equal now and then: +2.0±0.0 would claim certainty."""
    assert summary([12.0, 12.0]) == {"mean": 12, "sd": 0, "ci95": None}


@FEW
@given(st.integers(2, 50_000), st.integers(-3, 3), st.lists(st.integers(0, 10**6), min_size=2, max_size=5))
def test_equally_many_images_more_in_each_seed_are_equal_gains_whatever_the_arithmetic_rounds_to(images, more, right):
    theirs = {seed: 100 * (n % images) / images for seed, n in enumerate(right)}
    ours = {seed: 100 * (n % images + more) / images for seed, n in enumerate(right)}
    found = gain(ours, theirs)
    assert found["mean"] == pytest.approx(100 * more / images, abs=1e-9) and found["ci95"] is None
    p = paired.over_seeds([ours[seed] - theirs[seed] for seed in ours])
    assert p == (None if more else 1.0)


def test_classes_of_equally_many_images_are_ranked_by_their_label():
    assert class_shift((7, 7, 5), "forward25") == pytest.approx((1, 1 / 5, 1 / 25))
    assert class_shift((7, 7, 5), "backward25") == pytest.approx((1 / 25, 1 / 5, 1))


def test_what_an_image_of_each_class_weighs():
    made = record((500, 50, 5), (1, 2, 0), (2, 4, 0))
    assert class_weights(made, "top1", "uniform") == [1, 1, 1]
    assert class_weights(made, "balanced", "uniform") == [1 / 2, 1 / 4, 0]
    assert class_weights(made, "balanced", "forward25") == [1 / 2, 1 / 4, 0]
    assert class_weights(made, "top1", "forward25") == pytest.approx([1 / 2, 1 / 20, 0])
    assert class_weights(made, "worst", "uniform") is None

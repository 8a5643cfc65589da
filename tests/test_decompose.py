"""Bias and variance against closed forms, against direct computation, and of simulated classifiers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import decompose as d
from ltbench.decompose import BRIER, PAIRS, VOTES, by_pairs, by_squares, by_votes, decompose, interval, softmax

FEW = settings(deadline=None, max_examples=60)


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(d, "RESAMPLES", 200)


def means(figures):
    return {name: float(value.mean()) for name, value in figures.items()}


@st.composite
def predictions(draw, least=2):
    """(predicted [R, M], label, classes)."""
    runs, images, classes = draw(st.integers(least, 7)), draw(st.integers(1, 9)), draw(st.integers(2, 6))
    flat = draw(st.lists(st.integers(0, classes - 1), min_size=runs * images, max_size=runs * images))
    return np.array(flat).reshape(runs, images), draw(st.integers(0, classes - 1)), classes


# Closed forms


@pytest.mark.parametrize("runs", [2, 3, 8])
def test_a_perfect_predictor_has_neither_bias_nor_variance(runs):
    said = np.full((runs, 5), 2)
    assert means(by_votes(said, 2)) == dict.fromkeys(VOTES, 0.0)
    assert means(by_pairs(said, 2, 4)) == dict.fromkeys(PAIRS, 0.0)
    assert means(by_squares(np.eye(4)[said], 2)) == dict.fromkeys(BRIER, 0.0)


@pytest.mark.parametrize("runs", [2, 3, 8])
def test_a_constant_predictor_is_all_bias(runs):
    said = np.full((runs, 5), 1)
    assert means(by_votes(said, 2)) == {"error": 1.0, "bias": 1.0, "variance": 0.0, "net_variance": 0.0}
    assert means(by_pairs(said, 2, 4)) == {"kw_bias": 1.0, "kw_variance": 0.0}
    assert means(by_squares(np.eye(4)[said], 2)) == {"brier": 2.0, "brier_bias": 2.0, "brier_variance": 0.0}


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_uniform_probabilities_are_bias_alone(classes):
    found = means(by_squares(np.full((4, 3, classes), 1 / classes), 0))
    assert found["brier_variance"] == pytest.approx(0.0, abs=1e-30)
    assert found["brier_bias"] == found["brier"] == pytest.approx(1 - 1 / classes)


def test_coin_flips_have_the_bias_and_variance_of_coins():
    said = np.random.default_rng(0).integers(0, 2, (9, 40_000))
    # main prediction of 9 flips: right or wrong alike; a flip departs from it with probability 1/2 - C(8, 4) / 2^9
    departs = 0.5 - 70 / 512
    found = means(by_votes(said, 0)) | means(by_pairs(said, 0, 2))
    assert found["error"] == pytest.approx(0.5, abs=0.006)
    assert found["bias"] == pytest.approx(0.5, abs=0.01)
    assert found["variance"] == pytest.approx(departs, abs=0.005)
    assert found["net_variance"] == pytest.approx(0.0, abs=0.01)
    # for every run count: 1 - sum p^2 over 2 = 1/4, and (1 - 1/2)^2 + (1/2)^2 over 2 = 1/4
    assert found["kw_variance"] == pytest.approx(0.25, abs=0.004)
    assert found["kw_bias"] == pytest.approx(0.25, abs=0.006)


def test_a_known_mixture_by_hand():
    # one image, label 0; of ten runs six say 0, three say 1, one says 2
    said = np.array([0] * 6 + [1] * 3 + [2])[:, None]
    assert means(by_votes(said, 0)) == pytest.approx({"error": 0.4, "bias": 0, "variance": 0.4, "net_variance": 0.4})
    assert means(by_votes(said, 1)) == pytest.approx({"error": 0.7, "bias": 1, "variance": 0.4, "net_variance": -0.3})
    assert means(by_votes(said, 2)) == pytest.approx({"error": 0.9, "bias": 1, "variance": 0.4, "net_variance": -0.1})
    # 6*3 + 6*1 + 3*1 = 27 of 45 pairs disagree
    assert means(by_pairs(said, 0, 3)) == pytest.approx({"kw_variance": 27 / 90, "kw_bias": 0.4 - 27 / 90})


def test_tied_classes_are_the_main_prediction_with_equal_probability():
    two = np.array([[0], [1]])
    assert means(by_votes(two, 0)) == {"error": 0.5, "bias": 0.5, "variance": 0.5, "net_variance": 0.0}
    assert means(by_votes(two, 2)) == {"error": 1.0, "bias": 1.0, "variance": 0.5, "net_variance": 0.0}
    three = np.array([[0], [1], [2]])
    assert means(by_votes(three, 1)) == pytest.approx(
        {"error": 2 / 3, "bias": 2 / 3, "variance": 2 / 3, "net_variance": 0}, abs=1e-15
    )
    order = np.array([[4], [0], [4], [0], [3]])
    assert means(by_votes(order, 0)) == means(by_votes(order[::-1], 4)), "no class is preferred for its number"


# Against direct computation, and identities


@FEW
@given(predictions(1))
def test_votes_are_domingos_by_exact_fractions(given_):
    predicted, label, classes = given_
    runs, images = predicted.shape
    for m in range(images):
        votes = [int((predicted[:, m] == c).sum()) for c in range(classes)]
        tied = [c for c in range(classes) if votes[c] == max(votes)]
        want = dict.fromkeys(VOTES, Fraction(0))
        for main in tied:  # each with the same probability
            bias = int(main != label)
            variance = 1 - Fraction(votes[main], runs)
            # Domingos (2000): net variance is variance where the main prediction is right, else -P(right, not main)
            net = variance if not bias else -Fraction(votes[label], runs)
            for name, value in zip(VOTES, (1 - Fraction(votes[label], runs), bias, variance, net), strict=True):
                want[name] += Fraction(value) / len(tied)
        found = by_votes(predicted[:, [m]], label)
        for name in VOTES:
            assert found[name][0] == pytest.approx(float(want[name]), abs=1e-12), name


@FEW
@given(predictions())
def test_both_decompositions_of_0_1_loss_add_up(given_):
    predicted, label, classes = given_
    votes, pairs = by_votes(predicted, label), by_pairs(predicted, label, classes)
    error = (predicted != label).mean(0)
    np.testing.assert_allclose(votes["error"], error, atol=1e-12)
    np.testing.assert_allclose(votes["bias"] + votes["net_variance"], error, atol=1e-12)
    np.testing.assert_allclose(pairs["kw_bias"] + pairs["kw_variance"], error, atol=1e-12)
    disagree = (predicted[:, None] != predicted[None]).sum((0, 1)) / (len(predicted) * (len(predicted) - 1))
    np.testing.assert_allclose(pairs["kw_variance"], disagree / 2, atol=1e-12)


@FEW
@given(st.integers(2, 9), st.integers(1, 20), st.integers(2, 30), st.integers(0, 10**6), st.floats(0, 300))
def test_squared_error_is_bias_plus_variance_to_1e_12(runs, images, classes, seed, sharpness):
    random = np.random.default_rng(seed)
    probability = softmax(random.normal(0, 1, (runs, images, classes)).astype("f2") * np.float16(sharpness))
    np.testing.assert_allclose(probability.sum(2), 1, atol=1e-12)
    label = int(random.integers(classes))
    found = by_squares(probability, label)
    assert np.abs(found["brier_bias"] + found["brier_variance"] - found["brier"]).max() < 1e-12
    # and each part by pairs of runs, another way
    off = probability - np.eye(classes)[label]
    pairs = [(a, b) for a in range(runs) for b in range(runs) if a != b]
    bias = np.mean([(off[a] * off[b]).sum(1) for a, b in pairs], axis=0)
    variance = np.mean([((probability[a] - probability[b]) ** 2).sum(1) / 2 for a, b in pairs], axis=0)
    np.testing.assert_allclose(found["brier_bias"], bias, atol=1e-12)
    np.testing.assert_allclose(found["brier_variance"], variance, atol=1e-12)


# A whole test set


@FEW
@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.integers(2, 5), st.integers(0, 10**6), st.booleans())
def test_all_shapes_and_absent_classes(total, runs, seed, with_logits):
    random = np.random.default_rng(seed)
    images, classes = sum(total), len(total)
    predicted = random.integers(0, classes, (runs, images)).astype("u2")
    logits = [random.normal(size=(images, classes)).astype("f2") for _ in range(runs)] if with_logits else None
    absent = [c for c in range(classes) if not total[c]]
    found = decompose(predicted, total, {"all": range(classes), "many": [0], "absent": absent}, logits)
    label = np.repeat(np.arange(classes), total)
    assert not any(group == "absent" or (group == "many" and not total[0]) for group, _ in found.groups)
    if not images:
        assert not found.groups
        return
    names = (*(VOTES if runs > 2 else VOTES[:1]), *PAIRS, *(BRIER if with_logits else ()))
    assert {name for group, name in found.groups if group == "all"} == {*names, "to_many"}
    value = {name: found.groups["all", name][0] for name in names}
    moved = {name: found.groups["all", name][1] for name in names}
    if total[0]:
        assert found.groups["many", "error"][0] == pytest.approx((predicted != 0)[:, label == 0].mean())
    assert value["error"] == pytest.approx((predicted != label).mean())
    if runs > 2:
        assert value["bias"] + value["net_variance"] == pytest.approx(value["error"], abs=1e-12)
        np.testing.assert_allclose(moved["bias"] + moved["net_variance"], moved["error"], atol=1e-6)
    assert value["kw_bias"] + value["kw_variance"] == pytest.approx(value["error"], abs=1e-12)
    wrong = (predicted != label) & (predicted == 0)
    assert found.groups["all", "to_many"][0] == pytest.approx(wrong.mean())
    np.testing.assert_allclose(moved["kw_bias"] + moved["kw_variance"], moved["error"], atol=1e-12)
    if with_logits:
        assert abs(value["brier_bias"] + value["brier_variance"] - value["brier"]) < 1e-12
    for name in names:
        assert np.isfinite(moved[name]).all() and moved[name].shape == (3, 200)


def test_of_one_run_only_the_error_is_known():
    found = decompose(np.array([[0, 1, 1]]), [2, 1], {"all": [0, 1]}, [np.zeros((3, 2))])
    assert found.groups["all", "error"][0] == pytest.approx(1 / 3)
    assert {name for _, name in found.groups} == {"error", "to_many"}
    assert interval(0.5, np.zeros((3, 10)), 1) is None


def test_two_runs_have_no_interval_and_a_certain_figure_one_of_no_width():
    assert interval(0.5, np.random.default_rng(0).normal(size=(3, 50)), 2) is None
    assert interval(0.25, np.full((3, 50), 0.25), 3) == (0.25, 0.25)


def test_the_same_predictions_give_the_same_bytes_and_paired_differences_cancel():
    random = np.random.default_rng(1)
    predicted = random.integers(0, 3, (5, 60))
    one, two = (decompose(predicted, [20, 20, 20], {"all": [0, 1, 2]}) for _ in range(2))
    for name in (*VOTES, *PAIRS):
        assert np.array_equal(one.groups["all", name][1], two.groups["all", name][1])


# Simulated classifiers whose bias and variance are known

CLASSES, IMAGES, HARD, RIGHT, WRONG = 4, 60, 0.4, 0.85, 0.2
SHIFT = 0.1


def simulated(random, runs):
    """Predictions of runs that get an easy image right with probability .85 and a hard one with .2, plus a run's own
    luck of -.1 or .1; the wrong answer is always the next class."""
    label = np.repeat(np.arange(CLASSES), IMAGES)
    chance = np.where(random.random(len(label)) < HARD, WRONG, RIGHT)
    luck = random.choice([-SHIFT, SHIFT], runs)
    right = random.random((runs, len(label))) < chance + luck[:, None]
    return np.where(right, label, (label + 1) % CLASSES).astype("u2")


def truth():
    """Of many runs and images: right with probability p on average, the main prediction is right on the easy ones."""
    p = np.array([RIGHT, WRONG])
    weight = np.array([1 - HARD, HARD])
    return {
        "error": weight @ (1 - p),
        "bias": HARD,
        "variance": weight @ np.minimum(p, 1 - p),
        "kw_variance": weight @ (p * (1 - p)),
        "kw_bias": weight @ ((1 - p) ** 2),
    }


@pytest.mark.parametrize("runs", [5, 20])
def test_a_simulated_classifier_is_recovered_within_its_interval(runs):
    want, covered, mean = truth(), dict.fromkeys(truth(), 0), dict.fromkeys(truth(), 0.0)
    times = 60
    for seed in range(times):
        found = decompose(simulated(np.random.default_rng(seed), runs), [IMAGES] * CLASSES, {"all": range(CLASSES)})
        for name, value in want.items():
            point, replicates = found.groups["all", name]
            low, high = interval(point, replicates, runs)
            covered[name] += low <= value <= high
            mean[name] += point / times
            assert high - low < (0.6 if runs == 5 else 0.25), "an interval that says something"
    for name, value in want.items():
        # 60 intervals of 95 %: fewer than 50 cover with a chance below 0.1 %
        assert covered[name] >= 50, (name, covered[name])
        unbiased = name in ("error", "kw_bias", "kw_variance")
        assert mean[name] == pytest.approx(value, abs=0.02 if unbiased else 0.04), name


def test_the_number_of_runs_moves_domingos_figures_but_not_the_unbiased_ones():
    few, many = (
        [means(by_pairs(p, 0, 2) | by_votes(p, 0))
         for p in [(np.random.default_rng(s).random((runs, 4000)) < 0.3).astype("u2") for s in range(5)]]
        for runs in (3, 40)
    )  # fmt: skip
    for name, value in (("kw_variance", 0.21), ("kw_bias", 0.09)):
        for some in (few, many):
            assert np.mean([one[name] for one in some]) == pytest.approx(value, abs=0.006)
    assert np.mean([one["bias"] for one in few]) > 0.2 > 0.02 > np.mean([one["bias"] for one in many])


def test_brier_of_simulated_probabilities():
    # two classes, the label's probability is .6 with a standard deviation of .1: bias 2 * .4^2, variance 2 * .1^2
    random = np.random.default_rng(0)
    p = 0.6 + 0.1 * random.normal(size=(6, 20_000))
    found = means(by_squares(np.stack([p, 1 - p], 2), 0))
    assert found["brier_bias"] == pytest.approx(0.32, abs=0.001)
    assert found["brier_variance"] == pytest.approx(0.02, abs=0.0003)


def test_an_interval_by_hand():
    # of +-1 in turn the variance is 1: over both 7, over runs 3, over images 2
    wave = np.tile([-1.0, 1.0], 500)
    replicates = np.sqrt([[7.0], [3.0], [2.0]]) * wave
    # of 4 runs 3 * 4 / 3 = 4; 7 - 3 - 2 = 2 is twice what answers add; 4 + 2 - 1 = 5; freedom 3 * (5 / 4)^2 = 4.7
    half = 2.776445 / 1.959964 * math.sqrt(5)
    assert interval(0.5, replicates, 4) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)


def test_the_shares_of_the_runs_are_what_a_figure_is_made_of():
    random = np.random.default_rng(0)
    chances = softmax(random.normal(0, 2, (4, 30, 3)))
    made = d._of_class(chances.argmax(2), 0, chances, np.array([True, False, False]))
    for name in ("error", "to_many", "kw_bias", "kw_variance", "brier", "brier_bias", "brier_variance"):
        figure, shares = made[name]
        np.testing.assert_allclose(shares.mean(1), figure, atol=1e-12, err_msg=name)


def test_replicates_over_runs_and_over_images_are_told_apart():
    few = np.random.default_rng(0).integers(0, 2, 40)
    alike, each = np.tile(few, (4, 1)), np.repeat([[0], [1], [0], [1]], 40, axis=1)
    for predicted_, still, moved in ((alike, 1, 2), (each, 2, 1)):
        _, replicates = decompose(predicted_, [40, 0], {"few": [0]}).groups["few", "error"]
        assert replicates[still].std() < 1e-12 < replicates[moved].std()

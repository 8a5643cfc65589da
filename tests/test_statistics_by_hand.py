"""Statistics by hand: intervals, weights, oracles, contrasts and confusions on answers that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import simulated_records as simulated
import torch
from make_records import make, predicted, row, write
from make_records import make as made_record
from test_compare import answers, compared
from test_paired import runs

from ltbench import analysis, analysis_writers, decompose, paired, record, rescore, student
from ltbench.analysis import analyze
from ltbench.checkpoints import save_final
from ltbench.compare import bootstrap, class_gaps
from ltbench.decompose import interval
from ltbench.tables import load

# test_compare.py


def test_the_five_classes_on_either_side_and_by_how_much_a_seed(tmp_path):
    # of 10 images A is right in 6, 5 .. 1 of the first six classes, B in 1 .. 6 of the others; in both seeds
    ours, theirs = (6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6)
    data = make().data.model_copy(update={"counts": (200,) * 12})
    made = []
    for label, right in (("bbn", ours), ("ce", theirs)):
        guess = np.array([c if i < n else (c + 1) % 12 for c, n in enumerate(right) for i in range(10)])
        more = {"right": right, "total": (10,) * 12, "data": data, "predictions": record.encode(guess)}
        made += [make(label, seed, **more) for seed in (0, 1)]
    (found,) = compared(write(tmp_path, [row(made[:2]), row(made[2:])], made).parent, "bbn", "ce")
    assert [(c["number"], c["difference"]) for c in found["gained"]] == [(0, 60), (1, 50), (2, 40), (3, 30), (4, 20)]
    assert [(c["number"], c["difference"]) for c in found["lost"]] == [
        (11, -60), (10, -50), (9, -40), (8, -30), (7, -20),
    ]  # fmt: skip


def test_a_seed_that_one_of_the_rows_is_not_asked_for_is_in_no_figure(tmp_path):
    ce, bbn = [predicted("ce", 0, (9, 5, 1))], [predicted("bbn", seed, (9, 5, 2)) for seed in (0, 1)]
    folder = write(tmp_path, [row(ce), row(bbn)], [*ce, *bbn]).parent
    for a, b in (("ce", "bbn"), ("bbn", "ce")):
        (found,) = compared(folder, a, b)
        assert (found["seeds"], found["lacking"]) == ([0], [1])


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_interval_is_as_wide_as_the_variance_and_students_quantile_make_it(seeds):
    random, true = np.random.default_rng(5), np.repeat(np.arange(2), 100)
    a, b = (
        [answers(label, seed, random.random(200) < chance, true) for seed in range(seeds)]
        for label, chance in (("a", 0.6), ("b", 0.5))
    )
    gap = bootstrap(a, b, {"top1": range(2)})["top1"]
    values = np.concatenate(class_gaps(a, b), axis=1)
    half = 1.96 * values.std() / math.sqrt(200)
    if seeds > 1:
        _, variance, freedom = paired.crossed_variance(values)
        half = student.quantile(freedom) * math.sqrt(variance)
    # the ends of 2000 draws are uncertain by three hundredths
    assert (gap["high"] - gap["low"]) / 2 == pytest.approx(100 * half, rel=0.08)


# test_paired.py


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


# test_tables.py


@pytest.mark.parametrize(
    ("statuses", "named"),
    [(("failed", "oom", "diverged"), "diverged"), (("failed", "oom"), "oom"), (("oom", "diverged"), "diverged")],
)
def test_the_worst_of_several_ends_is_named(tmp_path, statuses, named):
    made = [make("ce", seed, status=status) for seed, status in enumerate(statuses)]
    (found,) = load(write(tmp_path, [row(made)], made)).rows
    assert found["status"] == named and found["reason"].count("seed") == len(statuses)


# test_rescore.py


@pytest.fixture
def two_seeds(tmp_path):
    """(results, runs): two seeds of ce and their logits, which are sure of class 0."""
    made = []
    for seed in (0, 1):
        random, true = np.random.default_rng(seed), np.repeat(np.arange(3), 10)
        logits = (np.eye(3)[true] * 2 + random.normal(0, 1, (30, 3)) + np.array([4.0, 2.0, 0.0])).astype("f2")
        right = np.bincount(true[logits.argmax(1) == true], minlength=3)
        made.append(make("ce", seed, right=tuple(right.tolist()), predictions=record.encode(logits.argmax(1))))
        given = {"logits": torch.from_numpy(logits), "label": torch.from_numpy(true)}
        save_final(tmp_path / "runs" / made[-1].stem, made[-1].key, {"weights": {}, "logits": given})
    return write(tmp_path / "results", [row(made)], made).parent, tmp_path / "runs"


def test_logits_of_other_images_are_no_logits(two_seeds):
    results, runs = two_seeds
    found = next(iter(record.read_folder(results / "toy")[0].values()))
    given = {"logits": torch.zeros(30, 4), "label": torch.zeros(30)}
    save_final(runs / found.stem, found.key, {"weights": {}, "logits": given})
    assert rescore.logits_of(found, runs) is None


# test_decompose.py


def test_an_interval_by_hand():
    # of +-1 in turn the variance is 1: over both 7, over runs 3, over images 2
    wave = np.tile([-1.0, 1.0], 500)
    replicates = np.sqrt([[7.0], [3.0], [2.0]]) * wave
    # of 4 runs 3 * 4 / 3 = 4; 7 - 3 - 2 = 2 is twice what answers add; 4 + 2 - 1 = 5; freedom 3 * (5 / 4)^2 = 4.7
    half = 2.776445 / 1.959964 * math.sqrt(5)
    assert interval(0.5, replicates, 4) == pytest.approx((0.5 - half, 0.5 + half), rel=1e-6)


def test_the_shares_of_the_runs_are_what_a_figure_is_made_of():
    random = np.random.default_rng(0)
    chances = decompose.softmax(random.normal(0, 2, (4, 30, 3)))
    made = decompose._of_class(chances.argmax(2), 0, chances, np.array([True, False, False]))
    for name in ("error", "to_many", "kw_bias", "kw_variance", "brier", "brier_bias", "brier_variance"):
        figure, shares = made[name]
        np.testing.assert_allclose(shares.mean(1), figure, atol=1e-12, err_msg=name)


def test_replicates_over_runs_and_over_images_are_told_apart():
    few = np.random.default_rng(0).integers(0, 2, 40)
    alike, each = np.tile(few, (4, 1)), np.repeat([[0], [1], [0], [1]], 40, axis=1)
    for predicted_, still, moved in ((alike, 1, 2), (each, 2, 1)):
        _, replicates = decompose.decompose(predicted_, [40, 0]).over([0], "error")
        assert replicates[still].std() < 1e-12 < replicates[moved].std()


# test_analysis.py


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(decompose, "RESAMPLES", 200)


def test_neighbours_in_an_option_are_those_of_its_values_whatever_the_rows_order(tmp_path):
    methods = {label: simulated.METHODS[label] for label in ("ce", *(f"ride(experts={n})" for n in (3, 1, 2)))}
    (block,) = analyze(simulated.write(tmp_path, methods, draws=2, with_logits=False), tmp_path).blocks
    assert [(c["a"], c["b"]) for c in block["contrasts"] if c["what"] == "option experts"] == [
        ("ride(experts=2)", "ride(experts=1)"), ("ride(experts=3)", "ride(experts=2)"),
    ]  # fmt: skip


def test_rows_of_other_recipes_differ_in_more_than_an_option():
    one, two, longer = (
        (label, made_record(label, options={"experts": n}, method="ride", recipe={"epochs": epochs}))
        for label, n, epochs in (("one", 1, 2), ("two", 2, 2), ("longer", 3, 4))
    )
    assert list(analysis._one_option([one, two, longer])) == [("two", "one", "experts")]


def test_a_run_on_other_counts_is_in_no_figure(tmp_path):
    results = simulated.write(tmp_path, {"ce": simulated.METHODS["ce"]}, draws=3, with_logits=False)
    found, _ = record.read_folder(results / "toy")
    (other,) = (r for r in found.values() if r.seed == 1)
    data = other.data.model_copy(update={"counts": (300, *simulated.COUNTS[1:])})
    record.write(other.model_copy(update={"data": data}), results / "toy")
    (block,) = analyze(results, tmp_path).blocks
    assert block["rows"][0]["runs"] == [0, 2]


def test_where_all_errors_go_to_many_their_share_is_certain(tmp_path):
    """It is a quotient: of replicates by replicates."""
    made = []
    for draw in range(3):
        hit = np.random.default_rng(draw).random(90) < 0.5
        said = 9.0 * np.eye(9)[np.where(hit, simulated.TRUE, 0)]
        made.append(simulated.make("ce", draw, said))
    write(tmp_path, [row(made, data=simulated.NAME)], made)
    (block,) = analyze(tmp_path, tmp_path).blocks
    groups = block["rows"][0]["groups"]
    assert groups["few"]["to_many"] == pytest.approx({"value": 100, "low": 100, "high": 100})
    assert groups["few"]["figures"]["error"]["low"] < groups["few"]["figures"]["error"]["high"]


def test_what_is_said_of_a_figure_is_half_of_its_interval():
    assert analysis_writers._said({"value": 48.4, "low": 47.7, "high": 49.1}) == "48.4±0.7"
    assert analysis_writers._said({"value": -0.04, "low": None, "high": None}, "+") == "+0.0"
    assert analysis_writers._said({"value": None, "low": None, "high": None}) == "n/a"


def test_the_classes_most_often_taken_for_one_other_are_named_by_images_not_by_errors():
    def of(number, error, share):
        confusers = [{"number": 0, "group": "many", "share": share}]
        return {"number": number, "group": "few", "figures": {"error": error}, "confusers": confusers}

    # 20 * 0.9 = 18, 80 * 0.5 = 40, 60 * 0.6 = 36, 10 * 1 = 10
    classes = [of(5, 20, 90), of(6, 80, 50), of(7, 60, 60), of(8, 10, 100)]
    _, said = analysis_writers.confused({"rows": [{"label": "ce", "classes": classes}]})
    assert said == "  ce: 6 for 0 (many) 40 %; 7 for 0 (many) 36 %; 5 for 0 (many) 18 %"

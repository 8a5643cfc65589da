"""Other metrics, shifted test sets, adjusted logits: from what records and runs have stored, without training."""

from __future__ import annotations

import json
import math

import calls
import numpy as np
import pytest
import torch
from make_records import make, row, text, write
from sklearn import metrics
from test_published import HEADER, line

from ltbench import record, rescore
from ltbench.checkpoints import save_final
from ltbench.errors import LtbenchError
from ltbench.scores import METRICS, TEST_LISTS, class_shift, figures
from ltbench.tables import Options, load


def random_record(case: int, classes: int | None = None) -> tuple[record.Record, np.ndarray, np.ndarray]:
    """(a record, its true classes, the predicted ones); some classes may have no test image or never be predicted."""
    random = np.random.default_rng(case)
    classes = classes or int(random.integers(2, 12))
    total = random.integers(0 if case % 2 else 1, 30, classes)
    total[0] += 1
    true = np.repeat(np.arange(classes), total)
    guess = np.where(random.random(len(true)) < random.random(), true, random.integers(0, classes, len(true)))
    counts = tuple(sorted(random.integers(1, 300, classes).tolist(), reverse=True))
    made = make(
        "ce", 0, right=tuple(np.bincount(true[true == guess], minlength=classes).tolist()), total=tuple(total.tolist()),
        predictions=record.encode(guess), data=make().data.model_copy(update={"counts": counts}),
    )  # fmt: skip
    return made, true, guess


@calls.cases(300)
def test_metrics_are_scikit_learns(case):
    made, true, guess = random_record(case)
    there = sorted(set(true))
    recall = metrics.recall_score(true, guess, labels=there, average=None, zero_division=0)
    f1 = metrics.f1_score(true, guess, labels=there, average="macro", zero_division=0)
    expected = {
        "top1": metrics.accuracy_score(true, guess), "balanced": recall.mean(), "worst": recall.min(), "macro_f1": f1,
        "harmonic": len(recall) / sum(1 / recall) if recall.min() > 0 else 0.0,
    }  # fmt: skip
    for metric in METRICS:
        assert figures(made, metric)["score"] == pytest.approx(100 * expected[metric]), metric


@calls.cases(60)
def test_a_shifted_test_set_is_that_of_weighted_images(case):
    made, true, guess = random_record(case)
    name = TEST_LISTS[1 + case % (len(TEST_LISTS) - 1)]
    # the classes fall off so, not their images, of which one class may have more than another
    weights = (np.asarray(class_shift(made.data.counts, name)) / np.maximum(made.total, 1))[true]
    found = figures(made, "macro_f1", name)
    assert found["top1"] == pytest.approx(100 * metrics.accuracy_score(true, guess, sample_weight=weights))
    f1 = metrics.f1_score(
        true, guess, labels=sorted(set(true)), average="macro", sample_weight=weights, zero_division=0
    )
    assert found["score"] == pytest.approx(100 * f1)
    plain = figures(made)
    assert [found[name] for name in ("many", "medium", "few")] == [plain[name] for name in ("many", "medium", "few")]
    assert found["ece"] is None


def test_forward_falls_as_training_does_and_backward_rises():
    counts = (50, 500, 5)  # ranks 1, 0, 2
    assert class_shift(counts, "forward25") == pytest.approx((1 / 5, 1, 1 / 25))
    assert class_shift(counts, "backward25") == pytest.approx((1 / 5, 1 / 25, 1))
    assert class_shift(counts, "uniform") is None
    with pytest.raises(LtbenchError, match="unknown test list 'forward3'"):
        class_shift(counts, "forward3")


def test_the_expected_value_over_draws_is_that_of_the_weights():
    made, true, guess = random_record(4, classes=5)
    random = np.random.default_rng(0)
    share = np.asarray(class_shift(made.data.counts, "forward5"))[true]
    drawn = random.random((20_000, len(true))) < share  # each image with its class's share, as a drawn test set has it
    accuracy = (drawn & (true == guess)).sum() / drawn.sum()
    assert figures(made, "top1", "forward5")["top1"] == pytest.approx(100 * accuracy, abs=0.3)


# In the table


def test_a_metric_is_what_gain_and_bold_and_sorting_are_of(tmp_path):
    ce = [make("ce", s, right=(9, 5, 1)) for s in (0, 1)]  # harmonic 3 / (1 / 90 + 1 / 50 + 1 / 10)
    ride = [make("ride(experts=3)", s, right=(5, 5, 5)) for s in (0, 1)]
    folder = write(tmp_path, [row(ce), row(ride)], [*ce, *ride])
    rows = load(folder, Options(metric="harmonic", sort="score")).rows
    assert [r["label"] for r in rows] == ["ride(experts=3)", "ce"]
    low = 3 / (1 / 90 + 1 / 50 + 1 / 10)
    assert [r["score"]["mean"] for r in rows] == pytest.approx([50, low])
    assert rows[0]["gain"] == pytest.approx({"baseline": "ce", "mean": 50 - low, "ci95": None, "n": 2})
    assert [r["top1"]["mean"] for r in rows] == [50, 50]
    assert [r["best"] for r in rows] == [True, None], "both seeds gain the same: no spread to test against"
    shown = text(load(folder, Options(metric="worst")), 100)
    assert shown.splitlines()[1].split()[:5] == ["method", "n", "top-1", "worst", "many"]
    assert "Gain of worst: over ce" in " ".join(shown.split())


def test_a_shifted_test_list_says_so(tmp_path):
    made = [make("ce", right=(10, 5, 0))]
    folder = write(tmp_path, [row(made)], made)
    (forward,), (backward,) = (load(folder, Options(test_list=f"{way}50")).rows for way in ("forward", "backward"))
    half = 1 / math.sqrt(50)
    assert forward["top1"]["mean"] == pytest.approx(100 * (1 + 0.5 * half) / (1 + half + 1 / 50))
    assert backward["top1"]["mean"] == pytest.approx(100 * (1 / 50 + 0.5 * half) / (1 + half + 1 / 50))
    assert forward["test_list"] == "forward50" and forward["ece"]["mean"] is None
    assert "weigh as in forward50" in text(load(folder, Options(test_list="forward50")), 200)


# Adjusted logits


@pytest.fixture
def stored(tmp_path):
    """(results, runs): two seeds of ce and one of ride, with the logits of all but ce's second seed."""
    random = np.random.default_rng(1)
    true = np.repeat(np.arange(3), 10)
    made = []
    for label, seed in (("ce", 0), ("ce", 1), ("ride(experts=3)", 0)):
        logits = (np.eye(3)[true] * 2 + random.normal(0, 1, (30, 3)) + np.array([2.0, 1.0, 0.0])).astype("f2")
        right = np.bincount(true[logits.argmax(1) == true], minlength=3)
        one = make(label, seed, right=tuple(right.tolist()), predictions=record.encode(logits.argmax(1)))
        made.append(one)
        if (label, seed) != ("ce", 1):
            given = {"logits": torch.from_numpy(logits), "label": torch.from_numpy(true)}
            save_final(tmp_path / "runs" / one.stem, one.key, {"weights": {}, "logits": given})
    rows = [row(made[:2]), row(made[2:])]
    return write(tmp_path / "results", rows, made).parent, tmp_path / "runs"


def test_no_adjustment_is_the_record_itself(stored):
    results, runs = stored
    for r in record.read_folder(results / "toy")[0].values():
        logits = rescore.logits_of(r, runs)
        if logits is not None:
            same = rescore.adjusted(r, logits, 0.0)
            assert (same.right, same.predictions) == (r.right, r.predictions)


def test_adjusting_moves_answers_to_the_rare(stored):
    results, runs = stored
    plain, moved = (load(results, Options(adjust=taus, runs=runs)).rows for taus in ((0.0,), (1.0,)))
    assert moved[1]["few"]["mean"] > plain[1]["few"]["mean"] and moved[1]["many"]["mean"] <= plain[1]["many"]["mean"]
    assert moved[1]["adjust"] == {"tau": 1.0, "oracle": False}
    r = next(r for r in record.read_folder(results / "toy")[0].values() if r.label != "ce")
    logits = rescore.logits_of(r, runs).astype(float)
    frequency = np.asarray(r.data.counts) / sum(r.data.counts)
    true = np.repeat(np.arange(3), 10)
    expected = 100 * ((logits - np.log(frequency)).argmax(1) == true).mean()
    assert moved[1]["top1"]["mean"] == pytest.approx(expected)


def test_the_calibration_error_is_that_of_the_moved_logits(stored):
    results, runs = stored
    r = next(r for r in record.read_folder(results / "toy")[0].values() if r.label != "ce")
    logits = torch.from_numpy(rescore.logits_of(r, runs).astype("f8"))
    moved = logits - 0.5 * torch.tensor(r.data.counts).div(sum(r.data.counts)).double().log()
    confidence, guess = moved.softmax(1).max(1)
    hit = guess == torch.arange(3).repeat_interleave(10)
    error = sum(
        abs(float((hit[inside].double() - confidence[inside]).sum()))
        for inside in ((confidence > i / 15) & (confidence <= (i + 1) / 15) for i in range(15))
    )
    found = load(results, Options(adjust=(0.5,), runs=runs)).rows[1]["ece"]["mean"]
    assert found == pytest.approx(100 * error / 30, abs=1e-4)


def test_a_seed_without_logits_is_not_averaged_away(stored):
    results, runs = stored
    ce = load(results, Options(adjust=(1.0,), runs=runs)).rows[0]
    assert (ce["n"], ce["seeds"], ce["asked"], ce["status"]) == (1, [0], 2, "partial")
    assert ce["reason"] == f"seed 1: no logits under {runs}"
    nowhere = load(results, Options(adjust=(1.0,), runs=runs / "absent")).rows
    assert [(r["n"], r["top1"]["mean"], r["best"]) for r in nowhere] == [(0, None, False)] * 2
    shown = text(load(results, Options(adjust=(1.0,), runs=runs / "absent")), 100)
    assert "ce: seed 0, 1: no logits under" in shown
    assert [line.split()[1:4] for line in shown.splitlines() if line.startswith("ce  ")] == [["0", "n/a", "n/a"]]


def test_damaged_logits_are_not_called_absent(stored):
    results, runs = stored
    (spoilt,) = runs.glob("ce-*-s0")
    (spoilt / "logits.safetensors").write_bytes(b"spoilt")
    row = load(results, Options(adjust=(1.0,), runs=runs)).rows[0]
    assert row["n"] == 0
    damaged = f"the logits under {runs} are damaged or another training's (see `ltbench doctor`)"
    assert row["reason"] == f"seed 1: no logits under {runs}; seed 0: {damaged}"


def test_of_several_taus_the_best_is_an_oracle_and_is_not_ranked(stored):
    results, runs = stored
    taus = (0.0, 0.5, 1.0, 1.5)
    each = [load(results, Options(adjust=(tau,), runs=runs)).rows[1]["top1"]["mean"] for tau in taus]
    board = load(results, Options(adjust=taus, runs=runs))
    oracle = board.rows[1]
    assert oracle["adjust"] == {"tau": taus[int(np.argmax(each))], "oracle": True}
    assert oracle["top1"]["mean"] == max(each) and not any(r["best"] for r in board.rows)
    shown = text(board, 120)
    assert f"ride(experts=3) [oracle: tau={oracle['adjust']['tau']:g}]" in shown
    assert "not ranked" in shown and "Bold" not in shown
    with pytest.raises(LtbenchError, match="--sort: several --adjust"):
        load(results, Options(adjust=taus, runs=runs, sort="top1"))


@pytest.mark.parametrize("harm", ["cut short", "another run's", "no manifest", "not JSON"])
def test_damaged_logits_are_no_logits(stored, harm):
    results, runs = stored
    r = next(r for r in record.read_folder(results / "toy")[0].values() if r.label != "ce")
    folder = runs / r.stem
    if harm == "cut short":
        (folder / "logits.safetensors").write_bytes((folder / "logits.safetensors").read_bytes()[:-1])
    elif harm == "another run's":
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"key": "0" * 64}))
    elif harm == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        (folder / "manifest.json").write_text("[")
    assert rescore.logits_of(r, runs) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "top5"], "--metric: unknown choice 'top5'; did you mean 'top1'?"),
        (["--test-list", "backwards50"], "--test-list: unknown choice 'backwards50'; did you mean 'backward50'?"),
        (["--adjust", "one"], "--adjust one: write a number, or several with commas, as in 0,0.5,1"),
        (["--adjust", "nan"], "--adjust nan: tau must be a number from -1000 to 1000"),
    ],
)
def test_a_mistake_is_one_message(command, stored, words, message):
    done = command("table", stored[0], *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}") and done.stderr.count("\n") == 1


def test_the_command_adjusts(command, stored):
    results, runs = stored
    done = command("table", results, "--adjust", "1", "--runs", runs, "--format", "json")
    assert json.loads(done.stdout) == load(results, Options(adjust=(1.0,), runs=runs)).rows
    done = command("table", results, "--adjust", "0,1", "--metric", "balanced", "--runs", runs)
    assert done.returncode == 0 and "Oracle: each row's tau is the best on the test set" in done.stdout


@pytest.fixture
def two_seeds(tmp_path):
    """(results, runs): two seeds of ce and their logits; of the second, one image of class 1 is taken for class 0.

    A tau of 1 raises class 2 by log(200 / 5) = 3.7 over class 0, one of 2 by 7.4.
    """
    ahead = [[2.0] * k + [5.0] * m + [9.0] * 5 for k, m in ((1, 4), (3, 2))]  # class 0 over class 2, in images of both
    logits = np.array([[x, -99, 0] for x in ahead[0]] + [[0, 50, 0]] * 10 + [[x, -99, 0] for x in ahead[1]], "f2")
    made, true = [], np.repeat(np.arange(3), 10)
    for seed in (0, 1):
        logits[10, 0] = 99 * seed
        right = np.bincount(true[logits.argmax(1) == true], minlength=3)
        made.append(make("ce", seed, right=tuple(right.tolist()), predictions=record.encode(logits.argmax(1))))
        given = {"logits": torch.from_numpy(logits), "label": torch.from_numpy(true)}
        save_final(tmp_path / "runs" / made[-1].stem, made[-1].key, {"weights": {}, "logits": given})
    return write(tmp_path / "results", [row(made)], made).parent, tmp_path / "runs"


@pytest.mark.parametrize(("metric", "tau"), [("top1", 1), ("worst", 2)])
def test_an_oracles_tau_is_the_best_in_the_metric(two_seeds, metric, tau):
    # of 10 images of classes 0 and 2 each are right: 10 and 0, then 9 and 3, then 5 and 5
    results, runs = two_seeds
    (oracle,) = load(results, Options(adjust=(0, 1, 2), metric=metric, runs=runs)).rows
    assert oracle["adjust"] == {"tau": tau, "oracle": True}


def test_adjusted_figures_are_not_held_against_published_ones(two_seeds):
    results, runs = two_seeds
    (results / "reported.csv").write_text(f"{HEADER}\n{line('two', 5.0)}\n")
    plain, moved = (load(results, Options(adjust=taus, runs=runs)).rows[0] for taus in ((), (1.0,)))
    assert plain["reported"]["differs"] is True and moved["reported"]["differs"] is None


def test_logits_of_other_images_are_no_logits(two_seeds):
    results, runs = two_seeds
    found = next(iter(record.read_folder(results / "toy")[0].values()))
    given = {"logits": torch.zeros(30, 4), "label": torch.zeros(30)}
    save_final(runs / found.stem, found.key, {"weights": {}, "logits": given})
    assert rescore.logits_of(found, runs) is None

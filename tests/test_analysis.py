"""`ltbench analyze` on made records: figures, differences, hard negatives, and what may be missing."""

from __future__ import annotations

import json
import shutil

import make_records
import numpy as np
import pytest
import simulated_records as simulated

from ltbench import (
    analysis,
    analysis_writers,
    blocks,
    decompose,
    figures,
    planfile,
    plots,
    record,
)
from ltbench.analysis import PARTS, QUANTITIES, analyze
from ltbench.errors import LtbenchError
from ltbench.figures.style import NothingError

pytestmark = pytest.mark.usefixtures("fewer_resamples")


def predicted_of(toy, label):
    found, _ = record.read_folder(toy / "toy")
    runs = sorted((r for r in found.values() if r.label == label), key=lambda r: r.seed)
    return np.stack([record.decode(r.predictions) for r in runs])


# Figures


def test_groups_and_classes_are_means_over_their_test_images(toy, block):
    said = predicted_of(toy, "ce")
    true = simulated.TRUE
    ce = simulated.row_of(block, "ce")
    assert (ce["n"], ce["asked"], ce["runs"], ce["reason"]) == (4, 4, [0, 1, 2, 3], "")
    assert block["runs_are"] == "draws" and block["sizes"] == {"many": 3, "medium": 3, "few": 3, "all": 9}
    groups = {"many": range(3), "medium": range(3, 6), "few": range(6, 9), "all": range(9)}
    for part, classes in groups.items():
        chosen = np.isin(true, classes)
        wrong = said[:, chosen] != true[chosen]
        found = ce["groups"][part]["figures"]
        assert found["error"]["value"] == pytest.approx(100 * wrong.mean())
        assert found["bias"]["value"] == pytest.approx(
            np.mean([100 * decompose.by_votes(said[:, true == c], c)["bias"].mean() for c in classes])
        )
        for one in found.values():
            assert one["low"] < one["value"] < one["high"] or part == "many"
        to_many = wrong & (said[:, chosen] < 3)
        assert ce["groups"][part]["to_many"]["value"] == pytest.approx(100 * to_many.sum() / wrong.sum())
    assert [c["figures"]["error"] for c in ce["classes"]] == pytest.approx(
        [100 * (said[:, true == c] != c).mean() for c in range(9)]
    )


def test_each_decomposition_adds_up_in_classes_and_groups(block):
    for row in block["rows"]:
        each = [c["figures"] for c in row["classes"]]
        each += [{q: one["value"] for q, one in row["groups"][part]["figures"].items()} for part in PARTS]
        for figures_ in each:
            assert figures_["bias"] + figures_["net_variance"] == pytest.approx(figures_["error"], abs=1e-10)
            assert figures_["kw_bias"] + figures_["kw_variance"] == pytest.approx(figures_["error"], abs=1e-10)
            assert figures_["brier_bias"] + figures_["brier_variance"] == pytest.approx(figures_["brier"], abs=1e-10)


def test_hard_negatives_are_counted_from_the_confusions(toy, block):
    said, true = predicted_of(toy, "ldam_drw"), simulated.TRUE
    found = simulated.row_of(block, "ldam_drw")
    assert {(c["number"], c["name"]) for c in found["classes"]} == {(c, f"class{c}") for c in range(9)}
    assert all(k["name"] == f"class{k['number']}" for c in found["classes"] for k in c["confusers"])
    tops, numbers = [], []
    for c, one in zip(range(9), found["classes"], strict=True):
        taken = np.bincount(said[:, true == c].ravel(), minlength=9)
        taken[c] = 0
        order = np.lexsort((np.arange(9), -taken))[:3]
        assert [k["number"] for k in one["confusers"]] == [k for k in order.tolist() if taken[k]]
        assert [k["share"] for k in one["confusers"]] == pytest.approx(
            [100 * taken[k] / taken.sum() for k in order if taken[k]]
        )
        assert all(k["group"] == ("many", "medium", "few")[k["number"] // 3] for k in one["confusers"])
        shares = taken[taken > 0] / taken.sum()
        tops.append(100 * np.sort(shares)[-3:].sum())
        numbers.append(np.exp(-(shares * np.log(shares)).sum()))
    few = found["groups"]["few"]
    assert few["top_confusers"]["value"] == pytest.approx(np.mean(tops[6:]))
    assert few["confusers"]["value"] == pytest.approx(np.mean(numbers[6:]))
    assert block["others_many"] == pytest.approx({"many": 25.0, "medium": 37.5, "few": 37.5})


def test_differences_are_of_each_row_to_the_baseline_and_of_one_options_neighbours(block):
    pairs = {(c["a"], c["b"]): c["what"] for c in block["contrasts"]}
    assert pairs == {
        ("ldam_drw", "ce"): "over the baseline",
        ("ride(experts=1)", "ce"): "over the baseline",
        ("ride(experts=2)", "ce"): "over the baseline",
        ("ride(experts=3)", "ce"): "over the baseline",
        ("ride(experts=3, diversity=0)", "ce"): "over the baseline",
        ("ride(experts=2)", "ride(experts=1)"): "option experts",
        ("ride(experts=3)", "ride(experts=2)"): "option experts",
        ("ride(experts=3, diversity=0)", "ride(experts=3)"): "option diversity",
    }
    for one in block["contrasts"]:
        for part in PARTS:
            for q in QUANTITIES:
                a, b = (
                    simulated.row_of(block, one[side])["groups"][part]["figures"][q]["value"] for side in ("a", "b")
                )
                assert one["groups"][part][q]["value"] == pytest.approx(a - b, abs=1e-9)


def test_a_row_is_set_against_what_it_starts_from(tmp_path):
    """The control: an ensemble of a method over that method, whatever the baseline is."""
    ce, other, both = (
        [simulated.make(label, draw, simulated.logits(seed, draw, 1.0 + seed), options={"label": label}, **more)
         for draw in range(3)]
        for seed, (label, more) in enumerate([
            ("ce", {}), ("ldam_drw", {}),
            ("ensemble(base=ldam_drw)", {"parents": {"member1": {"key": "k", "label": "ldam_drw"}}}),
        ])
    )  # fmt: skip
    rows = [make_records.row(made, data=simulated.NAME) for made in (ce, other, both)]
    make_records.write(tmp_path, rows, [*ce, *other, *both])
    (found,) = analyze(tmp_path, tmp_path).blocks
    assert ("ensemble(base=ldam_drw)", "ldam_drw", "over its member1") in {
        (c["a"], c["b"], c["what"]) for c in found["contrasts"]
    }


# What is missing


def test_one_draw_has_errors_and_a_reason_instead_of_bias_and_variance(tmp_path):
    found, refused = analyze(simulated.write(tmp_path, draws=1), tmp_path / "runs")
    assert not refused
    (block,) = found
    ce = simulated.row_of(block, "ce")
    assert ce["reason"] == "one draw: bias and variance need at least two"
    assert ce["groups"]["all"]["figures"]["error"]["value"] > 0
    for name in QUANTITIES[1:]:
        assert ce["groups"]["all"]["figures"][name] == {"value": None, "low": None, "high": None}
    panels = analysis_writers.panels(block)
    assert "Error" in [panel.title for panel in panels]
    assert not any("ariance" in panel.title for panel in panels)
    labels = ", ".join(simulated.METHODS)
    notes = analysis_writers.notes(block)
    assert f"one draw: bias and variance need at least two: {labels}" in notes
    assert notes[0] == "Per cent of test images. One draw."


def test_two_draws_have_no_main_prediction(tmp_path):
    """They tie where they differ: Domingos' bias would be the error, and his net variance 0, whatever the method."""
    results = simulated.write(tmp_path, {"ce": simulated.METHODS["ce"]}, draws=2, with_logits=False)
    (block,) = analyze(results, tmp_path).blocks
    (row,) = block["rows"]
    known = {name for name, one in row["groups"]["all"]["figures"].items() if one["value"] is not None}
    assert known == {"error", "kw_bias", "kw_variance"}
    assert row["reason"].startswith("two draws: no main prediction and no intervals")


def test_without_a_class_of_many_no_error_is_said_to_go_to_one(tmp_path):
    made = []
    for draw in range(3):
        run = simulated.make("ce", draw, simulated.logits(0, draw, 1.0))
        made.append(run.model_copy(update={"data": run.data.model_copy(update={"groups": (10_000, 20)})}))
    make_records.write(tmp_path, [make_records.row(made, data=simulated.NAME)], made)
    (block,) = analyze(tmp_path, tmp_path).blocks
    assert block["sizes"]["many"] == 0 and set(block["others_many"].values()) == {None}
    assert {group["to_many"]["value"] for group in block["rows"][0]["groups"].values()} == {None}
    assert block["rows"][0]["groups"]["all"]["figures"]["error"]["value"] > 0


def test_without_logits_the_squared_error_is_not_known_and_it_says_so(tmp_path):
    results = simulated.write(tmp_path, draws=3)
    (block,) = analyze(results, tmp_path / "elsewhere").blocks
    ce = simulated.row_of(block, "ce")
    assert ce["reason"] == f"squared error n/a: not all runs have their logits under {tmp_path / 'elsewhere'}"
    assert ce["groups"]["all"]["figures"]["brier"]["value"] is None
    assert ce["groups"]["all"]["figures"]["variance"]["value"] > 0
    # of one run alone, or damaged: neither
    one = next((tmp_path / "runs").glob("ce-*-s1/logits.safetensors"))
    one.write_bytes(one.read_bytes()[:-1])
    (block,) = analyze(results, tmp_path / "runs").blocks
    assert simulated.row_of(block, "ce")["groups"]["all"]["figures"]["brier"]["value"] is None
    assert simulated.row_of(block, "ldam_drw")["groups"]["all"]["figures"]["brier"]["value"] > 0
    assert "n/a" in simulated.text_of(analysis.Analysis([block], []))


def test_seeds_on_one_training_set_are_told_from_draws(tmp_path):
    (block,) = analyze(simulated.write(tmp_path, name="toy_lt(imbalance=40)"), tmp_path / "runs").blocks
    assert block["runs_are"] == "seeds"
    assert "on one training set: variance is that of training" in analysis_writers.notes(block)[0]


def test_failed_missing_and_foreign_runs_are_left_out_and_a_row_without_any_says_so(tmp_path):
    results = simulated.write(tmp_path, {label: simulated.METHODS[label] for label in ("ce", "ldam_drw")}, draws=4)
    folder = results / "toy"
    plan = planfile.read(folder)
    found, _ = record.read_folder(folder)
    ce, ldam = ([found[key] for key in row.keys.values()] for row in plan.rows)
    (folder / f"{ce[0].stem}.json").unlink()
    record.write(ce[1].model_copy(update={"status": "diverged", "reason": "loss"}), folder)
    record.write(ce[2].model_copy(update={"predictions": "AAAA"}), folder)
    for one in ldam:
        (folder / f"{one.stem}.json").unlink()
    (block,) = analyze(results, tmp_path).blocks
    assert simulated.row_of(block, "ce")["runs"] == [3]
    assert simulated.row_of(block, "ldam_drw")["reason"] == "no complete draw with predictions"
    assert block["contrasts"] == []
    simulated.text_of(analysis.Analysis([block], []))
    (folder / f"{ce[3].stem}.json").unlink()
    (block,) = analyze(results, tmp_path).blocks
    assert "nothing to analyse" in simulated.text_of(analysis.Analysis([block], []))


def test_rows_share_the_draws_that_both_have(tmp_path):
    results = simulated.write(tmp_path, {label: simulated.METHODS[label] for label in ("ce", "ldam_drw")}, draws=4)
    plan = planfile.read(results / "toy")
    next((results / "toy").glob(f"*{plan.rows[1].keys['2'][:8]}-s2.json")).unlink()
    (block,) = analyze(results, tmp_path / "runs").blocks
    assert [row["runs"] for row in block["rows"]] == [[0, 1, 2, 3], [0, 1, 3]]
    assert block["contrasts"][0]["runs"] == [0, 1, 3]
    assert "Main predictions of more draws are better: compare rows of equal n." in analysis_writers.notes(block)


def test_a_class_without_test_images_is_in_no_figure(tmp_path):
    total = (10,) * 8 + (0,)
    keep = simulated.TRUE < 8
    runs = [
        simulated.make(
            "ce", draw, said := simulated.logits(0, draw, 1.0), total=total, right=(0,) * 9,
            predictions=record.encode(said.argmax(1)[keep]),
        )
        for draw in range(3)
    ]  # fmt: skip
    make_records.write(tmp_path, [make_records.row(runs, data=simulated.NAME)], runs)
    (block,) = analyze(tmp_path, tmp_path).blocks
    assert len(block["rows"][0]["classes"]) == 8
    said = np.stack([record.decode(r.predictions) for r in runs])
    few = 100 * (said[:, 60:] != simulated.TRUE[keep][60:]).mean()
    assert block["rows"][0]["groups"]["few"]["figures"]["error"]["value"] == pytest.approx(few)


# The command


def test_the_command_prints_and_writes_the_same_twice(command, toy, tmp_path):
    done = command("analyze", toy, "--runs", toy.parent / "runs", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = {"analysis.csv", "bias_variance.svg", "bias_variance.png"}
    assert {path.name for path in (tmp_path / "out" / "toy").iterdir()} == names
    assert done.stderr.count("\n") == 3
    assert "Squared-error variance" in done.stdout
    again = command("analyze", toy, "--runs", toy.parent / "runs", "--out", tmp_path / "again")
    assert again.stdout == done.stdout
    for name in names:
        assert (tmp_path / "out/toy" / name).read_bytes() == (tmp_path / "again/toy" / name).read_bytes()


def test_refused_records_are_named_and_the_exit_code_is_1(command, tmp_path):
    results = simulated.write(tmp_path, draws=2, with_logits=False)
    bad = sorted((results / "toy").glob("ce-*-s1.json"))[0]
    bad.write_text(bad.read_text().replace('"seed": 1', '"seed": 2'))
    done = command("analyze", results, "--format", "json")
    assert done.returncode == 1
    assert done.stderr.startswith(f"refused: {bad}") and done.stderr.count("\n") == 1
    assert [row["n"] for row in json.loads(done.stdout)[0]["rows"]][:2] == [1, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--format", "html"], "unknown choice 'html'"), (["--format", "jsn"], "did you mean 'json'?")],
)
def test_a_users_mistake_is_one_message(command, toy, words, said):
    done = command("analyze", toy, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr


def test_no_results_are_a_message(tmp_path):
    with pytest.raises(LtbenchError, match="no results here"):
        analyze(tmp_path, tmp_path)


# The figure


def test_plot_draws_the_figure_of_draws_and_says_why_not_of_seeds(toy, tmp_path):
    kind = next(kind for kind in figures.KINDS if kind.name == "bias_variance")
    (one,), _ = blocks.load(toy, toy.parent / "runs")
    svg = figures.inline(kind, one)
    for text in ("accuracy", "bias", "variance", "ride(experts=1)", "n = 4 draws a row", "few"):
        assert text in svg
    shutil.copytree(toy.parent, tmp_path / "copy")
    plan_path = tmp_path / "copy/results/toy/plan.json"
    plan_path.write_text(plan_path.read_text().replace(", draws=4)", ")"))
    (seeds,), _ = blocks.load(tmp_path / "copy/results", tmp_path)
    with pytest.raises(NothingError, match="all runs are on one training set"):
        kind.draw(seeds)
    paths, _ = plots.write(toy, tmp_path / "plots", "svg", toy.parent / "runs")
    assert "bias_variance.svg" in {path.name for path in paths}


def test_the_figures_marks_stand_at_the_figures(block):
    from ltbench.figures.bias_variance import figure

    accuracy, bias, variance = figure(block).axes
    for axes, name in ((accuracy, "error"), (bias, "bias"), (variance, "variance")):
        marks = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
        found = [float(line.get_xdata()[0]) for line in marks]
        want = [row["groups"][part]["figures"][name]["value"] for row in block["rows"] for part in PARTS]
        assert found == pytest.approx([100 - value for value in want] if name == "error" else want)


def test_two_draws_make_no_figure_in_plot(tmp_path):
    results = simulated.write(tmp_path, draws=2, with_logits=False)
    (one,), _ = blocks.load(results, tmp_path)
    kind = next(kind for kind in figures.KINDS if kind.name == "bias_variance")
    with pytest.raises(NothingError, match="three draws"):
        kind.draw(one)


def test_neighbours_in_an_option_are_those_of_its_values_whatever_the_rows_order(tmp_path):
    methods = {label: simulated.METHODS[label] for label in ("ce", *(f"ride(experts={n})" for n in (3, 1, 2)))}
    (block,) = analyze(simulated.write(tmp_path, methods, draws=2, with_logits=False), tmp_path).blocks
    assert [(c["a"], c["b"]) for c in block["contrasts"] if c["what"] == "option experts"] == [
        ("ride(experts=2)", "ride(experts=1)"), ("ride(experts=3)", "ride(experts=2)"),
    ]  # fmt: skip


def test_rows_of_other_recipes_differ_in_more_than_an_option():
    one, two, longer = (
        (label, make_records.make(label, options={"experts": n}, method="ride", recipe={"epochs": epochs}))
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
    make_records.write(tmp_path, [make_records.row(made, data=simulated.NAME)], made)
    (block,) = analyze(tmp_path, tmp_path).blocks
    groups = block["rows"][0]["groups"]
    assert groups["few"]["to_many"] == pytest.approx({"value": 100, "low": 100, "high": 100})
    assert groups["few"]["figures"]["error"]["low"] < groups["few"]["figures"]["error"]["high"]

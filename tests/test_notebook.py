"""ltbench.load() in a notebook."""

from __future__ import annotations

import math
import subprocess
import sys

import make_records
import pandas as pd
import pytest
from make_records import write

import ltbench
from ltbench.errors import LtbenchError
from ltbench.tables import load as table


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    return write(tmp_path_factory.mktemp("five"), *make_records.five()).parent


def test_the_leaderboard_is_a_frame_of_numbers(five):
    frame = ltbench.load(five).leaderboard()
    assert isinstance(frame, pd.DataFrame) and list(frame["label"]) == ["ce", "ride(experts=3)", "bbn"]
    ce, ride, bbn = (line for _, line in frame.iterrows())
    assert (ce["top1"], ce["top1_sd"], ce["n"]) == pytest.approx((60, 10, 3))
    assert (ride["gain"], ride["gain_n"]) == pytest.approx((15, 2)) and ride["gain_baseline"] == "ce"
    assert math.isnan(bbn["top1"]) and math.isnan(ce["gain"]) and bbn["status"] == "missing"
    assert frame["top1"].dtype == frame["gain"].dtype == frame["many_ci95"].dtype == float


def test_options_are_those_of_the_table(five):
    results = ltbench.load(five)
    frame = results.leaderboard(baseline="ride(experts=3)", groups=(50, 50))
    assert frame["gain"][0] == pytest.approx(-15) and frame["medium"].isna().all()
    assert frame["medium"].dtype == float, "numbers, though there are none"
    assert results.rows() == table(five).rows
    with pytest.raises(LtbenchError, match="unknown option 'baselin'; did you mean 'baseline'"):
        results.leaderboard(baselin="ce")
    with pytest.raises(LtbenchError, match="--metric: unknown choice 'top2'"):
        results.leaderboard(metric="top2")


def test_runs_and_classes(five):
    results = ltbench.load(str(five))
    runs, classes = results.runs(), results.per_class()
    assert len(runs) == len(results.records) == 5 and set(runs["status"]) == {"complete"}
    assert runs[runs["label"] == "ce"]["top1"].tolist() == pytest.approx([50, 60, 70])
    assert set(runs["method"]) == {"ce", "ride"} and set(runs["epochs"]) == {2}
    assert {"lr", "precision", "commit", "clean", "device"} < set(runs)
    assert len(classes) == 15
    ride = classes[(classes["label"] == "ride(experts=3)") & (classes["seed"] == 2)]
    assert ride["accuracy"].tolist() == [100, 90, 80] and ride["train_images"].tolist() == [200, 60, 5]
    assert classes.groupby(["label", "seed"])["right"].sum()["ce", 1] == 18


def test_classes_have_their_names(tmp_path):
    results = ltbench.load(write(tmp_path, *make_records.five(), classes={"b" * 64: ("ant", "bee", "cat")}))
    classes = results.per_class()
    assert classes["name"].tolist() == ["ant", "bee", "cat"] * 5
    (results.folder / "plan.json").unlink()
    make_records.write(tmp_path, *make_records.five())
    assert set(ltbench.load(results.folder).per_class()["name"]) == {""}, "of a plan that names none"


def test_a_notebook_s_cell_that_ends_with_it_says_what_is_there_and_no_more(five):
    assert repr(ltbench.load(five)) == f"<Results in {five}: 5 records of toy; 0 refused>"


def test_a_run_of_former_settings_is_told_from_those_of_the_rows(tmp_path):
    rows, made = make_records.five()
    former = [row.model_copy(update={"keys": {s: key for s, key in row.keys.items() if s != "2"}}) for row in rows]
    results = ltbench.load(write(tmp_path, former, made))
    runs, classes = results.runs(), results.per_class()
    assert sorted(runs[~runs["asked"]]["label"]) == ["ce", "ride(experts=3)"]
    assert set(runs[~runs["asked"]]["recipe"]) == {""} and "" not in set(runs[runs["asked"]]["recipe"])
    assert classes[classes["asked"]].groupby("label")["key"].nunique().to_dict() == {"ce": 2, "ride(experts=3)": 1}


def test_a_run_that_two_suites_have_is_a_line_of_each(tmp_path):
    rows, made = make_records.five()
    write(tmp_path, rows, made)
    write(tmp_path, rows[1:2], [one.model_copy(update={"suite": "zoo"}) for one in made], suite="zoo")
    runs = ltbench.load(tmp_path).runs()
    assert len(runs) == 10 and runs.groupby("suite")["asked"].sum().to_dict() == {"toy": 5, "zoo": 2}


def test_a_damaged_plan_leaves_the_records(tmp_path):
    rows, made = make_records.five()
    (write(tmp_path, rows, made) / "plan.json").write_text("{")
    results = ltbench.load(tmp_path)
    assert len(results.runs()) == 5 and not results.runs()["asked"].any() and "not a plan" in results.refused[0]


def test_what_is_refused_is_told_and_the_rest_is_there(tmp_path):
    rows, made = make_records.five()
    folder = write(tmp_path, rows, made)
    (folder / f"{made[0].stem}.json").write_text("{")
    results = ltbench.load(tmp_path)
    assert len(results.records) == 4 and "not a record" in results.refused[0]
    with pytest.raises(LtbenchError, match="no results here"):
        ltbench.load(tmp_path / "absent")


def test_nothing_is_there_to_show(tmp_path):
    rows, _ = make_records.five()
    results = ltbench.load(write(tmp_path, rows, []))
    assert len(results.leaderboard()) == 3 and results.runs().empty and results.per_class().empty


def test_it_takes_no_torch(five):
    code = f"import sys, ltbench; ltbench.load({str(five)!r}).leaderboard(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


CALL = """
import sys
from ltbench.cli import main
try:
    main()
except SystemExit:
    print([name for name in ("pandas", "scipy") if name in sys.modules])
"""


def test_the_table_takes_no_pandas(five):
    done = subprocess.run([sys.executable, "-c", CALL, "table", str(five)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_what_a_failed_run_has_not_is_no_zero(tmp_path):
    failed = make_records.make("ce", status="failed")
    runs = ltbench.load(write(tmp_path, [make_records.row([failed])], [failed])).runs()
    assert runs[["params", "macs", "macs_used", "top1"]].isna().all(axis=None) and runs["seconds"].tolist() == [90]


@pytest.mark.parametrize("groups", ["10,5", (1, 2, 3), 100, ("a", "b")])
def test_groups_that_are_not_two_numbers_are_refused(five, groups):
    with pytest.raises(LtbenchError, match="groups: two numbers of images, as in"):
        ltbench.load(five).leaderboard(groups=groups)

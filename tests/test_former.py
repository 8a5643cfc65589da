"""Finished runs of former settings are told of, with what they differ in."""

from __future__ import annotations

import json

import calls
import pytest
import tiny

from ltbench import former, outcome, record, running
from ltbench import plan as plan_
from ltbench.suite import read


@pytest.fixture
def finished(tmp_path, glyph_cache):
    """A folder in which the runs of `ce, tau_norm` are all done."""
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm"), tiny.settings(tmp_path, glyph_cache)
    for spec in made.runs.values():
        done = {"status": "complete", "right": (0,) * 62, "total": (1,) * 62}
        record.write(outcome.describe(spec).model_copy(update=done), where.record_path(spec).parent)
    return tmp_path


def plan(capsys, folder, data, *more, sets=()):
    words = [word for text in sets for word in ("--set", text)]
    place = ["--data", data, "--results", folder / "results", "--runs", folder / "runs"]
    return calls.ltbench(capsys, "plan", folder / "tiny.yaml", *place, *words, *more)


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("name: tiny", "lr: 0.2", "recipe.lr 0.1 (now 0.2)"),
        ("resnet8", "resnet20", "backbone resnet8 (now resnet20)"),
        ("imbalance: 3", "imbalance: 2", "data glyphs_lt(imbalance=3, head=9) (now glyphs_lt(imbalance=2, head=9))"),
        ("name: tiny", "lr: 0.2, ema: 0.9", "recipe.lr 0.1 (now 0.2); recipe.ema none (now 0.9)"),
    ],
)
def test_what_was_done_with_other_settings_is_named_with_what_differs(finished, glyph_cache, capsys, was, now, said):
    suite = finished / "tiny.yaml"
    assert was in suite.read_text()
    suite.write_text(suite.read_text().replace(was, now))
    done = plan(capsys, finished, glyph_cache)
    assert f"not done: ce seed 0, tau_norm(tau=1) seed 0: a finished run of this name differs: {said}\n" in done.out
    items = json.loads(plan(capsys, finished, glyph_cache, "--format", "json").out)
    assert [item["reason"] for item in items] == [f"a finished run of this name differs: {said}"] * 2


def test_of_several_the_nearest_counts_and_other_parents_are_told_where_nothing_else_differs(
    finished, glyph_cache, capsys, monkeypatch
):
    assert "differs" not in plan(capsys, finished, glyph_cache).out
    made = tiny.make(finished, glyph_cache, "ce, tau_norm", "recipe.lr=0.3", "recipe.ema=0.9")
    where = tiny.settings(finished, glyph_cache)
    for spec in made.runs.values():
        done = {"status": "complete", "right": (0,) * 62, "total": (1,) * 62}
        record.write(outcome.describe(spec).model_copy(update=done), where.record_path(spec).parent)
    out = plan(capsys, finished, glyph_cache, sets=("recipe.lr=0.2",)).out
    assert "ce seed 0, tau_norm(tau=1) seed 0: a finished run of this name differs: recipe.lr 0.1 (now 0.2)\n" in out
    monkeypatch.setattr("ltbench.methods.ce.CE.version", 7)
    out = plan(capsys, finished, glyph_cache).out
    assert "not done: ce seed 0: a finished run of this name differs: version 1 (now 7)\n" in out
    assert "tau_norm(tau=1) seed 0: a finished run of this name differs: other runs to start from\n" in out


def test_of_two_backbones_each_is_held_against_its_own(tmp_path, glyph_cache, capsys):
    """A second stage whose first stage alone was another was told to have another backbone."""
    two = ("backbone=[resnet8, resnet20]",)
    made, where = tiny.make(tmp_path, glyph_cache, "ce, crt", *two), tiny.settings(tmp_path, glyph_cache)
    for spec in made.runs.values():
        done = {"status": "complete", "right": (0,) * 62, "total": (1,) * 62}
        record.write(outcome.describe(spec).model_copy(update=done), where.record_path(spec).parent)
    done = plan(capsys, tmp_path, glyph_cache, sets=(*two, "recipe.epochs=3"))
    assert "crt seed 0" in done.out and "differs: other runs to start from\n" in done.out
    assert "backbone resnet" not in done.out


def test_what_a_row_beside_it_has_is_no_former_run(finished, glyph_cache, capsys):
    made, folder = tiny.make(finished, glyph_cache, "ce, tau_norm"), finished / "results" / "tiny"
    (folder / "plan.json").write_text(json.dumps(made.file().model_dump(mode="json")))
    assert "differs" not in plan(capsys, finished, glyph_cache, sets=("recipe.lr=0.2",)).out, "a --set adds rows"


def test_what_a_kept_row_starts_from_is_no_former_run(tmp_path, glyph_cache, capsys):
    made, where = tiny.make(tmp_path, glyph_cache, "crt", "recipe.lr=0.2"), tiny.settings(tmp_path, glyph_cache)
    for spec in made.runs.values():
        done = {"status": "complete", "right": (0,) * 62, "total": (1,) * 62}
        record.write(outcome.describe(spec).model_copy(update=done), where.record_path(spec).parent)
    plan_json = tmp_path / "results" / "tiny" / "plan.json"
    plan_json.write_text(json.dumps(made.file().model_dump(mode="json")))
    assert "differs" not in plan(capsys, tmp_path, glyph_cache).out
    plan_json.write_text("{")
    done = plan(capsys, tmp_path, glyph_cache)
    assert done.code == 0 and "recipe.lr 0.2 (now 0.1)" in done.out


def test_a_whole_number_that_became_a_fraction_is_told():
    assert former._told("option scale", 30, 30.0) == "option scale 30 (now 30.0)"
    assert former._told("recipe.lr", 0.1, 0.2) == "recipe.lr 0.1 (now 0.2)"


def test_a_run_says_it_before_it_trains(finished, glyph_cache, capsys, monkeypatch):
    suite = finished / "tiny.yaml"
    suite.write_text(suite.read_text().replace("name: tiny", "lr: 0.2"))
    monkeypatch.setattr("ltbench.jobs.carry_out", lambda todo, *more, **options: {})
    place = ["--data", glyph_cache, "--results", finished / "results", "--runs", finished / "runs"]
    told = calls.ltbench(capsys, "run", suite, *place).err
    assert (
        "2 of 2 runs to do: a finished run of this name differs: recipe.lr 0.1 (now 0.2); it stays, and fills no row"
        in told
    )


def test_a_table_says_of_a_missing_row_that_a_run_of_former_settings_is_there(finished, glyph_cache, capsys):
    """The row said "missing" and no more, beside a finished run of its name."""
    made, where = tiny.make(finished, glyph_cache, "ce, tau_norm"), tiny.settings(finished, glyph_cache)
    running._write_plan(made, where)
    assert "other settings" not in calls.ltbench(capsys, "table", finished / "results").out
    suite = finished / "tiny.yaml"
    suite.write_text(suite.read_text().replace("name: tiny", "lr: 0.2"))
    running._write_plan(plan_.make(read(str(suite)), glyph_cache), where)
    out = " ".join(calls.ltbench(capsys, "table", finished / "results").out.split())
    said = "seed 0: a finished run of other settings is here; `ltbench plan` says in what it differs"
    assert f" ce: {said}" in out and f" tau_norm(tau=1): {said}" in out and out.count("missing") == 2


def carried_out(finished, data, *sets: str) -> None:
    """What `run` with these values leaves, of runs that all ended well."""
    made, where = tiny.make(finished, data, "ce, tau_norm", *sets), tiny.settings(finished, data)
    running._write_plan(made, where)
    for spec in made.runs.values():
        done = {"status": "complete", "right": (0,) * 62, "total": (1,) * 62}
        record.write(outcome.describe(spec).model_copy(update=done), where.record_path(spec).parent)


def test_runs_of_other_set_values_are_told_of(finished, glyph_cache, capsys):
    """The committed runs are bf16: a plan without that said that all was to do, and nothing more."""
    carried_out(finished, glyph_cache, "recipe.precision=bf16", "recipe.ema=0.9")
    done = plan(capsys, finished, glyph_cache, sets=("recipe.lr=0.3",))
    said = (
        "has 2 finished runs of rows that were asked for with --set recipe.precision=bf16 --set recipe.ema=0.9; without"
    )
    assert said in " ".join(done.err.split())
    assert "without it" not in plan(capsys, finished, glyph_cache).err, "all of it is done"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((), ("recipe.lr=0.3",)),  # the file's own rows
        (("seeds=[0, 1]",), ("seeds=[0, 7]",)),  # in one block with these
        (("methods=[focal]",), ("seeds=[0, 7]",)),
    ],
)
def test_runs_that_count_here_too_are_not_called_others(finished, glyph_cache, capsys, before, now):
    carried_out(finished, glyph_cache, *before)
    assert "without it" not in plan(capsys, finished, glyph_cache, sets=now).err
    suite = finished / "tiny.yaml"
    suite.write_text(suite.read_text().replace("name: tiny", "lr: 0.2"))
    assert "--set" not in plan(capsys, finished, glyph_cache).err or before

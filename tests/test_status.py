"""How a run stands, and why: in the plan, in the table, in the exit code. What is final is never averaged."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import calls
import make_records
import pytest
import tiny
import torch

from ltbench import checkpoints, jobs, outcome, plan, progress, reading, record, suite
from ltbench.events import Event
from ltbench.leases import Leases
from ltbench.signals import Signals
from ltbench.trainer import Progress

# In the plan


@pytest.fixture
def mixed(tmp_path, glyph_cache):
    """A plan of seven rows, each of which stands otherwise."""
    made = tiny.make(tmp_path, glyph_cache, "ce, bbn, focal, ldam_drw, ride: {experts: 2}, logit_adjustment, ce_drw")
    where, by = tiny.settings(tmp_path, glyph_cache), {spec.ref.method: spec for spec in made.runs.values()}
    ends = {
        "ce": ("complete", ""), "bbn": ("diverged", "ce was not finite"), "focal": ("oom", "batch size 64"),
        "ldam_drw": ("failed", "its process died"),
    }  # fmt: skip
    for name, (status, reason) in ends.items():
        done = {"right": (0,) * 62, "total": (1,) * 62} if status == "complete" else {}
        record.write(
            outcome.describe(by[name]).model_copy(update={"status": status, "reason": reason, **done}),
            where.record_path(by[name]).parent,
        )
    for name in ("ldam_drw", "ride"):
        checkpoints.save(where.folder(by[name]), by[name].key, Progress(step=12), {"x": torch.ones(1)})
    leases = Leases()
    assert leases.acquire(where.folder(by["ce_drw"])) is None
    yield tmp_path
    leases.close()


def test_the_plan_says_how_each_run_stands(mixed, glyph_cache, capsys):
    words = ["--data", glyph_cache, "--results", mixed / "results", "--runs", mixed / "runs"]
    items = json.loads(calls.ltbench(capsys, "plan", mixed / "tiny.yaml", *words, "--format", "json").out)
    got = {item["label"].partition("(")[0]: (item["status"], item["reason"]) for item in items}
    assert got.pop("ce_drw")[1].startswith(f"process {os.getpid()} on ")
    assert got == {
        "ce": ("done", ""), "bbn": ("diverged", "ce was not finite"), "focal": ("oom", "batch size 64"),
        "ldam_drw": ("partial", "stopped at step 12; failed: its process died"),
        "ride": ("partial", "stopped at step 12"), "logit_adjustment": ("not done", ""),
    }  # fmt: skip
    shown = calls.ltbench(capsys, "plan", mixed / "tiny.yaml", *words).out
    assert "7 runs, 5 to do" in shown and "partial: ride(experts=2) seed 0: stopped at step 12\n" in shown
    assert "running: ce_drw" in shown and "diverged: bbn seed 0: ce was not finite\n" in shown


def test_absent_weights_are_told_with_where_they_were_made(mixed, glyph_cache, capsys):
    """The plan gave an estimate for what `run` then refused, as another machine would contradict the record."""
    words = ["--data", glyph_cache, "--results", mixed / "results", "--runs", mixed / "runs", "--set", "methods+=ncm"]
    items = json.loads(calls.ltbench(capsys, "plan", mixed / "tiny.yaml", *words, "--format", "json").out)
    (ce,) = (item for item in items if item["label"] == "ce")
    assert ce["status"] == "done, but its weights are needed and absent"
    assert re.search(r"^made on .*, torch .*: only the like of it makes its numbers again, else copy .*", ce["reason"])


def test_a_run_names_the_refused_record_of_another_row(mixed, glyph_cache, capsys):
    (focal,) = (mixed / "results/tiny").glob("focal-*.json")
    focal.write_text("{")
    words = ["--data", glyph_cache, "--results", mixed / "results", "--runs", mixed / "runs", "--only", "ce"]
    done = calls.ltbench(capsys, "run", mixed / "tiny.yaml", *words)
    assert done.code == 0 and f"refused: {focal}: not a record" in done.err


# Diverged is final


def test_a_diverged_run_is_not_run_again_not_averaged_and_named(tmp_path, capsys):
    seeds = [make_records.make("ce", seed, right=(9, 5, 1)) for seed in (0, 1)]
    bad = make_records.make("ce", 2, status="diverged", reason="term boom was not finite at step 7 (epoch 0)")
    folder = make_records.write(tmp_path, [make_records.row([*seeds, bad])], [*seeds, bad])
    (row,) = json.loads(calls.ltbench(capsys, "table", folder, "--format", "json").out)
    assert (row["status"], row["n"], row["asked"], row["seeds"]) == ("partial", 2, 3, [0, 1])
    assert row["top1"]["mean"] == 50.0 and row["top1"]["sd"] == 0.0, "of the two that ended"
    shown = calls.ltbench(capsys, "table", folder).out
    assert "(2 of 3)" in shown and "seed 2 diverged: term boom was not finite at step 7" in shown.replace("\n", " ")
    assert record.FINAL == ("complete", "diverged", "skipped")


def test_a_row_that_diverged_alone_has_no_figure(tmp_path, capsys):
    good, bad = make_records.make("ce"), make_records.make("bbn", status="diverged", reason="boom")
    rows = [make_records.row([good]), make_records.row([bad])]
    folder = make_records.write(tmp_path, rows, [good, bad])
    _, row = json.loads(calls.ltbench(capsys, "table", folder, "--format", "json").out)
    assert (row["status"], row["n"], row["top1"]["mean"], row["gain"]) == ("diverged", 0, None, None)


# A worker that died


@pytest.mark.parametrize(
    ("code", "kills", "status", "said"),
    [
        (9, 0, "failed", "its process died (exit code 9)"),
        (-signal.SIGKILL, 0, "failed", "its process was killed by SIGKILL, as the system does where memory runs out"),
        (-signal.SIGKILL, 1, "oom", "host memory ran out: the system killed its process (SIGKILL)"),
        (-signal.SIGSEGV, 1, "failed", "its process was killed by SIGSEGV"),
        (-99, 0, "failed", "its process was killed by signal 99"),
    ],
)
def test_why_a_worker_died(tmp_path, glyph_cache, monkeypatch, code, kills, status, said):
    monkeypatch.setattr(jobs, "oom_kills", lambda: 3)
    pool = jobs._Pool([], {}, tiny.settings(tmp_path, glyph_cache), (), lambda event: None, Signals())
    monkeypatch.setattr(jobs, "oom_kills", lambda: 3 + kills)
    reason, got = pool._cause(code)
    assert reason.startswith(said) and got == status


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps that count")
def test_the_systems_count_of_kills_is_read():
    lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    (line,) = [text for text in lines if text.startswith("oom_kill ")]
    assert jobs.oom_kills() >= int(line.split()[1]) >= 0


# What is told of a run


@pytest.mark.parametrize(
    ("backbone", "data", "name"),
    [
        ("resnet8", "", "ce s0"),
        ("[resnet8, resnet20]", "", "ce s0 on resnet8"),
        ("resnet8", ", {name: glyphs_lt, imbalance: 2}]", "ce s0 on glyphs_lt(imbalance=3, head=9)"),
    ],
)
def test_a_run_is_told_from_those_of_other_blocks(tmp_path, glyph_cache, backbone, data, name):
    path = tiny.write(tmp_path, "ce")
    text = path.read_text().replace("resnet8", backbone)
    path.write_text(text.replace("data: {", "data: [{").replace("head: 9}", f"head: 9}}{data}") if data else text)
    made = plan.make(suite.read(str(path)), glyph_cache)
    screen = progress.Screen(list(made.runs.values()), made.runs, reading.console(stderr=True))
    assert screen._name(next(iter(made.runs))) == name


# Who looks on may go away


def test_a_reader_of_the_progress_that_goes_away_stops_no_run(tmp_path, glyph_cache, monkeypatch, capfd):
    made = tiny.make(tmp_path, glyph_cache, "ce")
    (spec,) = made.runs.values()
    reader, writer = os.pipe()
    os.close(reader)
    with suppress(BrokenPipeError), os.fdopen(writer, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        with progress.Screen([spec], made.runs, reading.console(stderr=True)) as screen:
            for kind in ("elsewhere", "started", "epoch", "finished"):
                screen.hear(Event(spec.key, kind, "text", status="complete"))
        monkeypatch.undo()
    assert screen.ended == 1

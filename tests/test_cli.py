"""The command line, as a user meets it: every command in a process of its own; long runs are shared between tests.

The processes are forked from one that has torch loaded (warm.py); those begun from nothing are in test_kill.py,
test_tutorial.py and test_packaging.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
import warm

from ltbench import planfile, record

FAULTY = '''\
"""Methods that go wrong, each in a way of its own."""

import os

from ltbench import register
from ltbench.methods.ce import CE


@register("faulty")
class Faulty(CE):
    """Raises, unless the environment says that it is mended."""

    def loss(self, t, batch):
        if "MENDED" not in os.environ:
            os.environ["SPOILT"] = "by faulty"  # in a process so left, exploding fails too
            raise RuntimeError("[bold]the loss[/bold] went wrong\\nin more than one line")
        return super().loss(t, batch)


@register("exploding")
class Exploding(CE):
    """Is not finite from its second step on."""

    def loss(self, t, batch):
        if "SPOILT" in os.environ:
            raise RuntimeError("this process is spoilt")
        return {"boom": super().loss(t, batch)["ce"] * (1.0 if t.step < 1 else float("inf"))}


@register("dying")
class Dying(CE):
    """Takes its process along, as the system does to one that wants too much memory."""

    def loss(self, t, batch):
        os._exit(9)
'''
RAISES = 1 + FAULTY.partition("raise RuntimeError")[0].count("\n")  # faulty's line


def records(folder: Path) -> dict[tuple[str, int], record.Record]:
    found, refused = record.read_folder(folder)
    assert not refused
    return {(r.label, r.seed): r for r in found.values()}


def rows(server: warm.Server, folder: Path) -> dict[str, dict]:
    done = server.run("table", folder, "--format", "json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {row["label"]: row for row in json.loads(done.stdout)}


def line(shown: str, label: str) -> list[str]:
    """The words of a row of a printed table."""
    (found,) = (text for text in shown.splitlines() if text.startswith(f"{label} "))
    return found.removeprefix(label).split()


def refused(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Whether it was one message and exit code 2."""
    assert (done.returncode, done.stdout) == (2, ""), done
    assert message in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1, done.stderr


# A run in which all goes well


SETS = ["--set", "recipe.epochs=1", "--set", "recipe.lr=0.05", "--set", "data.head=3"]


@pytest.fixture(scope="module")
def good(server, tmp_path_factory, glyph_cache):
    """Two jobs, three rows, some values set, from an empty folder."""
    folder = tmp_path_factory.mktemp("good")
    tiny.write(folder, "ce, crt, ride: {experts: 2}")
    done = server.run(
        "run", "tiny.yaml", "--jobs", "2", "--data", glyph_cache, *SETS,
        cwd=folder,
    )  # fmt: skip
    return SimpleNamespace(folder=folder, done=done, data=glyph_cache)


def test_a_run_writes_records_and_plan_and_shows_the_leaderboard(server, good):
    assert good.done.returncode == 0, good.done.stderr
    assert set(records(good.folder / "results" / "tiny")) == {("ce", 0), ("crt", 0), ("ride(experts=2)", 0)}
    plan = planfile.read(good.folder / "results" / "tiny")
    assert [row.label for row in plan.rows] == ["ce", "crt", "ride(experts=2)"] and plan.baseline == "ce"
    for label in ("ce", "crt", "ride(experts=2)"):
        assert re.fullmatch(r"\d+\.\d", line(good.done.stdout, label)[1])
    assert server.run("table", "results", cwd=good.folder).stdout == good.done.stdout


def test_where_no_terminal_is_a_run_tells_one_line_an_epoch_and_no_colour(good):
    told = good.done.stderr.splitlines()
    assert sum(text.startswith("crt s0: epoch ") for text in told) == 5
    assert sum(text.startswith("ce s0: epoch 1/1  lr 0.05  ce ") for text in told) == 1
    assert "\x1b" not in good.done.stderr + good.done.stdout
    assert told.index("crt s0: start crt seed 0") > next(i for i, t in enumerate(told) if "ce s0: complete" in t)


def test_a_warm_up_of_less_than_an_epoch_is_said_to_be_none(server, good):
    """Of the suite's recipe always; of second stages, which no suite can change, where the plan is looked at."""

    def said(done):
        return [text.partition(" epoch")[0] for text in done.stderr.splitlines() if "there is no warm-up" in text]

    suites = "recipe tiny: there is no warm-up: 0.025 of 1"  # the default
    assert said(good.done) == [suites]
    words = ("plan", "tiny.yaml", "--data", good.data, *SETS)
    assert said(server.run(*words, cwd=good.folder)) == [suites, "crt: there is no warm-up: 0.166667 of 5"]
    assert said(server.run(*words, "--only", "ce", cwd=good.folder)) == [suites]


@pytest.mark.parametrize("words", [("list", "suites"), ("list", "methods"), ("show", "quick")])
def test_a_plugin_that_is_not_there_is_told_by_every_command_that_takes_one(server, tmp_path, words):
    refused(server.run(*words, "--plugin", "absent.py", cwd=tmp_path), "absent.py")


def test_the_version(server, tmp_path):
    done = server.run("--version", cwd=tmp_path)
    assert re.fullmatch(r"ltbench \d+\.\d+\.\d+\n", done.stdout) and done.returncode == 0


def test_an_empty_list_of_seeds_is_not_all_of_them(server, good):
    refused(server.run("run", "tiny.yaml", "--seeds", "", cwd=good.folder), "--seeds '': write numbers with commas")


def test_a_plan_fits_a_narrow_terminal_with_labels_and_estimates_whole(server, good):
    words = ("plan", "tiny.yaml", "--data", good.data, "--set", "seeds=[0, 1]", *SETS)
    shown = server.run(*words, cwd=good.folder, COLUMNS="80").stdout
    assert shown.splitlines()[0].endswith(" estimate") and "…" not in shown
    assert all(len(text) <= 80 for text in shown.splitlines())
    assert len(re.findall(r"^ride\(experts=2\) +1 .* \d+:\d\d$", shown, re.MULTILINE)) == 1


def test_a_run_leaves_nothing_but_what_is_documented(good):
    assert sorted(path.name for path in good.folder.iterdir()) == ["results", "runs", "tiny.yaml"]
    for run in (good.folder / "runs").iterdir():
        assert {"weights.safetensors", "logits.safetensors", "log.txt"} <= {path.name for path in run.iterdir()}
        assert not list(run.glob("step-*"))


def test_all_values_that_were_set_are_in_the_records(good):
    ce = records(good.folder / "results" / "tiny")["ce", 0]
    assert (ce.recipe["epochs"], ce.recipe["lr"], ce.recipe["batch_size"]) == (1, 0.05, 64)
    assert ce.data.name == "glyphs_lt(imbalance=3, head=3)" and max(ce.data.counts) == 3
    assert (ce.suite_recipe["epochs"], len(ce.history), ce.history[0].lr) == (1, 1, 0.05)


def test_a_record_says_where_it_comes_from(good):
    found = records(good.folder / "results" / "tiny")
    assert found["crt", 0].parents["stage1"].key == found["ce", 0].key
    ce = found["ce", 0]
    assert ce.volatile.threads == 1 and ce.volatile.device.startswith("cpu: ") and ce.volatile.seconds > 0
    assert {"python", "torch", "ltbench"} <= set(ce.volatile.versions)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", ce.volatile.started)
    assert ce.source and not ce.plugin and sum(ce.total) == 1240


def test_the_plan_of_what_is_done(server, good):
    done = server.run("plan", "tiny.yaml", "--data", good.data, *SETS, "--format", "json", cwd=good.folder)
    assert done.returncode == 0, done.stderr
    ce, crt, ride = json.loads(done.stdout)
    assert list(ce) == [
        "run", "label", "seed", "data", "backbone", "block", "epochs", "why", "status", "parents", "train_macs",
        "seconds", "device", "reason",
    ]  # fmt: skip
    assert [item["status"] for item in (ce, crt, ride)] == ["done"] * 3
    assert ce["why"] == ["asked", "stage1 of crt"] and crt["parents"] == {"stage1": "ce"} and crt["epochs"] == 5
    assert ce["run"] == records(good.folder / "results" / "tiny")["ce", 0].stem
    assert ce["train_macs"] > 0 and ce["seconds"] > 0


def test_the_plan_of_what_is_not_done_in_words(server, good, tmp_path):
    tiny.write(tmp_path, "ce, crt, ride: {experts: 2}")
    picked = ["--only", "crt", "--seeds", "1", "--set", "seeds=[0, 1]"]
    done = server.run("plan", "tiny.yaml", "--data", good.data, *picked, cwd=tmp_path, COLUMNS="100")
    assert done.returncode == 0, done.stderr
    assert line(done.stdout, "ce")[:2] == ["1", "2"] and "stage1 of crt" in done.stdout
    assert line(done.stdout, "crt")[:2] == ["1", "5"]
    assert "2 runs, 2 to do; at most " in done.stdout and "ride" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"], "a plan writes nothing"


@pytest.mark.parametrize("label", ["ce", "crt"])
def test_a_deleted_record_is_made_again_alone_with_the_same_numbers(server, good, tmp_path, label):
    """Of a run that another starts from, and of one that starts from another."""
    shutil.copytree(good.folder, tmp_path, dirs_exist_ok=True)
    before = records(tmp_path / "results" / "tiny")
    (tmp_path / "results" / "tiny" / f"{before[label, 0].stem}.json").unlink()
    again = server.run("run", "tiny.yaml", "--jobs", "2", "--data", good.data, *SETS, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert re.findall(r"^(.*) s0: start ", again.stderr, re.MULTILINE) == [label]
    after = records(tmp_path / "results" / "tiny")
    assert {row: found.fixed() for row, found in after.items()} == {row: r.fixed() for row, r in before.items()}
    assert after[label, 0].volatile != before[label, 0].volatile and again.stdout == good.done.stdout


# A run in which some goes wrong


CHILD = "tau_norm(base=faulty, tau=1)"
PICKED = [word for label in ("ce", "faulty", "tau_norm(base=faulty)", "exploding") for word in ("--only", label)]


@pytest.fixture(scope="module")
def bad(server, tmp_path_factory, glyph_cache):
    """Some rows fail, one diverges, one seed and one row are not picked; then once more, with `faulty` mended."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "faults.py").write_text(FAULTY)
    tiny.write(folder, "dying, ce, faulty, tau_norm: {base: faulty}, exploding, bbn")
    sets = ["--set", "recipe.epochs=1", "--set", "seeds=[0, 1]", "--set", "data.head=3"]
    words = ["run", "tiny.yaml", "--jobs", "1", "--data", glyph_cache, "--plugin", "faults.py", *sets, "--seeds", "0"]
    words += PICKED
    first = server.run(*words, "--only", "dying", cwd=folder)
    results = folder / "results" / "tiny"
    before, shown = records(results), rows(server, results)
    second = server.run(*words, cwd=folder, MENDED="1")
    return SimpleNamespace(
        first=first, before=before, rows=shown, second=second, after=records(results), rows_after=rows(server, results)
    )


def test_a_run_that_fails_stops_no_other_and_is_exit_code_1(bad):
    assert bad.first.returncode == 1
    statuses = {label: found.status for (label, _), found in bad.before.items()}
    assert statuses == {
        "ce": "complete", "faulty": "failed", CHILD: "failed", "exploding": "diverged", "dying": "failed",
    }  # fmt: skip


def test_a_run_that_fails_leaves_its_process_to_none_after_it(bad):
    """As an error of CUDA spoils a process for good."""
    begun = re.findall(r"^(.*) s0: start ", bad.first.stderr, re.MULTILINE)
    assert begun.index("faulty") < begun.index("exploding"), "else this says nothing"
    assert bad.before["exploding", 0].status == "diverged"


def test_each_end_has_its_reason(bad):
    reasons = {label: found.reason for (label, _), found in bad.before.items()}
    assert reasons["faulty"] == f"RuntimeError: [bold]the loss[/bold] went wrong (faults.py:{RAISES})"
    assert reasons[CHILD] == "it starts from faulty, which is not complete"
    assert "boom was not finite at step 1" in reasons["exploding"]
    assert reasons["dying"] == "its process died (exit code 9)"
    assert reasons["ce"] == ""


def test_what_is_printed_of_a_plugins_error_names_the_log_with_its_traceback(bad):
    (told,) = re.findall(r"^faulty s0: failed: (.*); traceback in (.*)$", bad.first.stderr, re.MULTILINE)
    assert told[0] == bad.before["faulty", 0].reason
    log = Path(told[1]).read_text()
    assert "Traceback (most recent call last)" in log and f'faults.py", line {RAISES}, in loss' in log


def test_the_table_shows_each_end_and_averages_over_none(bad):
    status = {label: (row["status"], row["n"], row["asked"], row["top1"]["mean"]) for label, row in bad.rows.items()}
    top = status.pop("ce")
    assert top[:3] == ("partial", 1, 2) and top[3] >= 0
    assert status == {
        "faulty": ("failed", 0, 2, None), CHILD: ("failed", 0, 2, None), "exploding": ("diverged", 0, 2, None),
        "dying": ("failed", 0, 2, None), "bbn": ("missing", 0, 2, None),
    }  # fmt: skip
    shown = bad.first.stdout
    assert line(shown, "faulty")[:2] == ["0", "failed"] and line(shown, "exploding")[:2] == ["0", "diverged"]
    assert line(shown, "bbn")[:2] == ["0", "missing"] and line(shown, "ce")[2:5] == ["(1", "of", "2)"]
    assert "[bold]the loss[/bold] went wrong" in shown.replace("\n", " ")


def test_what_went_wrong_is_told_as_it_happens_without_traceback(bad):
    assert "faulty s0: failed: RuntimeError: [bold]the loss[/bold] went wrong" in bad.first.stderr
    assert f"{CHILD} s0: failed: it starts from faulty, which is not complete" in bad.first.stderr
    assert "dying s0: failed: its process died (exit code 9)" in bad.first.stderr
    assert "Traceback" not in bad.first.stderr + bad.first.stdout


def test_run_again_it_runs_only_what_failed(bad):
    started = set(re.findall(r"^(.*) s0: start ", bad.second.stderr, re.MULTILINE))
    assert started == {"faulty", CHILD}
    statuses = {label: found.status for (label, _), found in bad.after.items()}
    assert statuses == {
        "ce": "complete", "faulty": "complete", CHILD: "complete", "exploding": "diverged", "dying": "failed",
    }  # fmt: skip
    assert bad.after["ce", 0] == bad.before["ce", 0] and bad.after["exploding", 0] == bad.before["exploding", 0]
    assert bad.second.returncode == 1, "one is diverged"
    assert (bad.rows_after["faulty"]["status"], bad.rows_after["faulty"]["n"]) == ("partial", 1)


# What is refused before anything is trained


def test_a_device_that_is_not_there(server, tmp_path, glyph_cache):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    tiny.write(tmp_path, "ce")
    done = server.run("run", "tiny.yaml", "--data", glyph_cache, "--device", "cuda", cwd=tmp_path)
    refused(done, "error: --device cuda: torch sees no such device here")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_results_that_cannot_be_written(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    (tmp_path / "taken").write_text("a file")
    done = server.run("run", "tiny.yaml", "--data", glyph_cache, "--results", "taken", cwd=tmp_path)
    refused(done, f"error: {tmp_path}/taken/tiny: cannot be written: ")
    assert not (tmp_path / "runs").exists() and (tmp_path / "taken").read_text() == "a file"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "0,x"], "--seeds 0,x: write numbers with commas, as in 0,1,2"),
        (["--precision", "fp16"], "--precision: unknown choice 'fp16'; did you mean 'bf16'? (allowed: fp32, bf16)"),
        (["--precision", ""], "--precision: unknown choice ''"),
    ],
)
def test_a_mistake_in_an_option_of_run(server, tmp_path, glyph_cache, words, message):
    tiny.write(tmp_path, "ce")
    refused(server.run("run", "tiny.yaml", "--data", glyph_cache, *words, cwd=tmp_path), message)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_plan_takes_the_precision_that_run_takes(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    words = ("plan", "tiny.yaml", "--data", glyph_cache, "--format", "json")
    changes = ([], ["--precision", "bf16"], ["--set", "recipe.precision=bf16"])
    plain, asked, changed = (json.loads(server.run(*words, *more, cwd=tmp_path).stdout) for more in changes)
    assert asked == changed and asked[0]["run"] != plain[0]["run"]


@pytest.mark.parametrize(
    "words", [["run"], ["run", "x.yaml", "--jobs", "0"], ["tabel"], ["table", "x", "--frmat", "md"]]
)
def test_what_is_no_command_line_at_all_is_exit_code_2(server, tmp_path, words):
    done = server.run(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and "Usage: " in done.stderr and "Traceback" not in done.stderr


# What reads


@pytest.mark.parametrize(
    "words",
    [[], ["run"], ["plan"], ["table"], ["doctor"], ["list"], ["show"], ["check"], ["data"], ["data", "show"]],
)
def test_help_names_every_option_and_fits(server, tmp_path, words):
    done = server.run(*words, "--help", cwd=tmp_path, COLUMNS="100")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("Usage: ")
    assert max(map(len, done.stdout.splitlines())) <= 100
    options = {
        "run": "results runs data jobs device precision checkpoint only seeds set plugin dry-run",
        "plan": "results runs data precision only seeds set plugin format",
        "table": "format baseline sort columns groups out",
        "doctor": "runs fix plugin", "list": "format plugin", "show": "plugin", "check": "plugin",
        "data show": "data set format", "data": "", "": "",
    }[" ".join(words)].split()  # fmt: skip
    for option in options:
        assert f"--{option} " in done.stdout, option
    if not words:
        for name in ("run", "plan", "table", "doctor", "list", "show", "check", "data"):
            assert re.search(rf"^  {name}  +[A-Z]", done.stdout, re.MULTILINE), name

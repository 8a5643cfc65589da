"""A disk that is full, and one that may only be read: nothing that was there is lost, and the same command recovers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import calls
import pytest
import tiny

from ltbench import checkpoints, outcome, planfile, record, runs, state

pytestmark = pytest.mark.usefixtures("few_test_images")
SMALL = ("data.head=3", "recipe.epochs=1", "recipe.batch_size=32")


@pytest.fixture(scope="module")
def expected(few_test_images, tmp_path_factory, glyph_cache):
    """The record of the run, and the number of its steps, where there is room."""
    folder = tmp_path_factory.mktemp("room")
    (spec,) = tiny.make(folder, glyph_cache, "ce", *SMALL).runs.values()
    return runs.execute(spec, {}, tiny.settings(folder, glyph_cache), lambda event: None).fixed()


def one_run(folder: Path, data: Path):
    (spec,) = tiny.make(folder, data, "ce", *SMALL).runs.values()
    return spec, tiny.settings(folder, data, checkpoint=0.0)


def only_whole(folder: Path) -> None:
    """Nothing there that is not whole."""
    assert not list(folder.rglob(".*")), "a stump"
    for path in folder.glob("runs/*/step-*"):
        checkpoints._load_one(path, json.loads((path / "manifest.json").read_text())["key"])


# A limit on the size of files stands for the full disk where nobody may mount one: writing fails at that byte


@pytest.mark.parametrize("size", [0, 8_000, 200_000, 600_000])
def test_a_disk_that_ends_at_some_byte_fails_the_run_and_the_same_run_recovers(tmp_path, glyph_cache, expected, size):
    spec, where = one_run(tmp_path, glyph_cache)
    with calls.limited(size):
        got = runs.execute(spec, {}, where, lambda event: None)
    assert got.status == "failed"
    assert "File too large" in got.reason and str(tmp_path) in got.reason
    assert "tensors.safetensors: " in got.reason and "MiB needed" in got.reason and "MiB free" in got.reason
    only_whole(tmp_path)
    assert list(state.outstanding({spec.key: spec}, where)) == [spec.key], "no stump is taken for a complete run"
    again = runs.execute(spec, {}, where, lambda event: None)
    assert again.status == "complete" and again.fixed() == expected
    assert record.read(where.record_path(spec)) == again


@pytest.mark.parametrize("size", [0, 5_000])
def test_a_record_for_which_there_is_no_room_is_written_next_time(tmp_path, glyph_cache, expected, monkeypatch, size):
    spec, where = one_run(tmp_path, glyph_cache)
    write = record.write

    def without_room(*given):
        with calls.limited(size):
            return write(*given)

    monkeypatch.setattr(record, "write", without_room)
    got = runs.execute(spec, {}, where, lambda event: None)
    assert got.status == "failed" and got.reason.startswith("complete; its record could not be written (")
    assert not where.record_path(spec).exists() and list(where.folder(spec).glob("step-*")), "what it goes on from"
    monkeypatch.undo()
    told = []
    assert runs.execute(spec, {}, where, told.append).fixed() == expected
    assert any(event.text.startswith("resumed at step") for event in told), "it is not trained anew"


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path, glyph_cache, expected, monkeypatch):
    spec, where = one_run(tmp_path, glyph_cache)
    save, steps = checkpoints.save_tensors, []

    def full_from_the_third_on(path, tensors):
        steps.append(path)
        with calls.limited(100_000 if len(steps) > 2 else 10**9):
            save(path, tensors)

    monkeypatch.setattr(checkpoints, "save_tensors", full_from_the_third_on)
    assert runs.execute(spec, {}, where, lambda event: None).status == "failed"
    assert sorted(path.name for path in where.folder(spec).glob("step-*")) == ["step-00000001", "step-00000002"]
    monkeypatch.undo()
    told = []
    assert runs.execute(spec, {}, where, told.append).fixed() == expected
    assert "resumed at step 2" in [event.text for event in told]


def test_a_log_that_cannot_be_written_costs_no_run(tmp_path, glyph_cache, expected):
    spec, where = one_run(tmp_path, glyph_cache)
    (where.folder(spec) / "log.txt").mkdir(parents=True)
    got = runs.execute(spec, {}, where, lambda event: None)
    assert got.fixed() == expected
    (note,) = got.volatile.notes
    assert note.startswith("the log lacks lines (") and "Is a directory" in note


# A real full disk


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 8, 50, 100, 300, 500, 700, 900, 1100, 1400, 2300])
def test_a_real_disk_with_that_many_kilobytes_left(tmp_path, glyph_cache, expected, free):
    with calls.mounted(tmp_path, "-t", "tmpfs", "-o", "size=4m"):
        spec, where = one_run(tmp_path, glyph_cache)
        with open(tmp_path / "ballast", "wb") as ballast:
            ballast.write(bytes(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize - 1024 * free))
        got = runs.execute(spec, {}, where, lambda event: None)
        (tmp_path / "ballast").unlink()
        if free < 2300:  # three checkpoints and what a finished run leaves
            assert got.status == "failed" and "No space left on device" in got.reason and str(tmp_path) in got.reason
            only_whole(tmp_path)
            got = runs.execute(spec, {}, where, lambda event: None)
        assert got.fixed() == expected


def test_the_command_says_it_once(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    words = the_run(tmp_path, glyph_cache, "--jobs", "1", "--checkpoint", "0", "--device", "cpu")
    full = server.run(*words, cwd=tmp_path, file_size=300_000, few=True)
    assert full.returncode == 1 and full.stderr.count("File too large") == 1 and "Traceback" not in full.stderr
    assert "ce s0: failed: " in full.stderr and "MiB needed" in full.stderr
    assert "failed" in full.stdout, "the table says so too"
    assert not list(tmp_path.glob("runs/*/lease-*"))


# A disk that may only be read


@pytest.fixture
def complete(tmp_path, glyph_cache):
    """A suite of two rows, one of them done, with its plan."""
    where = tiny.settings(tmp_path, glyph_cache)
    made = tiny.make(tmp_path, glyph_cache, "ce, ncm", *SMALL)
    spec = next(iter(made.runs.values()))
    runs.execute(spec, {}, where, lambda event: None)
    planfile.write(made.file(), where.record_path(spec).parent)
    return tmp_path


def the_run(folder: Path, data: Path, *more: str) -> list[str | Path]:
    words = [word for text in SMALL for word in ("--set", text)]
    where = ["--results", folder / "results", "--runs", folder / "runs"]
    return ["run", folder / "tiny.yaml", "--data", data, *where, *words, *more]


@pytest.mark.parametrize("part", ["results", "runs"])
def test_what_may_only_be_read_is_refused_before_training(complete, glyph_cache, capsys, part):
    with calls.read_only(complete / part):
        done = calls.ltbench(capsys, *the_run(complete, glyph_cache))
    assert done.code == 2 and "cannot be written: " in done.err and done.err.count("\n") == 1
    assert f"{complete}/{part}" in done.err


def test_where_nothing_is_to_be_done_nothing_need_be_written(complete, glyph_cache, capsys):
    with calls.read_only(complete):
        done = calls.ltbench(capsys, *the_run(complete, glyph_cache, "--only", "ce"))
    assert done.code == 0, done.err


def test_reading_commands_work_on_a_folder_that_may_only_be_read(complete, glyph_cache, capsys):
    with calls.read_only(complete):
        table = calls.ltbench(capsys, "table", complete / "results")
        plan = calls.ltbench(capsys, "plan", *the_run(complete, glyph_cache)[1:])
        out = calls.ltbench(capsys, "table", complete / "results", "--out", complete / "table.txt")
    assert table.code == 0 and "ncm" in table.out
    assert plan.code == 0 and "1 to do" in plan.out
    assert out.code == 2 and "Read-only" in out.err + "Read-only" * bool(os.geteuid()) and out.err.count("\n") == 1


@pytest.mark.parametrize(("left", "code"), [("whole", 0), ("torn", 2), ("none", 1)])
def test_a_run_that_ended_well_counts_by_the_record_that_it_left(
    tmp_path, glyph_cache, capsys, monkeypatch, left, code
):
    """A record that no command believes had made an exit code of 0."""
    spec, where = one_run(tmp_path, glyph_cache)
    path = where.record_path(spec)

    def carry_out(todo, *more, **options):
        done = {"status": "complete", "right": (0,) * 62, "total": (1,) * 62}
        for each in todo if left != "none" else ():
            record.write(outcome.describe(each).model_copy(update=done), path.parent)
        if left == "torn":
            path.write_text(path.read_text()[:-9])
        return {each.key: "complete" for each in todo}

    monkeypatch.setattr("ltbench.jobs.carry_out", carry_out)
    place = ["--data", glyph_cache, "--results", where.results, "--runs", where.runs]
    sets = [word for text in SMALL for word in ("--set", text)]
    got = calls.ltbench(capsys, "run", tmp_path / "tiny.yaml", *place, *sets)
    assert got.code == code, got.err
    assert (str(path) in got.err) == (left == "torn")

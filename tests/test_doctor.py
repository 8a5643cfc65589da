"""`ltbench doctor`: each kind of fault is found and named; nothing is touched without --fix, nothing lost with it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import calls
import make_records
import pytest
import torch

from ltbench import checkpoints, leases, planfile, record, registry, sources
from ltbench import doctor as doctor_
from ltbench.trainer import Progress

OLD = time.time() - 3600


@pytest.fixture
def good(tmp_path):
    """Two complete rows with their runs' folders, and a parent that is no row. Nothing is wrong."""
    parent = make_records.make("ldam_drw", suite="toy")
    ce, crt = make_records.make("ce"), make_records.make("crt", parents={"stage1": parent_of(parent)})
    make_records.write(tmp_path / "results", [make_records.row([ce]), make_records.row([crt])], [ce, crt, parent])
    for each in (ce, crt, parent):
        finished(tmp_path, each)
    return tmp_path


def parent_of(made: record.Record) -> record.Parent:
    return record.Parent(key=made.key, label=made.label)


def finished(folder: Path, made: record.Record) -> Path:
    run = folder / "runs" / made.stem
    checkpoints.save_final(run, made.key, {"weights": {"x": torch.ones(3)}})
    return run


def one(folder: Path, name: str = "ce") -> Path:
    (path,) = (folder / "results/toy").glob(f"{name}-*.json")
    return path


def old(path: Path) -> Path:
    os.utime(path, (OLD, OLD))
    return path


def doctor(capsys, folder: Path, *more: str):
    return calls.ltbench(capsys, "doctor", folder / "results", "--runs", folder / "runs", *more)


# Faults: each spoils a good folder and says where the finding is and whether --fix puts it right


def flipped_record(folder):
    one(folder).write_text(one(folder).read_text().replace('"macs": 2000000.0', '"macs": 3000000.0'))
    return one(folder)


def no_plan(folder):
    (folder / "results/toy/plan.json").unlink()
    return folder / "results/toy/plan.json"


def damaged_plan(folder):
    (folder / "results/toy/plan.json").write_text("{")
    return folder / "results/toy/plan.json"


def future_record(folder):
    one(folder).write_text(json.dumps(json.loads(one(folder).read_text()) | {"schema_version": 2}))
    return one(folder)


def other_suite(folder):
    made = record.read(one(folder)).model_copy(update={"suite": "elsewhere"})
    return record.write(made, folder / "results/toy")


def stale(folder):
    made = record.read(one(folder)).model_copy(update={"source": "0" * 64})
    return record.write(made, folder / "results/toy")


def unasked(folder):
    return record.write(make_records.make("bbn"), folder / "results/toy")


def orphan(folder):
    return finished(folder, make_records.make("bbn"))


def damaged_weights(folder):
    run = folder / "runs" / one(folder).stem
    (run / "weights.safetensors").write_bytes(b"")
    return run


def damaged_checkpoint(folder):
    run = folder / "runs" / one(folder).stem
    path = checkpoints.save(run, record.read(one(folder)).key, Progress(step=3), {"x": torch.ones(3)})
    (path / "state.json").write_text("{}")
    return path


def stump_of_a_record(folder):
    path = folder / "results/toy/.ce-1234.json.abc_1234"
    path.write_text("{")
    return old(path)


def stump_of_a_checkpoint(folder):
    path = folder / "runs" / one(folder).stem / ".step-00000004.4711"
    path.mkdir()
    (path / "tensors.safetensors").write_text("")
    return old(path)


def dead_lease(folder):
    path = folder / "runs" / one(folder).stem / "lease-1"
    holder = leases.Holder("here", leases.here(), {"999999999": "1"}, "then", "token")
    path.write_text(json.dumps(vars(holder)))
    return path


def old_lease_of_another_machine(folder):
    path = dead_lease(folder)
    path.write_text(path.read_text().replace(leases.here(), "there"))
    os.utime(path, (time.time() - 100_000,) * 2)
    return path


FAULTS = {
    flipped_record: ("damaged", True), no_plan: ("damaged", False), damaged_plan: ("damaged", True),
    future_record: ("newer", False), other_suite: ("foreign", False),
    orphan: ("orphan", False), damaged_weights: ("damaged weights", False),
    damaged_checkpoint: ("damaged", True), stump_of_a_record: ("leftover", True),
    stump_of_a_checkpoint: ("leftover", True), dead_lease: ("dead lease", True),
    old_lease_of_another_machine: ("dead lease", True),
}  # fmt: skip


def test_where_nothing_is_wrong_it_says_so(good, capsys):
    before = calls.tree(good)
    for more in ((), ("--fix",)):
        done = doctor(capsys, good, *more)
        assert (done.code, done.out, done.err) == (0, "nothing is wrong\n", "")
    assert calls.tree(good) == before


@pytest.mark.parametrize("spoil", FAULTS)
def test_each_fault_is_found_and_nothing_is_touched_without_fix(good, capsys, spoil):
    kind, able = FAULTS[spoil]
    path = spoil(good)
    before = calls.tree(good)
    done = doctor(capsys, good)
    assert calls.tree(good) == before
    assert done.code == 1 and done.err == ""
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{kind} (1): "), done.out
    assert any(line.startswith(f"  {path}") for line in lines)
    right = f"--fix puts {int(able)} right" if able else "none is for --fix to put right"
    assert lines[-1] == f"1 fault; {right}"


@pytest.mark.parametrize("spoil", FAULTS)
def test_fix_loses_nothing_that_cannot_be_made_anew(good, capsys, spoil):
    kind, able = FAULTS[spoil]
    path = spoil(good)
    content = path.read_bytes() if path.is_file() else None
    done = doctor(capsys, good, "--fix")
    assert done.code == (0 if able else 1) and done.out.count("(put right)\n") == able
    if kind == "damaged" and able:
        aside = path.parent / "set-aside" / f"{path.name}.0"
        assert not path.exists() and aside.exists() and (content is None or aside.read_bytes() == content)
    elif able:
        assert not path.exists()
    else:
        assert path.exists() or spoil is no_plan
    again = doctor(capsys, good)
    expected = 1 if spoil is damaged_plan or not able else 0  # without a plan the table still knows no rows
    assert again.code == expected, again.out


def test_a_lease_that_another_runner_has_made_since_is_let_be(good):
    path = dead_lease(good)
    (dead,) = [found for found in doctor_.examine(good / "results", good / "runs") if found.path == path]
    path.write_text(path.read_text().replace('"token"', '"another"'))
    dead.fix()
    assert path.exists()
    path.write_text(path.read_text().replace('"another"', '"token"'))
    (dead,) = [found for found in doctor_.examine(good / "results", good / "runs") if found.path == path]
    dead.fix()
    assert not path.exists()


def test_two_damaged_records_of_one_name_are_both_kept(good, capsys):
    for _ in range(2):
        flipped_record(good)
        assert doctor(capsys, good, "--fix").code == 0
        record.write(make_records.make("ce"), good / "results/toy")
    assert len(list((good / "results/toy/set-aside").iterdir())) == 2
    assert calls.ltbench(capsys, "table", good / "results").code == 0, "what is set aside is read by nobody"


def test_all_faults_at_once_stand_in_order_of_gravity(good, capsys):
    for spoil in (stump_of_a_record, dead_lease, orphan, damaged_checkpoint, damaged_weights):
        spoil(good)
    done = doctor(capsys, good)
    kinds = [line.partition(" (")[0] for line in done.out.splitlines() if " (" in line and not line.startswith(" ")]
    assert kinds == ["damaged", "damaged weights", "orphan", "leftover", "dead lease"]
    assert done.out.endswith("5 faults; --fix puts 3 right\n")


# What is worth knowing and no fault


def test_what_is_under_way_stopped_or_to_be_run_again_is_told_and_is_no_fault(good, capsys):
    made = [make_records.make(label, status=status, reason="so it is") for label, status in FAILING]
    rows = [make_records.row([each]) for each in made]
    before = planfile.read(good / "results/toy")
    planfile.write(before.model_copy(update={"rows": (*before.rows, *rows)}), good / "results/toy")
    for each in made[:2]:
        record.write(each, good / "results/toy")
    for each in made[2:]:
        checkpoints.save(good / "runs" / each.stem, each.key, Progress(step=7), {"x": torch.ones(3)})
    live = leases.Leases()
    assert live.acquire(good / "runs" / made[3].stem) is None
    done = doctor(capsys, good)
    live.close()
    assert done.code == 0 and done.out.endswith("nothing is wrong; what stands above is only told\n")
    assert "bbn seed 0 failed: so it is" in done.out and "lws seed 0 oom: so it is" in done.out
    assert f"{made[2].stem}: stopped at step 7" in done.out
    assert (
        f"running (1): somebody is at it\n  {good}/runs/{made[3].stem}/lease-1: process {os.getpid()} on " in done.out
    )
    assert "partial (1): " in done.out


FAILING = (("bbn", "failed"), ("lws", "oom"), ("ncm", "failed"), ("focal", "failed"))


def test_finished_runs_of_former_settings_are_told_and_stay_with_what_they_started_from(good, capsys):
    """--fix set the later one aside, then the one that it had started from, and then called their weights orphans."""
    parent = make_records.make("ce", recipe={"lr": 0.3})
    for made in (parent, make_records.make("crt", recipe={"lr": 0.3}, parents={"stage1": parent_of(parent)})):
        record.write(made, good / "results/toy")
        finished(good, made)
    before = calls.tree(good)
    for _ in range(2):
        done = doctor(capsys, good, "--fix")
        assert done.code == 0 and done.out.startswith("in no plan (2): "), done.out
        assert "ce seed 0" in done.out and "crt seed 0" in done.out
        assert calls.tree(good) == before


def test_a_changed_plugin_makes_no_record_stale_as_its_key_holds_its_source(good, capsys):
    record.write(make_records.make("ce", plugin="1" * 64, source="0" * 64), good / "results/toy")
    done = doctor(capsys, good)
    assert "in no plan (1)" in done.out and "stale" not in done.out


def test_a_parent_of_what_is_still_to_be_run_is_not_told(good, capsys):
    unasked(good)
    one(good, "crt").unlink()
    done = doctor(capsys, good)
    assert done.code == 0 and "in no plan" not in done.out, "crt may be about to start from it"


def test_a_stopped_run_that_one_still_to_be_run_may_start_from_is_no_orphan(good, capsys):
    """A network of an ensemble, or a teacher: no row, and no record yet that names it as a parent."""
    member = make_records.make("ldam_drw", seed=1000)
    run = good / "runs" / member.stem
    checkpoints.save(run, member.key, Progress(step=5), {"x": torch.ones(3)})
    one(good, "crt").unlink()
    done = doctor(capsys, good)
    assert done.code == 0 and f"partial (1): `ltbench run` goes on from its last checkpoint\n  {run}: " in done.out
    record.write(make_records.make("crt"), good / "results/toy")  # of other settings: crt is still to be run
    assert "orphan" not in doctor(capsys, good).out


def test_a_fresh_stump_may_be_a_file_that_is_being_written(good, capsys):
    os.utime(stump_of_a_record(good))
    assert doctor(capsys, good).code == 0


def test_one_suites_folder_says_nothing_of_the_runs_of_others(good, capsys):
    orphan(good)
    done = calls.ltbench(capsys, "doctor", good / "results/toy", "--runs", good / "runs")
    assert done.code == 0 and "orphan" not in done.out


def test_other_files_are_let_be(good, capsys):
    (good / "results/toy/table.md").write_text("x")
    (good / "results/toy/.gitignore").write_text("x")
    done = doctor(capsys, good, "--fix")
    assert done.code == 0 and "not ltbench's (1): let be" in done.out and ".gitignore" not in done.out
    assert (good / "results/toy/table.md").exists()


def test_a_record_whose_method_has_changed_is_told_and_no_fault(good, capsys):
    stale(good)
    done = doctor(capsys, good)
    assert done.code == 0 and "stale (1): the method's source has changed since" in done.out


def test_a_record_of_a_method_that_is_not_there_is_not_called_stale(good, capsys):
    made = make_records.make("ce", method="mine", source="1" * 64)
    record.write(made, good / "results/toy")
    done = doctor(capsys, good)
    assert "stale" not in done.out and "of an unknown method (1): this ltbench has none of that name" in done.out


def test_a_failed_run_that_no_row_asks_for_is_not_promised_another(good, capsys):
    record.write(make_records.make("bbn", status="failed", reason="so it is"), good / "results/toy")
    done = doctor(capsys, good)
    assert done.code == 0 and "in no plan (1)" in done.out and "to be run again" not in done.out


def test_a_record_whose_method_is_as_it_was_is_not_stale(good, capsys):
    source = sources.source_hash(registry.get("ce"))
    made = record.read(one(good)).model_copy(update={"source": source})
    record.write(made, good / "results/toy")
    assert "stale" not in doctor(capsys, good).out


def test_where_no_results_are_it_says_so(tmp_path, capsys):
    done = calls.ltbench(capsys, "doctor", tmp_path / "absent")
    assert done.code == 2 and "no results here" in done.err and done.err.count("\n") == 1


def test_a_manifest_that_names_files_elsewhere_is_not_followed(good, capsys, tmp_path):
    run = good / "runs" / one(good).stem
    (run / "manifest.json").write_text(json.dumps({"key": "x", "sha256": {"../../secret": "0" * 64}}))
    done = doctor(capsys, good)
    assert done.code == 1 and "its manifest names strange files" in done.out


# What is not ours


def test_a_folder_with_other_json_files_is_no_folder_of_results(tmp_path, capsys):
    """--fix moved package.json aside, and this project's own schemas."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "package.json").write_text("{}")
    done = calls.ltbench(capsys, "doctor", tmp_path, "--fix")
    assert done.code == 2 and "no results here" in done.err
    assert [path.name for path in (tmp_path / "project").iterdir()] == ["package.json"]


def test_a_folder_of_runs_is_no_folder_of_results(good, capsys):
    """--fix moved the manifests of good weights aside."""
    before = calls.tree(good)
    done = calls.ltbench(capsys, "doctor", good / "runs", "--fix")
    assert done.code == 2 and "no results here" in done.err
    assert calls.tree(good) == before


def test_another_json_file_beside_records_is_let_be_by_all(good, capsys):
    """table refused what doctor called none of ltbench's business."""
    (good / "results/toy/notes.json").write_text("[]")
    done = doctor(capsys, good, "--fix")
    assert done.code == 0 and "not ltbench's (1): let be" in done.out
    assert (good / "results/toy/notes.json").exists()
    done = calls.ltbench(capsys, "table", good / "results")
    assert done.code == 0 and "refused" not in done.err


def test_weights_whose_manifest_is_gone_are_told(good, capsys):
    (good / "runs" / one(good).stem / "manifest.json").unlink()
    done = doctor(capsys, good)
    assert done.code == 1 and "damaged weights (1)" in done.out and "manifest.json" in done.out


def test_a_run_of_two_suites_that_was_trained_twice_may_keep_the_weights_of_either(good, capsys):
    """The record of the suite that was read last was taken for the only one."""
    first = record.read(one(good))
    again = first.model_copy(update={"right": tuple(n - 1 for n in first.right)})
    assert again.key == first.key and again.numbers != first.numbers
    for suite, made in (("again", again), ("later", first)):
        made = made.model_copy(update={"suite": suite})
        make_records.write(good / "results", [make_records.row([made])], [made], suite=suite)
    run = good / "runs" / first.stem
    for numbers, code in ((first.numbers, 0), (again.numbers, 0), ("f" * 64, 1)):
        checkpoints.save_final(run, first.key, {"weights": {"x": torch.ones(3)}}, numbers)
        done = doctor(capsys, good)
        assert done.code == code and ("damaged weights (1)" in done.out) == bool(code)


def test_a_record_that_cannot_be_read_is_not_damaged(good, capsys, monkeypatch):
    path, read = one(good), Path.read_bytes
    denied = PermissionError(13, "Permission denied")

    def forbidden(self):
        if self == path:
            raise denied
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    done = doctor(capsys, good, "--fix")
    assert done.code == 1 and "unreadable (1)" in done.out and f"{path}: cannot be read: Permission denied" in done.out
    assert path.exists()


def test_a_plan_that_cannot_be_read_is_not_damaged_and_nothing_is_an_orphan_meanwhile(good, capsys, monkeypatch):
    orphan(good)
    path, read = good / "results/toy/plan.json", Path.read_text

    def forbidden(self, *given, **named):
        if self == path:
            raise PermissionError(13, "Permission denied")
        return read(self, *given, **named)

    monkeypatch.setattr(Path, "read_text", forbidden)
    done = doctor(capsys, good, "--fix")
    assert "unreadable (1)" in done.out and "orphan" not in done.out and path.exists()


def test_a_suites_folder_may_be_a_link(good, capsys):
    (good / "elsewhere").mkdir()
    (good / "results/toy").rename(good / "elsewhere/other")
    (good / "results/toy").symlink_to(good / "elsewhere/other")
    assert "foreign" not in doctor(capsys, good).out


def test_a_suites_own_folder_may_be_where_one_stands(good, capsys, monkeypatch):
    monkeypatch.chdir(good / "results/toy")
    done = calls.ltbench(capsys, "doctor", ".", "--runs", good / "runs")
    assert done.code == 0 and "foreign" not in done.out


def test_a_folder_of_runs_that_is_not_there_is_told(good, capsys):
    done = calls.ltbench(capsys, "doctor", good / "results", "--runs", good / "typo")
    assert done.code == 0 and "typo: there is no such folder; only records are looked at" in done.err

"""Checkpoints: what is damaged, or another run's, is refused and named, and the older one is used."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import tiny
import torch

from ltbench import checkpoints, manifest, runs
from ltbench.trainer import Interrupted, Progress

KEY, OTHER = "a" * 64, "b" * 64
FILES = (checkpoints.TENSORS, checkpoints.STATE, checkpoints.MANIFEST)


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"method.weight": torch.full((5, 7), value), "optimizer.weight": torch.full((5, 7), -value)}


def save(folder: Path, step: int, key: str = KEY) -> Path:
    history = [{"epoch": 0, "lr": 0.1, "terms": {"ce": float(step)}}]
    return checkpoints.save(folder, key, Progress(step=step, history=history), tensors(float(step)))


@pytest.fixture
def run(tmp_path):
    """A run's folder with the checkpoints of steps 1 and 2, and beside it another run's."""
    for folder, key in (("mine", KEY), ("theirs", OTHER)):
        for step in (1, 2):
            save(tmp_path / folder, step, key)
    return tmp_path / "mine"


# Damages: each changes a checkpoint's folder so that it is no longer what was saved


def cut(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: dice.randrange(len(content))])


def one_short(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path, dice: random.Random) -> None:
    path.write_bytes(b"")


def zeroed_tail(path: Path, dice: random.Random) -> None:
    content = path.read_bytes()
    keep = dice.randrange(len(content.rstrip(b"\0")))
    path.write_bytes(content[:keep] + bytes(len(content) - keep))


def flipped_bit(path: Path, dice: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)


def longer(path: Path, dice: random.Random) -> None:
    path.write_bytes(path.read_bytes() + b"\1")


def missing(path: Path, dice: random.Random) -> None:
    path.unlink()


def a_folder(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.mkdir()


def noise(path: Path, dice: random.Random) -> None:
    path.write_bytes(dice.randbytes(len(path.read_bytes())))


def of_the_older(path: Path, dice: random.Random) -> None:
    shutil.copy(path.parent.parent / "step-00000001" / path.name, path)


def of_another_run(path: Path, dice: random.Random) -> None:
    shutil.copy(path.parent.parent.parent / "theirs" / "step-00000001" / path.name, path)


def deep(path: Path, dice: random.Random) -> None:
    path.write_text("[" * 200_000)


ALONE = (cut, one_short, empty, zeroed_tail, flipped_bit, longer, missing, a_folder, noise, deep)
DAMAGES = (*ALONE, of_the_older, of_another_run)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_never_taken(run, tmp_path, damage):
    """12 damages of 17 drawn places each: 204 cases."""
    dice = random.Random(damage.__name__)
    for case in range(17):
        folder = tmp_path / f"case-{case}" / "mine"
        shutil.copytree(run, folder)
        shutil.copytree(run.parent / "theirs", folder.parent / "theirs")
        name = FILES[case % 3]
        damage(folder / "step-00000002" / name, dice)
        progress, loaded, complaints = checkpoints.load(folder, KEY)
        assert progress.step == 1 and torch.equal(loaded["method.weight"], tensors(1.0)["method.weight"]), (case, name)
        (said,) = complaints
        assert said.startswith("checkpoint step-00000002 is damaged (") and "\n" not in said
        if damage not in ALONE:
            continue
        damage(folder / "step-00000001" / name, dice)
        progress, loaded, complaints = checkpoints.load(folder, KEY)
        assert (progress.step, loaded) == (0, {}) and len(complaints) == 2, "it begins anew, and says so"


def test_a_checkpoint_of_another_run_is_not_taken(run):
    shutil.rmtree(run / "step-00000002")
    shutil.copytree(run.parent / "theirs" / "step-00000002", run / "step-00000002")
    progress, _, (said,) = checkpoints.load(run, KEY)
    assert progress.step == 1 and "another run's" in said


def test_a_checkpoint_under_the_name_of_another_step_is_not_taken(run):
    (run / "step-00000001").rename(run / "step-00000009")
    progress, _, (said,) = checkpoints.load(run, KEY)
    assert progress.step == 2 and "name of another step" in said


def test_what_a_kill_has_left_is_no_checkpoint_and_goes_with_the_next(run):
    shutil.copytree(run / "step-00000002", run / ".step-00000003.4711")
    assert checkpoints.load(run, KEY)[0].step == 2
    save(run, 3)
    assert sorted(path.name for path in run.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_damaged_newer_one_does_not_push_a_good_one_out(run):
    save(run, 9)
    empty(run / "step-00000009" / checkpoints.STATE, random.Random())
    save(run, 3)  # the run has gone on from step 2
    assert sorted(path.name for path in run.iterdir()) == ["step-00000002", "step-00000003"]


# What a finished run leaves


@pytest.mark.parametrize("damage", ALONE)
@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_damaged_weights_are_as_absent(tmp_path, damage, name):
    dice, files = random.Random(damage.__name__), {"weights": tensors(1.0), "logits": tensors(2.0)}
    for case in range(5):
        folder = tmp_path / str(case)
        checkpoints.save_final(folder, KEY, files)
        assert checkpoints.load_final(folder, KEY, "weights") and not checkpoints.load_final(folder, OTHER, "weights")
        damage(folder / name, dice)
        for kind, right in files.items():
            loaded = checkpoints.load_final(folder, KEY, kind)
            # a bit of the manifest that tells of the one file leaves the other as it is
            assert loaded is None or all(torch.equal(loaded[key], right[key]) for key in right)
        assert (checkpoints.load_final(folder, KEY, "weights") is None) or damage is flipped_bit


def test_files_of_one_run_that_changed_places_are_refused(tmp_path):
    checkpoints.save_final(tmp_path, KEY, {"weights": tensors(1.0), "logits": tensors(2.0)})
    shutil.copy(tmp_path / "logits.safetensors", tmp_path / "weights.safetensors")
    assert checkpoints.load_final(tmp_path, KEY, "weights") is None
    assert checkpoints.load_final(tmp_path, KEY, "logits")


# Where it is said


def test_a_run_goes_on_from_the_older_one_and_says_so_in_its_log_and_record(few_test_images, tmp_path, glyph_cache):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", "data.head=3").runs.values()
    expected = runs.execute(spec, {}, tiny.settings(tmp_path / "whole", glyph_cache), lambda event: None)
    where, calls = tiny.settings(tmp_path / "broken", glyph_cache, checkpoint=0.0), iter(range(100))
    with pytest.raises(Interrupted):
        runs.execute(spec, {}, where, lambda event: None, stop=lambda: next(calls) == 3)
    older, newer = sorted(where.folder(spec).glob("step-*"))
    flipped_bit(newer / checkpoints.TENSORS, random.Random(1))
    told = []
    got = runs.execute(spec, {}, where, told.append)
    said = f"checkpoint {newer.name} is damaged (tensors.safetensors contradicts its sha256)"
    assert got.volatile.notes == (said,) and got.fixed() == expected.fixed()
    assert [event.text for event in told][1:3] == [said, f"resumed at step {int(older.name[5:])}"]
    assert said in (where.folder(spec) / "log.txt").read_text()
    assert json.loads(where.record_path(spec).read_text())["volatile"]["notes"] == [said]


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.rename

    def flushed(file: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{file}")))
        fsync(file)

    def renamed(old, new, **more) -> None:
        done.append(f"-> {os.path.basename(new)}")
        rename(old, new, **more)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    save(tmp_path / "run", 7)
    at = done.index("-> step-00000007")
    assert {checkpoints.TENSORS} <= set(done[:at]) and sum(name.startswith(".manifest") for name in done[:at]) == 1
    assert done[at + 1 :] == ["run"], "the folder that holds the name"


def test_a_manifest_that_names_only_some_of_the_files_is_not_taken(run):
    manifest.write(run / "step-00000002", KEY, (checkpoints.STATE,))
    progress, _, (said,) = checkpoints.load(run, KEY)
    assert progress.step == 1 and "lacks files" in said

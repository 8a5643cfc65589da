"""The same command again: nothing is done, nothing is touched, and it takes no time to speak of."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import calls
import pytest
import tiny

from ltbench import planfile, record

SMALL = ("data.head=3", "recipe.epochs=1")


@pytest.fixture(scope="module")
def complete(few_test_images, tmp_path_factory, glyph_cache):
    """A suite, some of it set, that is done."""
    folder = tmp_path_factory.mktemp("complete")
    made, where = tiny.make(folder, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(folder, glyph_cache)
    assert all(done.status == "complete" for done in tiny.carry_out(made, where).values())
    planfile.write(made.file(), folder / "results" / "tiny")
    return folder


def words(folder: Path, data: Path) -> list[str]:
    sets = [word for text in SMALL for word in ("--set", text)]
    where = ["--results", str(folder / "results"), "--runs", str(folder / "runs"), "--data", str(data)]
    return ["run", str(folder / "tiny.yaml"), *where, *sets]


def test_a_complete_suite_is_not_touched(complete, glyph_cache, capsys):
    before = calls.tree(complete), calls.tree(glyph_cache)
    for more in ((), ("--checkpoint", "0"), ("--jobs", "2"), ("--only", "ce"), ("--seeds", "0"), ("--dry-run",)):
        assert calls.ltbench(capsys, *words(complete, glyph_cache), *more).code == 0
    assert (calls.tree(complete), calls.tree(glyph_cache)) == before, "inode, size or time of some file has changed"


def seconds(*command: str) -> float:
    """What a command takes of a processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_complete_suite_takes_little_more_than_importing_torch(complete, glyph_cache):
    before, ratios = calls.tree(complete), []
    while not ratios or (min(ratios) > 2 and len(ratios) < 3):  # pairs: how fast the machine is falls out
        again = seconds("-m", "ltbench", *words(complete, glyph_cache))
        ratios.append(again / seconds("-c", "import torch"))
    print(f"{min(ratios):.2f} times importing torch")
    assert min(ratios) <= 2
    assert calls.tree(complete) == before


def test_rows_of_other_values_are_added_to_the_plan_once(complete, glyph_cache, tmp_path, capsys):
    import shutil

    shutil.copytree(complete, tmp_path / "copy")
    folder, more = tmp_path / "copy", ["--set", "recipe.lr=0.05", "--only", "ce"]
    made = tiny.make(folder, glyph_cache, "ce, tau_norm", *SMALL, "recipe.lr=0.05")
    spec = next(iter(made.runs.values()))
    done = record.read_folder(complete / "results/tiny")[0]
    first = next(iter(done.values()))
    finished = first.model_copy(update={"recipe": {**first.recipe, "lr": 0.05}, "key": spec.key, "label": "ce"})
    record.write(finished, folder / "results/tiny")
    assert calls.ltbench(capsys, *words(folder, glyph_cache), *more).code == 0
    rows = planfile.read(folder / "results/tiny").rows
    assert [row.label for row in rows].count("ce") == 2, "of two blocks"
    assert not list((folder / "results/tiny").glob("lease-*"))
    before = calls.tree(folder)
    assert calls.ltbench(capsys, *words(folder, glyph_cache), *more).code == 0
    assert calls.tree(folder) == before


def test_rows_of_other_values_stay_when_the_file_itself_is_run_again(server, glyph_cache, tmp_path):
    path = tiny.write(tmp_path, "ce")
    path.write_text(path.read_text().replace("head: 9", "head: 3").replace("epochs: 2", "epochs: 1"))
    plain, other = words(tmp_path, glyph_cache)[: -2 * len(SMALL)], ["--set", "recipe.lr=0.05"]
    for more in ([], other, []):
        done = server.run(*plain, *more, few=True)
        assert done.returncode == 0, done.stderr
    rows = planfile.read(tmp_path / "results/tiny").rows
    assert [(row.recipe, row.sets) for row in rows] == [("tiny", ()), ("tiny [lr=0.05]", ("recipe.lr=0.05",))]
    shown = server.run("table", tmp_path / "results", "--columns", "label,top1").stdout
    assert "recipe tiny\n" in shown and "recipe tiny [lr=0.05]\n" in shown


@pytest.mark.slow
def test_a_table_of_ten_thousand_records(tmp_path):
    import make_records

    made = [make_records.make(f"ce(option={i})", seed) for i in range(1000) for seed in range(10)]
    rows = [make_records.row(made[10 * i : 10 * i + 10]) for i in range(1000)]
    folder = make_records.write(tmp_path, rows, made, baseline=made[0].label)
    command = [sys.executable, "-m", "ltbench", "table", str(folder), "--format", "json"]
    first = subprocess.run(command, capture_output=True, check=True).stdout
    took = min(seconds(*command[1:]) for _ in range(2))
    print(f"{took:.1f} s of a processor")
    assert took < 5
    assert len(json.loads(first)) == 1000
    assert (
        subprocess.run(command, capture_output=True, check=True, env=os.environ | {"TZ": "Asia/Tokyo"}).stdout == first
    )

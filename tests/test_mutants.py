"""The seeded faults of tests/mutants/ still apply, and are listed; `make mutants` shows that each is noticed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "mutants"))

import run  # noqa: E402  # tests/mutants/run.py

sys.path.pop(0)
MUTANTS = run.all_mutants()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    for name in ("ltbench", "methods"):
        run.shutil.copytree(run.ROOT / name, folder / name, ignore=run.shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_applies_and_changes_what_is_run(mutant, scratch):
    before = {path: path.read_bytes() for path in scratch.rglob("*.py")}
    assert run.applies(mutant, scratch) == ""
    changed = [path for path, content in before.items() if path.read_bytes() != content]
    assert len(changed) == 1
    compile(changed[0].read_text(), changed[0], "exec")
    changed[0].write_bytes(before[changed[0]])


def test_a_patch_that_does_not_fit_is_told(tmp_path):
    assert run.applies(MUTANTS[0], tmp_path)


def test_there_are_ten_and_the_page_names_each_with_its_test():
    page = (run.ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert len(MUTANTS) >= 10
    for mutant in MUTANTS:
        file, _, words = mutant.test.partition(" -k ")
        named = f"{Path(file).name} -k {words}" if " " not in words else f'{Path(file).name} -k "{words}"'
        assert f"| `{mutant.name}`: {mutant.fault} | `{named}` |" in page, mutant.name

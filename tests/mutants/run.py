"""Seeded faults: apply each patch to a scratch copy of the project, and run the test that must notice it.

`python tests/mutants/run.py [name ...]`. The text before a patch's first `---` says what is wrong, and `test: ` names
the test. Exit code 1 where one goes unnoticed, does not apply, or its test fails without it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
COPIED = ("ltbench", "methods", "suites", "tests", "docs", "results", "pyproject.toml", "Makefile", "README.md")


@dataclass(frozen=True)
class Mutant:
    """A patch, and the words after `pytest` that choose the test which must fail with it."""

    path: Path
    fault: str
    test: str

    @property
    def name(self) -> str:
        """The file's name without .patch."""
        return self.path.stem


def all_mutants() -> list[Mutant]:
    """Every patch in this folder. Raises ValueError for one that does not say its fault and its test."""
    found = []
    for path in sorted(HERE.glob("*.patch")):
        head = path.read_text(encoding="utf-8").partition("\n--- ")[0]
        match = re.fullmatch(r"(?s)(.+)\ntest: (tests/.+)", head.strip())
        if not match:
            raise ValueError(f"{path}: must begin with its fault, then `test: tests/...`")
        found.append(Mutant(path, match[1], match[2]))
    return found


def copy(folder: Path) -> None:
    """A scratch copy of the project, that is found before the installed one."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    for name in ("methods", "suites"):  # where a wheel has them
        (folder / "ltbench" / name).symlink_to(folder / name)


def applies(mutant: Mutant, folder: Path) -> str:
    """Apply a patch to the copy in folder; "" or why it cannot be."""
    done = subprocess.run(
        ["git", "apply", "--whitespace=nowarn", str(mutant.path)],
        cwd=folder, capture_output=True, text=True, env=os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)},
    )  # fmt: skip
    return done.stderr.strip()


def noticed(mutant: Mutant, folder: Path) -> tuple[bool, str]:
    """(whether the test fails in folder because of an assertion or error in it, pytest's last line)."""
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import ltbench, ltbench.methods as m; print(ltbench.__file__, m.__file__)"],
        cwd=folder, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(Path(each).is_relative_to(folder) for each in where.split()), f"another ltbench is tested: {where}"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *_words(mutant.test)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: tests failed; others: none was found, or it could not even begin
        raise RuntimeError(f"{mutant.name}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode == 1, done.stdout.strip().splitlines()[-1]


def _words(text: str) -> list[str]:
    """`tests/x.py -k a and b` as arguments."""
    file, _, chosen = text.partition(" -k ")
    return [file, *(["-k", chosen] if chosen else [])]


def main(names: list[str]) -> int:
    """Try all mutants, or those named."""
    chosen = [mutant for mutant in all_mutants() if not names or mutant.name in names]
    missed = 0
    for mutant in chosen:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch).resolve()
            copy(folder)
            sound = not noticed(mutant, folder)[0]
            fault = applies(mutant, folder)
            caught, last = (False, fault) if fault else noticed(mutant, folder)
        good = caught and sound
        missed += not good
        word = "caught" if good else "MISSED" if sound else "UNSOUND: the test fails without it"
        print(f"{word}  {mutant.name}  by {mutant.test}  ({last}; {time.monotonic() - begun:.0f} s)", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

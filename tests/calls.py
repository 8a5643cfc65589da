"""`ltbench ...` within the test's process, where torch is loaded already; and folders that are full or read-only."""

from __future__ import annotations

import inspect
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ltbench import cli


def ltbench(capsys: pytest.CaptureFixture[str], *words: str | Path) -> SimpleNamespace:
    """What the command line answers: code, out, err. Nothing that trains: workers are processes of their own."""
    capsys.readouterr()
    before, sys.argv = sys.argv, ["ltbench", *map(str, words)]
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return SimpleNamespace(code=code or 0, out=said.out, err=said.err)


HANG = (
    20.0  # seconds of a processor: the slowest hostile text takes about one; work by the square of a megabyte, far more
)


@contextmanager
def no_hang(what: object = "it") -> Iterator[None]:
    """What is within ends. No timed test: the limit is one that a slow or busy machine keeps and endless work does not.

    Of this process only, so other work beside it does not count.
    """
    begun = time.process_time()
    yield
    spent = time.process_time() - begun
    assert spent < HANG, f"{spent:.1f} s of a processor for {what!r}"


def cases(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of so many generated cases, `case` being its number: as one test, which names the case that fails.

    As tests of their own they would take longer to be counted and reported than to run.
    """

    def all_of(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def over_cases(**fixtures: Any) -> None:
            for case in range(number):
                try:
                    test(case=case, **fixtures)
                except Exception as error:
                    error.add_note(f"case {case}")
                    raise

        signature = inspect.signature(test)
        rest = [each for name, each in signature.parameters.items() if name != "case"]
        over_cases.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return over_cases

    return all_of


def cold(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """`ltbench ...` from nothing, as a shell starts it: what it loads, and what it makes of the environment."""
    return subprocess.run(
        [sys.executable, "-m", "ltbench", *map(str, words)], capture_output=True, text=True, env=os.environ | env
    )


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file and folder below: inode, size and time of the last change."""
    found = {str(path): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Within this, no file may grow beyond `size` bytes: each writer fails there and leaves a stump.

    The system says "File too large" instead of "No space left on device"; the rest is as on a full disk.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def mounted(folder: Path, *options: str, source: str | Path = "tmpfs") -> Iterator[None]:
    """Something mounted on folder; skips the test where that takes rights that nobody has given us."""
    done = subprocess.run(["mount", *options, str(source), str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within this, folder cannot be written to, by root neither."""
    if os.geteuid():
        modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for path, mode in modes.items():
                path.chmod(mode)
        return
    with mounted(folder, "--bind", source=folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield

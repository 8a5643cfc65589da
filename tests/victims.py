"""Runners to be killed: a suite carried out as `ltbench run` does with its leases, checkpoints and signals.

They run in processes that warm.py forks.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any


def few_test_images() -> None:
    """Two test images a class: evaluation is not what is looked at here, and would take most of the time."""
    from ltbench import live
    from ltbench.data.memory import Images

    opened = live._opened

    def few(*given: Any) -> Any:
        data = opened(*given)
        test = data.test
        return replace(data, test=Images(test.image[::10], test.label[::10], test.classes, test.norm))

    live._opened = cache(few)  # type: ignore[assignment]


def make_plan(suite: str, sets: tuple[str, ...], data: Path) -> tuple[Any, Any]:
    """The plan of a suite file, and its settings; the data are opened, so that each process has them."""
    from ltbench import live, plan, state
    from ltbench import suite as suites

    made = plan.make(suites.read(suite, sets), data)
    home = Path(suite).parent
    live._opened(next(iter(made.runs.values())).data, data, "cpu")
    return made, state.Settings(home / "results", home / "runs", data, "cpu", 0.0)


def carry_out(planned: tuple[Any, Any], die_at: int = 0, trace: str = "", pool: bool = False) -> int:
    """Carry out what is outstanding; 0, 1, or a signal's exit code.

    pool: in a worker, as the command does, but forked from here, where it need not import torch anew.
    die_at: SIGKILL before that file operation (from 1) below results/ and runs/ of those that `trace` counts, a regular
    expression over "<operation> <file>"; without die_at each is appended to operations.txt beside the suite.
    """
    import warm

    from ltbench import jobs, state, together
    from ltbench.signals import EXIT, Signals

    few_test_images()
    made, settings = planned
    if trace:
        watch(settings.results.parent, die_at, trace)
    todo = [made.runs[key] for key in state.outstanding(made.runs, settings)]
    with Signals().caught() as signals:
        if pool:
            warm.forked_workers()
            ended = jobs.carry_out(
                todo, made.runs, settings, jobs=1, plugins=(), report=lambda event: None, signals=signals
            )
        else:
            ended = together.one_by_one(todo, made.runs, settings, lambda event: None, signals)
    if signals.got is not None:
        return EXIT[signal.Signals(signals.got)]
    return 0 if all(status == "complete" for status in ended.values()) else 1


def watch(home: Path, die_at: int, trace: str) -> None:
    """Count file operations as Python is about to do them, and die at one of them."""
    import re

    chosen, count = re.compile(trace), 0
    names = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree")
    listed = os.open(home / "operations.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in names or not isinstance(given[0], str | os.PathLike):
            return
        place = os.fspath(given[0])
        text = f"{event} {os.path.relpath(place, home) if os.path.isabs(place) else place}"
        if not chosen.search(text):
            return
        count += 1
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if not die_at:
            os.write(listed, f"{text}\n".encode())

    sys.addaudithook(hook)

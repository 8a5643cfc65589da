"""Runners to be killed: real processes, forked in milliseconds from a server that has torch and the data loaded.

`python tests/victims.py DATA` is the server. For each line that it reads, a task, it forks a process that carries a
suite out as `ltbench run` does with its leases, checkpoints and signals; it answers with the process's number and, once
told to wait for its end, with how it ended. The server itself never trains: autograd's threads would not live through
a fork.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent


class Victim:
    """One process, known by its number."""

    def __init__(self, server: Server, number: int) -> None:
        self.server, self.number = server, number

    def end(self) -> int:
        """Wait for it: its exit code, or minus the signal that killed it."""
        self.server.say("end")
        return int(self.server.hear())

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal. Until end() is called, its number can be no other process's, even if it has ended."""
        os.kill(self.number, number)


class Server:
    """The server, and what it starts; one process at a time."""

    def __init__(self, data: Path) -> None:
        path = os.pathsep.join(folder for folder in sys.path if folder)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "victims.py"), str(data)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        )  # fmt: skip
        assert self.hear() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def hear(self) -> str:
        """The server's next line."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        """A line to the server."""
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def start(self, suite: Path, *sets: str, **task: Any) -> Victim:
        """Carry a suite out, with results/ and runs/ beside it; task: see carry_out()."""
        self.say(json.dumps({"suite": str(suite), "sets": sets, **task}))
        return Victim(self, int(self.hear()))


def serve(data: Path) -> None:
    """Read tasks, fork processes, answer."""
    import torch
    import torch._dynamo  # what a run imports when it comes to it takes seconds
    import torch.utils.flop_counter

    torch.set_num_threads(1)
    few_test_images()
    say("ready")
    planned = cache(lambda suite, sets: make_plan(suite, sets, data))
    while line := sys.stdin.readline():
        task = json.loads(line)
        made = planned(task.pop("suite"), tuple(task.pop("sets")))
        number = os.fork()
        if not number:
            os.setsid()
            os._exit(guarded(lambda made=made, task=task: carry_out(made, **task)))
        say(number)
        assert sys.stdin.readline() == "end\n"
        say(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))


def say(word: object) -> None:
    """A line to whoever started the server."""
    print(word, flush=True)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of work; an exception's is 99, and it is told on stderr."""
    try:
        return work()
    except BaseException:
        import traceback

        traceback.print_exc()
        return 99


def few_test_images() -> None:
    """Two test images a class: evaluation is not what is looked at here, and would take most of the time."""
    from ltbench import runs
    from ltbench.data.memory import Images

    opened = runs._opened

    def few(*given: Any) -> Any:
        data = opened(*given)
        test = data.test
        return replace(data, test=Images(test.image[::10], test.label[::10], test.classes, test.norm))

    runs._opened = cache(few)  # type: ignore[assignment]


def make_plan(suite: str, sets: tuple[str, ...], data: Path) -> tuple[Any, Any]:
    """The plan of a suite file, and its settings; the data are opened, so that each process has them."""
    from ltbench import plan, runs
    from ltbench import suite as suites

    made = plan.make(suites.read(suite, sets), data)
    home = Path(suite).parent
    runs._opened(next(iter(made.runs.values())).data, data, "cpu")
    return made, runs.Settings(home / "results", home / "runs", data, "cpu", 0.0)


def carry_out(planned: tuple[Any, Any], die_at: int = 0, trace: str = "", pool: bool = False) -> int:
    """Carry out what is outstanding; 0, 1, or a signal's exit code.

    pool: in a worker, as the command does, but forked from here, where it need not import torch anew.
    die_at: SIGKILL before that file operation (from 1) below results/ and runs/ of those that `trace` counts, a regular
    expression over "<operation> <file>"; without die_at each is appended to operations.txt beside the suite.
    """
    from ltbench import jobs, runs

    made, settings = planned
    if trace:
        watch(settings.results.parent, die_at, trace)
    todo = [made.runs[key] for key in runs.outstanding(made.runs, settings)]
    with jobs.Signals().caught() as signals:
        if pool:
            fork = jobs.multiprocessing.get_context("fork")
            jobs.multiprocessing.get_context = lambda kind: fork  # type: ignore[assignment]
            ended = jobs.carry_out(
                todo, made.runs, settings, jobs=1, plugins=(), report=lambda event: None, signals=signals
            )
        else:
            ended = jobs._here(todo, made.runs, settings, lambda event: None, signals)
    if signals.got is not None:
        return jobs.EXIT[signal.Signals(signals.got)]
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


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

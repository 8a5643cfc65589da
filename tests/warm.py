"""Processes forked in milliseconds from a server that has torch loaded: `ltbench ...`, and runners to be killed.

`python tests/warm.py DATA` is the server. For each line that it reads, a task, it forks a process and answers with the
process's number; asked for that number, it says how the process ended, or null. The server itself never trains:
autograd's threads would not live through a fork.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
LOADED = (  # what a command imports when it comes to it takes seconds
    "torch._dynamo", "torch.utils.flop_counter", "rich.table", "tabulate", "yaml", "pandas", "scipy.stats",
    "ltbench.cli", "ltbench.contract", "ltbench.jobs", "ltbench.listing", "ltbench.progress", "ltbench.tables",
    "ltbench.writers",
)  # fmt: skip


class Process:
    """One process, known by its number; as subprocess.Popen has it."""

    def __init__(self, server: Server, number: int) -> None:
        self.server, self.pid = server, number
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that killed it; None while it runs."""
        if self.returncode is None:
            self.returncode = self.server.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float = 200) -> int:
        """How it ended, once it has. Raises TimeoutError."""
        limit = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > limit:
                raise TimeoutError(f"process {self.pid} does not end")
            time.sleep(0.005)
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal. Until it was seen to have ended, its number can be no other process's."""
        os.kill(self.pid, number)


class Server:
    """The server, and what it starts."""

    def __init__(self, data: Path) -> None:
        path = os.pathsep.join(folder for folder in sys.path if folder)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "warm.py"), str(data)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "PYTHONPATH": path},
        )  # fmt: skip
        assert self._hear() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()

    def _hear(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def ask(self, task: Mapping[str, Any]) -> Any:
        """The server's answer."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return self._hear()

    def start(self, suite: Path, *sets: str, **task: Any) -> Process:
        """Carry a suite out, with results/ and runs/ beside it; task: see victims.carry_out()."""
        return Process(self, self.ask({"suite": str(suite), "sets": sets, **task}))

    def command(
        self,
        *words: str | Path,
        cwd: Path,
        out: str | Path = os.devnull,
        err: str | Path = os.devnull,
        file_size: int | None = None,
        few: bool = False,
        **env: str,
    ) -> Process:
        """Start `ltbench ...` in a process group of its own; what it says goes to the files out and err.

        file_size: no file may grow beyond so many bytes, as on a full disk. few: two test images a class.
        """
        # it may not see the terminal, the home or the data of who tests
        clean = {key: value for key, value in os.environ.items() if key not in ("LTBENCH_DATA", "COLUMNS", "RANK")}
        where = {"cwd": str(cwd), "out": str(out), "err": str(err), "env": {**clean, **env}}
        task = {"words": list(map(str, words)), **where, "file_size": file_size, "few": few}
        return Process(self, self.ask(task))

    def run(self, *words: str | Path, cwd: Path = HERE, **more: Any) -> subprocess.CompletedProcess[str]:
        """`ltbench ...`, and what it said; more: see command()."""
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder) / "out", Path(folder) / "err"
            code = self.command(*words, cwd=cwd, out=files[0], err=files[1], **more).wait()
            return subprocess.CompletedProcess(words, code, *(path.read_text(encoding="utf-8") for path in files))


# In the server


def serve(data: Path) -> None:
    """Read tasks, fork processes, answer."""
    import importlib
    from functools import cache

    import torch
    import victims

    from ltbench import registry

    torch.set_num_threads(1)
    for name in LOADED:
        importlib.import_module(name)
    registry.available()
    say("ready")
    planned = cache(lambda suite, sets: victims.make_plan(suite, sets, data))
    while line := sys.stdin.readline():
        task = json.loads(line)
        if "ended" in task:
            number, status = os.waitpid(task["ended"], os.WNOHANG)
            say(os.waitstatus_to_exitcode(status) if number else None)
            continue
        made = planned(task.pop("suite"), tuple(task.pop("sets"))) if "suite" in task else None
        number = os.fork()
        if not number:
            os.setsid()
            os._exit(guarded(lambda: victims.carry_out(made, **task) if made else command(**task)))  # noqa: B023
        say(number)


def say(answer: object) -> None:
    """A line to whoever started the server."""
    print(json.dumps(answer), flush=True)


def guarded(work: Callable[[], int]) -> int:
    """The exit code of work; an exception's is 99, and it is told on stderr."""
    try:
        return work()
    except BaseException:
        import traceback

        traceback.print_exc()
        return 99
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def command(
    words: list[str], cwd: str, out: str, err: str, env: Mapping[str, str], file_size: int | None, few: bool
) -> int:
    """`ltbench ...`: its exit code."""
    import victims

    from ltbench import cli

    if few:
        victims.few_test_images()
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.RLIM_INFINITY))
    for number, path in enumerate((os.devnull, out, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    forked_workers()
    sys.argv = ["ltbench", *words]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class Forked:
    """What jobs.py takes from multiprocessing to start workers, but forked: they need not import torch anew.

    A worker keeps none of its parent's ends of pipes, so that it hears when its parent has gone.
    """

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("fork")
        self.ends: list[Any] = []

    def Pipe(self) -> tuple[Any, Any]:
        ours, theirs = self.context.Pipe()
        self.ends.append(ours)
        return ours, theirs

    def Process(self, *, target: Callable[..., None], args: tuple[Any, ...]) -> Any:
        def work(*given: Any) -> None:
            for end in self.ends:
                end.close()
            target(*given)

        return self.context.Process(target=work, args=args)


def forked_workers() -> None:
    """From now on, in this process, workers are forked."""
    from ltbench import jobs

    context = Forked()
    jobs.multiprocessing.get_context = lambda kind: context  # type: ignore[assignment, return-value]


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)  # without taking torch down piece by piece

"""Several runs at once, each in a process of its own; parents before children; a failed one stops no other."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from . import outcome, runs, world
from .claims import Claims
from .errors import LtbenchError, told
from .events import Event, Report, by_others, elsewhere
from .leases import Holder
from .order import by_urgency, failed_parents, ready_among
from .record import Status
from .runspec import RunSpec
from .signals import EXIT, Signals
from .state import Settings
from .together import LOOK, carry_out_together
from .worker import LEAVE, work

# glibc gives large blocks back to the system at once and faults every page anew; kept, fp32 trains a sixth faster
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}


def carry_out(
    todo: Sequence[RunSpec],
    plan: Mapping[str, RunSpec],
    settings: Settings,
    *,
    jobs: int,
    plugins: Sequence[str],
    report: Report,
    signals: Signals,
) -> dict[str, Status]:
    """Carry out the runs of todo, parents first; key -> status of those that ended. Stops early where signalled.

    Raises LtbenchError, before the first one begins, where several processes cannot share the batches of some.
    """
    if world.size() > 1:
        return carry_out_together(todo, plan, settings, report, signals)
    world.train_alone()
    if not todo:
        return {}
    os.environ.update({key: os.environ.get(key, value) for key, value in MALLOC.items()})
    pool = _Pool(by_urgency(todo), plan, settings, plugins, report, signals)
    try:
        return pool.run(min(jobs, len(todo)))
    finally:
        pool.close()


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    spec: RunSpec | None = None  # what it is at
    told: bool = False  # to leave its run, since another runner has taken it over

    def end(self) -> None:
        """Let it go, and see that it has gone."""
        self.pipe.close()
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Pool:
    """Processes that live through many runs, so that torch and the data are loaded once in each."""

    def __init__(
        self,
        todo: list[RunSpec],
        plan: Mapping[str, RunSpec],
        settings: Settings,
        plugins: Sequence[str],
        report: Report,
        signals: Signals,
    ) -> None:
        self.waiting, self.plan, self.settings, self.plugins = todo, plan, settings, plugins
        self.report, self.signals = report, signals
        self.ended: dict[str, Status] = {}
        self.workers: list[_Worker] = []
        self.claims = Claims(todo, settings)
        self.looked: dict[str, float] = {}  # key -> when another runner was last seen at it
        self.oom_kills = oom_kills()

    def run(self, jobs: int) -> dict[str, Status]:
        self.workers = [self._start(number) for number in range(jobs)]
        told = False
        while self.waiting or any(worker.spec for worker in self.workers):
            if self.signals and not told:
                told = True
                self.waiting.clear()
                for worker in self.workers:
                    with contextlib.suppress(OSError):  # it has died meanwhile
                        worker.pipe.send(None)
            self._stop_what_is_lost()
            self._deal()
            for worker in self._ready():
                self._hear(worker)
        return self.ended

    def close(self) -> None:
        """End all processes; those in a run have stopped by now, or are stopped."""
        for worker in self.workers:
            worker.pipe.close()
        for worker in self.workers:
            worker.end()
        self.claims.close()

    def _start(self, number: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self.settings, tuple(self.plugins), number)
        process = context.Process(target=work, args=arguments)  # no daemon: it may start processes that read files
        # Blocked until the worker ignores them: a terminal's Ctrl-C also reaches one that is still importing torch.
        # The tracker comes first, since starting it unblocks them.
        multiprocessing.resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, EXIT)
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, EXIT)
        theirs.close()
        return _Worker(process, ours)

    def _deal(self) -> None:
        """Give each idle worker the first waiting run whose parents are ready and which no other runner is at."""
        for worker in self.workers:
            while not (worker.spec or worker.told or self.signals):
                ready = ready_among(self.waiting, [other.spec for other in self.workers if other.spec])
                spec = next((spec for spec in ready if self._claimed(spec, worker)), None)
                if spec is None:
                    break
                self.waiting.remove(spec)
                failed = failed_parents(spec, self.plan, self.settings, self.ended)
                if failed:
                    self._give_up(spec, f"it starts from {failed[0]}, which is not complete")
                    continue
                worker.spec = spec
                with contextlib.suppress(OSError):  # it has died: the end of its pipe is heard next
                    worker.pipe.send((spec, runs.parents_of(spec, self.plan)))

    def _claimed(self, spec: RunSpec, worker: _Worker) -> bool:
        """Whether a run is ours to carry out now; what others are at or have done is noted."""
        if time.monotonic() < self.looked.get(spec.key, -LOOK) + LOOK:
            return False
        try:
            answer = self.claims.take(spec, worker.process.pid or 0)
        except (OSError, LtbenchError) as error:
            self.waiting.remove(spec)
            self._give_up(spec, told(error))
            return False
        if isinstance(answer, Holder):
            if spec.key not in self.looked:
                self.report(elsewhere(spec, answer))
            self.looked[spec.key] = time.monotonic()
        elif answer:
            self.waiting.remove(spec)
            self.ended[spec.key] = answer.status
            self.report(by_others(spec, answer))
        return answer is None

    def _stop_what_is_lost(self) -> None:
        """A run that another runner has taken over is left to it."""
        for worker in self.workers:
            if worker.spec and not worker.told and self.claims.lost(worker.spec):
                worker.told = True
                with contextlib.suppress(OSError):
                    worker.pipe.send(LEAVE)

    def _ready(self) -> list[_Worker]:
        """The workers that have something to say, or have died; waits a moment for one."""
        sources = {worker.pipe: worker for worker in self.workers}
        return [sources[pipe] for pipe in multiprocessing.connection.wait(list(sources), timeout=0.2)]  # type: ignore[index]

    def _hear(self, worker: _Worker) -> None:
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if isinstance(said, Event):
            self.report(said)
            return
        key, status = said
        (spec, worker.spec), worker.told = (worker.spec, None), False
        assert spec is not None and spec.key == key
        self.claims.give_back(spec)
        if status is not None:
            self.ended[key] = status
            if status == "failed" and self.waiting:
                self._renew(worker)
        elif not self.signals:  # taken over: it is for the other to end it
            self.waiting.append(spec)

    def _renew(self, worker: _Worker) -> None:
        """Another process takes a worker's place: an error of CUDA can leave one in which every later run fails."""
        number = self.workers.index(worker)
        worker.end()
        self.workers[number] = self._start(number)

    def _bury(self, worker: _Worker) -> None:
        """A worker died in its run, as the system kills one that takes too much memory: another takes its place."""
        worker.process.join()
        number = self.workers.index(worker)
        if worker.spec and not self.signals:
            self._give_up(worker.spec, *self._cause(worker.process.exitcode or 0))
        worker.pipe.close()
        if self.signals or not self.waiting:  # it was told to stop, and did, or nothing is left for another
            self.workers.remove(worker)
        else:
            self.workers[number] = self._start(number)

    def _cause(self, code: int) -> tuple[str, Status]:
        """Why a worker died, as far as its exit code and the system's count of such kills tell."""
        if code >= 0:
            return f"its process died (exit code {code})", "failed"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        before, self.oom_kills = self.oom_kills, oom_kills()
        if name == "SIGKILL" and self.oom_kills > before:
            return "host memory ran out: the system killed its process (SIGKILL); fewer --jobs take less", "oom"
        hint = ", as the system does where memory runs out" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{hint}", "failed"

    def _give_up(self, spec: RunSpec, reason: str, status: Status = "failed") -> None:
        """End a run that could not begin or end."""
        record = outcome.give_up(spec, reason, self.settings, status)
        self.claims.give_back(spec)
        self.ended[record.key] = record.status
        self.report(Event(record.key, "finished", f"{record.status}: {record.reason}", status=record.status))


def oom_kills() -> int:
    """How many processes this machine has killed for want of memory since it was started; 0 where it keeps no count."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    return 0

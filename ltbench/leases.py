"""Leases: any number of runners share one folder of runs, and no run is carried out by two at a time. Torch-free.

A lease is a file `lease-<n>` in the run's folder, made with O_EXCL. It names the processes that hold it, and its holder
touches it every BEAT seconds. It is dead once those processes are gone, which is seen at once on the machine that they
ran on, or else once STALE seconds of the watcher's own clock have gone by without a touch, so that no two clocks need
agree. A dead lease is taken over by making the one of the next number, which one runner alone can do; only then is the
dead one removed. Tested on one machine; over a network file system it relies on O_EXCL being atomic there, untested.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .errors import LtbenchError

BEAT = 5.0  # seconds between two touches
STALE = 60.0  # seconds without a touch after which a lease of another machine is dead
BLIND = 15.0  # seconds between two looks after which a watcher begins to count anew
DAY = 86400.0
PREFIX = "lease-"


@dataclass(frozen=True)
class Holder:
    """Who has a lease. processes: number -> when it was started; any of them that lives holds the lease."""

    host: str
    place: str  # the machine, its boot and its process namespace: where those numbers mean something
    processes: dict[str, str]
    since: str  # UTC
    token: str  # no two leases have the same

    def __str__(self) -> str:
        return f"process {next(iter(self.processes), '?')} on {self.host or 'an unknown machine'}, since {self.since}"

    def lives(self) -> bool | None:
        """Whether one of its processes is there; None where that cannot be seen from here."""
        if self.place != here():
            return None
        return any(born(int(number)) == start for number, start in self.processes.items())


UNKNOWN = Holder("", "", {}, "just now", "")  # of a lease that is being written, or whose writer died while at it


class Found(NamedTuple):
    """A lease as it lies there."""

    path: Path
    holder: Holder
    stamp: tuple[int, int]  # inode, time of the last touch by the file system's clock

    def lives(self) -> bool:
        """Whether it counts to one who only looks: by its processes where they can be seen, else touched within a day.

        Clocks of machines may well be an hour apart.
        """
        seen = self.holder.lives()
        return time.time() - self.stamp[1] / 1e9 < DAY if seen is None else seen

    @property
    def number(self) -> int:
        """Its place in the order of takeovers."""
        return int(self.path.name.removeprefix(PREFIX))


def find(folder: Path) -> list[Found]:
    """The leases in a run's folder, oldest first."""
    found = [_read(path) for path in folder.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
    return sorted((lease for lease in found if lease), key=lambda lease: lease.number)


def is_anothers(folder: Path) -> bool:
    """Whether the run in folder is leased, and not to this process: what it has not heard of yet may be seen so."""
    found = find(folder)
    return bool(found) and not any(_names_me(lease.holder) for lease in found)


def _names_me(holder: Holder) -> bool:
    return holder.place == here() and str(os.getpid()) in holder.processes


def _read(path: Path) -> Found | None:
    try:
        with open(path, encoding="utf-8") as file:
            stat, text = os.fstat(file.fileno()), file.read(10_000)
    except (OSError, ValueError):
        return None
    try:
        body = json.loads(text)
        holder = Holder(**body)
        if not all(isinstance(value, str) for key, value in body.items() if key != "processes"):
            raise TypeError
        processes = {str(int(number)): str(start) for number, start in holder.processes.items()}
        holder = Holder(holder.host, holder.place, processes, holder.since, holder.token)
    except (ValueError, TypeError, AttributeError, RecursionError):
        holder = UNKNOWN
    return Found(path, holder, (stat.st_ino, stat.st_mtime_ns))


@dataclass
class _Held:
    path: Path
    file: int  # open, so that a touch can reach no other lease of that name
    token: str
    lost: bool = False


class _Seen(NamedTuple):
    """Another's lease, as a watcher knows it."""

    lease: Found
    since: float  # when it was first seen like that, and at least every BLIND seconds from then on
    looked: float  # when it was last seen


class Leases:
    """The leases of one runner, and what it has seen of the others'."""

    def __init__(self, beat: float = BEAT, stale: float = STALE, clock: Callable[[], float] = time.monotonic) -> None:
        self.beat, self.stale, self.clock = beat, stale, clock
        self._held: dict[Path, _Held] = {}
        self._seen: dict[Path, _Seen] = {}
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self, folder: Path, *workers: int) -> Holder | None:
        """Take the run in folder for this process and its workers; None where that went well, else who has it.

        Raises OSError where the folder cannot be written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        dead = find(folder)
        for lease in dead:
            if self._lives(lease):
                return lease.holder
        path = folder / f"{PREFIX}{max((lease.number for lease in dead), default=0) + 1}"
        made = _make(path, (os.getpid(), *workers))
        if made is None:
            return UNKNOWN
        # Whoever judged by an older look at the folder than ours is here too by now, and gives way as we do.
        others = [lease for lease in find(folder) if lease.path != path and lease not in dead]
        if others:
            self._remove(made)
            return others[0].holder
        for lease in dead:
            lease.path.unlink(missing_ok=True)
            self._seen.pop(lease.path, None)
        with self._lock:
            self._held[folder] = made
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_touching, name="leases", daemon=True)
            self._thread.start()
        return None

    def release(self, folder: Path) -> None:
        """Give the run in folder back, where we have it."""
        with self._lock:
            held = self._held.pop(folder, None)
        if held:
            self._remove(held)

    def lost(self, folder: Path) -> bool:
        """Whether another runner has taken the run over, as it may from one that was halted or cut off for long."""
        with self._lock:
            held = self._held.get(folder)
            return held is not None and held.lost

    def close(self) -> None:
        """Give all back."""
        self._end.set()
        for folder in list(self._held):
            self.release(folder)
        if self._thread:
            self._thread.join()

    @contextmanager
    def waiting(self, folder: Path, patience: float = 3 * STALE) -> Iterator[None]:
        """Within this, folder's lease is ours; waits for it. Raises LtbenchError after `patience` seconds."""
        limit = time.monotonic() + patience
        while holder := self.acquire(folder):
            if time.monotonic() > limit:
                raise LtbenchError(f"{folder}: still held by {holder}")
            time.sleep(0.05)
        try:
            yield
        finally:
            self.release(folder)

    def _lives(self, lease: Found) -> bool:
        """Whether a lease counts: by its processes where we see them, else by its touches."""
        known = lease.holder.lives()
        if known is not None:
            return known
        now = self.clock()
        seen = self._seen.get(lease.path)
        # a touch is missed as well by a watcher that could not look, as where the file server stood still for all
        since = seen.since if seen and seen.lease == lease and now - seen.looked < BLIND else now
        self._seen[lease.path] = _Seen(lease, since, now)
        return now - since < self.stale

    def _keep_touching(self) -> None:
        while not self._end.wait(self.beat):
            with self._lock:
                held = list(self._held.values())
            for lease in held:
                self._touch(lease)

    @staticmethod
    def _touch(held: _Held) -> None:
        with contextlib.suppress(OSError):  # given back meanwhile, the network is away, or the file is no more
            os.utime(held.file)
        with contextlib.suppress(OSError):
            there = _read(held.path)
            # who takes a run over removes our lease at the end, when it is certain
            held.lost = there.holder.token != held.token if there else _is_gone(held.path)

    @staticmethod
    def _remove(held: _Held) -> None:
        there = _read(held.path)
        if there and there.holder.token == held.token:  # not one of that name which another has made since
            held.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.close(held.file)


def _is_gone(path: Path) -> bool:
    """Whether a file is known not to be there. Raises OSError where that cannot be seen."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    return False


def _make(path: Path, processes: tuple[int, ...]) -> _Held | None:
    """A lease of this process, or None where one of that number is there. Raises OSError, leaving no stump."""
    started = {str(number): born(number) or "" for number in processes}
    token, now = uuid.uuid4().hex, datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps(vars(Holder(platform.node(), here(), started, now, token)))
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return None
    try:
        os.write(file, text.encode())
        os.fsync(file)
    except BaseException:
        path.unlink(missing_ok=True)
        os.close(file)
        raise
    return _Held(path, file, token)


@cache
def here() -> str:
    """The machine, its boot and its process namespace."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def born(number: int) -> str | None:
    """When the process of that number was started, in a form that outlasts changes of the clock; None without one."""
    if Path("/proc/self/stat").exists():
        try:
            # after the name, which may hold anything: the state, then 18 numbers, then ticks from the boot to its start
            state, *rest = Path(f"/proc/{number}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if state in (b"Z", b"X") else rest[18].decode()
    import psutil

    try:
        process = psutil.Process(number)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None

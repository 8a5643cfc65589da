"""Leases: one holder at a time, dead ones taken over, whatever the clocks say; with real processes where it counts."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ltbench import leases
from ltbench.errors import LtbenchError
from ltbench.leases import Leases

ELSEWHERE = "another machine"


@pytest.fixture
def runner():
    """Makes runners that touch their leases often, and ends them."""
    made = []

    def make(**more):
        made.append(Leases(**{"beat": 0.02, "stale": 0.3} | more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def process(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", *words], stdout=subprocess.PIPE)


HOLDER = """
import sys, time, pathlib
from ltbench.leases import Leases
leases = Leases()
assert leases.acquire(pathlib.Path(sys.argv[1])) is None
print('held', flush=True)
time.sleep(60)
"""


def held_by_another(folder: Path) -> subprocess.Popen[bytes]:
    """A real process that has the lease."""
    other = process(HOLDER, str(folder))
    assert other.stdout.readline() == b"held\n"
    return other


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def foreign(folder: Path, monkeypatch, **changes: object) -> Path:
    """A lease as a process of another machine has left it."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {"host": "far", "place": ELSEWHERE, "processes": {"1": "1"}, "since": "then", "token": "t"} | changes
    (folder / "lease-1").write_text(json.dumps(body))
    return folder / "lease-1"


# One holder


def test_a_lease_is_had_by_one_and_named_to_the_other(tmp_path, runner):
    one, other = runner(), runner()
    assert one.acquire(tmp_path) is None
    assert str(other.acquire(tmp_path)).startswith(f"process {os.getpid()} on ")
    one.release(tmp_path)
    assert other.acquire(tmp_path) is None and one.acquire(tmp_path) is not None
    other.close()
    assert names(tmp_path) == [], "what is given back leaves nothing"


WORKER = """
import os, pathlib, random, sys, time
from ltbench.leases import Leases, born
folder, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2])
random.seed(seed)
leases, todo = Leases(), [folder / f"run-{i}" for i in range(30)]
random.shuffle(todo)
while todo:
    for run in list(todo):
        if leases.acquire(run):
            continue
        todo.remove(run)
        if not (run / "done").exists():
            busy = run / "busy"
            if busy.exists():  # left by one that was killed, or its owner is at it as we are
                assert born(int(busy.read_text() or 0)) is None, "two are at it"
            busy.write_text(str(os.getpid()))
            time.sleep(float(sys.argv[3]))
            mine = run / f"by-{os.getpid()}"
            mine.write_text("x")
            os.link(mine, run / "done")  # fails where it is done already
            mine.unlink()
            busy.unlink()
        leases.release(run)
"""


def crew(folder: Path, count: int, first: int = 0, each: float = 0.004) -> list[subprocess.Popen[bytes]]:
    """Runners that do 30 runs which take no time to speak of."""
    return [process(WORKER, str(folder), str(first + number), str(each)) for number in range(count)]


def ended_well(crowd: list[subprocess.Popen[bytes]]) -> bool:
    return all(each.communicate(timeout=60) and each.returncode == 0 for each in crowd)


def all_done(folder: Path) -> bool:
    return all((folder / f"run-{i}" / "done").exists() for i in range(30)) and not list(folder.glob("*/lease-*"))


@pytest.mark.parametrize("count", [2, 4])
def test_runners_share_thirty_runs_and_do_none_twice(tmp_path, count):
    assert ended_well(crew(tmp_path, count))
    assert all_done(tmp_path)


def test_runners_that_are_killed_at_random_are_followed_by_one_at_a_time(tmp_path):
    dice, crowd, dead = random.Random(7), crew(tmp_path, 3, each=0.02), []
    for number in range(5):
        time.sleep(dice.uniform(0.05, 0.3))
        dead.append(crowd.pop(0))
        dead[-1].kill()
        if number % 2:  # the others must see that it is dead though nobody has asked for its exit code
            dead[-1].wait()
        crowd += crew(tmp_path, 1, first=10 + number, each=0.02)
    assert ended_well(crowd)
    assert all_done(tmp_path)
    for each in dead:
        each.communicate()


# Takeover


def test_a_killed_process_loses_its_lease_at_once_though_nobody_has_reaped_it(tmp_path, runner):
    other = held_by_another(tmp_path)
    one = runner(stale=1e9)
    assert one.acquire(tmp_path) is not None
    other.kill()
    limit = time.monotonic() + 5
    while one.acquire(tmp_path):
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert names(tmp_path) == ["lease-2"], "the next number, and the dead one gone"
    other.communicate()


def test_a_halted_process_of_this_machine_keeps_its_lease(tmp_path, runner):
    other = held_by_another(tmp_path)
    os.kill(other.pid, signal.SIGSTOP)
    one = runner(stale=0.0)
    assert one.acquire(tmp_path) is not None and one.acquire(tmp_path) is not None
    other.kill()
    other.communicate()


def test_another_process_that_bears_the_number_of_a_dead_one_holds_nothing(tmp_path, runner, monkeypatch):
    foreign(tmp_path, monkeypatch, place=leases.here(), processes={str(os.getpid()): "long ago"})
    assert runner(stale=1e9).acquire(tmp_path) is None


def test_a_worker_that_outlives_its_runner_keeps_the_lease(tmp_path, runner, monkeypatch):
    mine = leases.born(os.getpid())
    foreign(tmp_path, monkeypatch, place=leases.here(), processes={"999999999": "1", str(os.getpid()): mine})
    assert runner(stale=0.0).acquire(tmp_path) is not None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_a_lease_of_another_machine_is_dead_once_it_has_not_been_touched_for_long(tmp_path, runner, monkeypatch, skew):
    lease, clock = foreign(tmp_path, monkeypatch), Clock()
    one = runner(stale=60.0, clock=clock)
    for minute in range(10):  # it is touched, by a clock that is an hour off: it lives
        os.utime(lease, (time.time() + skew + minute, time.time() + skew + minute))
        for _ in range(6):
            assert one.acquire(tmp_path).host == "far"
            clock.now += 10.0
    assert one.acquire(tmp_path) is None


def test_time_in_which_a_watcher_could_not_look_does_not_count(tmp_path, runner, monkeypatch):
    """A file server that stood still for a minute had all runs taken over from holders that live."""
    foreign(tmp_path, monkeypatch)
    clock = Clock()
    one = runner(stale=60.0, clock=clock)
    for _ in range(3):
        assert one.acquire(tmp_path) is not None
        clock.now += 70.0
    for _ in range(6):
        assert one.acquire(tmp_path) is not None
        clock.now += 10.0
    assert one.acquire(tmp_path) is None


def test_a_lease_whose_file_is_no_more_for_its_holder_is_seen_to_be_lost(tmp_path, runner, monkeypatch):
    """Over NFS, touching a file that another machine has removed fails (ESTALE)."""
    one = runner()
    assert one.acquire(tmp_path) is None

    def gone(*_):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "utime", gone)
    (tmp_path / "lease-1").unlink()
    foreign(tmp_path, monkeypatch)
    while not one.lost(tmp_path):
        time.sleep(0.01)


def test_two_that_wait_for_the_same_dead_lease_do_not_both_get_it(tmp_path, runner, monkeypatch):
    foreign(tmp_path, monkeypatch)
    one, other = (runner(stale=0.05) for _ in range(2))
    assert one.acquire(tmp_path) is not None and other.acquire(tmp_path) is not None
    time.sleep(0.1)
    assert one.acquire(tmp_path) is None
    assert other.acquire(tmp_path) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"host": 1}', "[" * 100_000, '{"processes": {"x": 1}}'])
def test_a_lease_that_says_nothing_is_dead_once_it_is_old(tmp_path, runner, text):
    (tmp_path / "lease-1").write_text(text)
    one = runner(stale=0.05)
    assert "unknown machine" in str(one.acquire(tmp_path))
    time.sleep(0.1)
    assert one.acquire(tmp_path) is None


def test_who_was_cut_off_for_long_sees_that_it_has_lost_its_run(tmp_path, runner, monkeypatch):
    one = runner()
    assert one.acquire(tmp_path) is None and not one.lost(tmp_path)
    (lease,) = leases.find(tmp_path)
    (tmp_path / "lease-2").write_text(json.dumps(vars(lease.holder) | {"place": ELSEWHERE, "token": "theirs"}))
    time.sleep(0.1)
    assert not one.lost(tmp_path), "one that is only trying has not taken it"
    lease.path.unlink()
    limit = time.monotonic() + 5
    while not one.lost(tmp_path):
        assert time.monotonic() < limit
        time.sleep(0.01)
    one.release(tmp_path)
    assert names(tmp_path) == ["lease-2"], "theirs is let be"


def test_it_is_touched_while_it_is_held(tmp_path, runner):
    assert runner().acquire(tmp_path) is None
    (first,) = leases.find(tmp_path)
    time.sleep(0.2)
    (second,) = leases.find(tmp_path)
    assert second.holder == first.holder and second.stamp[1] > first.stamp[1]


def test_a_full_disk_leaves_no_stump_of_a_lease(tmp_path, runner, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        runner().acquire(tmp_path)
    assert names(tmp_path) == []


def test_waiting_for_what_another_has(tmp_path, runner):
    one, other = runner(), runner()
    with one.waiting(tmp_path), pytest.raises(LtbenchError, match="still held by process"):
        other.waiting(tmp_path, patience=0.1).__enter__()
    with other.waiting(tmp_path, patience=0.1):
        assert names(tmp_path) == ["lease-1"]
    assert names(tmp_path) == []


def test_who_looked_before_others_took_a_run_and_gave_it_back_gives_way(tmp_path, runner, monkeypatch):
    foreign(tmp_path, monkeypatch, place=leases.here())  # of a process that is no more
    one, other, make = runner(), runner(), leases._make

    def late(path, processes):
        monkeypatch.setattr(leases, "_make", make)
        (tmp_path / "lease-1").unlink()  # taken over, carried out, given back; and taken again:
        assert other.acquire(tmp_path) is None
        return make(path, processes)

    monkeypatch.setattr(leases, "_make", late)
    assert one.acquire(tmp_path) is not None
    assert names(tmp_path) == ["lease-1"] and not other.lost(tmp_path)


def test_a_lease_of_that_name_which_another_has_made_since_is_let_be(tmp_path, runner, monkeypatch):
    one = runner(beat=60.0)
    assert one.acquire(tmp_path) is None
    (tmp_path / "lease-1").unlink()
    foreign(tmp_path, monkeypatch)
    one.release(tmp_path)
    assert names(tmp_path) == ["lease-1"]


def test_a_lease_names_the_workers_too(tmp_path, runner):
    assert runner().acquire(tmp_path, os.getppid()) is None
    (lease,) = leases.find(tmp_path)
    assert lease.holder.processes == {str(number): leases.born(number) for number in (os.getpid(), os.getppid())}

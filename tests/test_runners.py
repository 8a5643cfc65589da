"""Several `ltbench run` on one folder, one of them killed: every run is done, and none of them twice."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
import tiny
import warm

from ltbench.leases import Leases

pytestmark = pytest.mark.usefixtures("few_test_images")
SMALL = ("data.head=3", "recipe.epochs=1")
METHODS = "bbn, ce, tau_norm, ncm"


def start(server: warm.Server, folder: Path, data: Path, number: int, *sets: str) -> warm.Process:
    """A runner in a process group of its own, which tells what it does in stderr-<number>.txt."""
    words = [word for text in (*SMALL, *sets) for word in ("--set", text)]
    return server.command(
        "run", folder / "tiny.yaml", "--data", data, "--jobs", "1", "--device", "cpu", "--checkpoint", "0", *words,
        cwd=folder, err=folder / f"stderr-{number}.txt", few=True,
    )  # fmt: skip


def told(folder: Path, number: int) -> str:
    path = folder / f"stderr-{number}.txt"
    return path.read_text() if path.exists() else ""


def wait_until(condition, what: str, seconds: float = 120) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + seconds, what
        time.sleep(0.02)
    return time.monotonic() - begun


def fixed_parts(folder: Path) -> dict[str, dict]:
    """Record file -> the record without what may differ between two equal runs."""
    found = {path.name: json.loads(path.read_text()) for path in folder.glob("results/tiny/*-s*.json")}
    return {name: {key: value for key, value in body.items() if key != "volatile"} for name, body in found.items()}


def times(folder: Path, what: str) -> dict[str, int]:
    """run -> how often its log says that; the log is appended to by all runners."""
    return {path.parent.name: path.read_text().count(what) for path in folder.glob("runs/*/log.txt")}


def held_by(folder: Path, runner: warm.Process) -> list[Path]:
    """The leases that name that process."""
    found = []
    for path in folder.glob("runs/*/lease-*"):
        with suppress(FileNotFoundError):  # given back just now
            found += [path] if f'"{runner.pid}"' in path.read_text() else []
    return found


def share(server: warm.Server, folder: Path, data: Path, methods: str, count: int, *sets: str) -> tuple[int, float]:
    """Carry a suite out with some runners, the first of which is killed in a run: (runs, seconds to takeover)."""
    folder.mkdir()
    tiny.write(folder, methods)
    victim, *others = (start(server, folder, data, number, *sets) for number in range(count))

    def halted_in_a_run() -> bool:
        if " epoch " not in told(folder, 0):
            return False
        os.killpg(victim.pid, signal.SIGSTOP)
        if held_by(folder, victim):
            return True
        os.killpg(victim.pid, signal.SIGCONT)
        return False

    wait_until(halted_in_a_run, "the first runner holds no run")
    held = held_by(folder, victim)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    takeover = wait_until(lambda: not any(path.exists() for path in held), "nobody takes the run over")
    for number, each in enumerate(others, start=1):
        assert each.wait(timeout=240) == 0, told(folder, number)
    return len(fixed_parts(folder)), takeover


def alone(folder: Path, data: Path, methods: str, *sets: str) -> dict[str, dict]:
    """The records where one process does it all, run after run."""
    folder.mkdir()
    tiny.carry_out(tiny.make(folder, data, methods, *SMALL, *sets), tiny.settings(folder, data))
    return fixed_parts(folder)


def test_two_runners_share_a_suite_and_the_heir_of_a_killed_one_ends_its_run(server, tmp_path, glyph_cache):
    shared = tmp_path / "shared"
    count, takeover = share(server, shared, glyph_cache, METHODS, 2)
    assert count == 4
    assert set(times(shared, " complete top-1 ").values()) == {1}, "every run is done, and none twice"
    assert sum(times(shared, " start ").values()) <= count + 1, "only the killed run was begun twice"
    assert takeover < 60, "the other runner is free at once, or once its own run is done"
    assert not list(shared.glob("runs/*/lease-*")) and not list(shared.glob("runs/*/.*"))
    assert fixed_parts(shared) == alone(tmp_path / "alone", glyph_cache, METHODS)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("runners", [2, 4])
def test_runners_share_thirty_runs(server, tmp_path, glyph_cache, runners):
    seeds = f"seeds=[{', '.join(map(str, range(10)))}]"
    methods = "ce, tau_norm, ncm"
    shared = tmp_path / "shared"
    count, takeover = share(server, shared, glyph_cache, methods, runners, seeds)
    print(f"{runners} runners, {count} runs, takeover after {takeover:.1f} s")
    assert count == 30 and takeover < 60
    assert set(times(shared, " complete top-1 ").values()) == {1}
    assert sum(times(shared, " start ").values()) <= count + 1
    assert fixed_parts(shared) == alone(tmp_path / "alone", glyph_cache, methods, seeds)


@pytest.mark.slow
def test_a_runner_waits_for_what_another_trains_and_then_goes_on(server, tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL)
    leases = Leases()
    assert leases.acquire(tmp_path / "runs" / next(iter(made.runs.values())).stem) is None
    runner = start(server, tmp_path, glyph_cache, 0)
    wait_until(lambda: "ce s0: another runner is at it: process" in told(tmp_path, 0), "it does not see the lease")
    time.sleep(2)
    assert "start" not in told(tmp_path, 0), "what starts from it waits too"
    leases.close()
    assert runner.wait(timeout=60) == 0, told(tmp_path, 0)
    assert told(tmp_path, 0).count("another runner") == 1, "it is said once"
    assert len(fixed_parts(tmp_path)) == 2


@pytest.mark.slow
def test_a_worker_that_is_killed_is_a_failed_run_with_its_cause_and_the_command_goes_on_from_there(
    server, tmp_path, glyph_cache
):
    tiny.write(tmp_path, "ce")
    runner = start(server, tmp_path, glyph_cache, 0, "recipe.epochs=20")
    wait_until(lambda: "epoch 2/20" in told(tmp_path, 0), "no epoch")
    (lease,) = tmp_path.glob("runs/*/lease-1")
    worker = next(int(pid) for pid in json.loads(lease.read_text())["processes"] if int(pid) != runner.pid)
    os.kill(worker, signal.SIGKILL)
    assert runner.wait(timeout=60) == 1
    assert "ce s0: failed: its process was killed by SIGKILL, as the system does" in told(tmp_path, 0)
    (body,) = fixed_parts(tmp_path).values()
    assert body["status"] == "failed" and not list(tmp_path.glob("runs/*/lease-*"))
    assert start(server, tmp_path, glyph_cache, 1, "recipe.epochs=20").wait(timeout=120) == 0
    assert re.search(r"resumed at step [1-9]", told(tmp_path, 1))
    assert fixed_parts(tmp_path) == alone(tmp_path / "alone", glyph_cache, "ce", "recipe.epochs=20")


@pytest.mark.slow
def test_a_runner_whose_run_was_taken_over_leaves_it_and_comes_back_to_it(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    runner = start(server, tmp_path, glyph_cache, 0, "recipe.epochs=300")
    wait_until(lambda: "epoch 2/300" in told(tmp_path, 0), "no epoch")
    (lease,) = tmp_path.glob("runs/*/lease-1")
    theirs = lease.with_name("lease-2")
    theirs.write_text(json.dumps(json.loads(lease.read_text()) | {"place": "another machine", "token": "theirs"}))
    lease.unlink()
    wait_until(lambda: "another runner is at it" in told(tmp_path, 0), "it does not see that it has lost the run", 30)
    assert "left at step" in told(tmp_path, 0) and not fixed_parts(tmp_path)
    (left,) = re.findall(r"left at step (\d+)", told(tmp_path, 0))
    saved = {path.name for path in tmp_path.glob("runs/*/step-*")}
    assert f"step-{int(left):08d}" not in saved, "it has saved into a folder that is the other's"
    epochs = told(tmp_path, 0).count(" epoch ")
    theirs.unlink()
    wait_until(lambda: told(tmp_path, 0).count(" epoch ") > epochs, "it does not come back", 60)
    os.killpg(runner.pid, signal.SIGINT)
    assert runner.wait(timeout=60) == 130

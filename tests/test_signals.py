"""SIGINT and SIGTERM at random times: exit 130 or 143 at the next step, no process left, and the same bits at the end.

In `make test` workers are forked from a process that has torch loaded; nightly it is the command as it is.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import test_kill
import tiny
from test_kill_random import bits

EXIT = {signal.SIGINT: 130, signal.SIGTERM: 143}
SMALL = ("data.head=3", "recipe.epochs=4", "recipe.batch_size=16")
METHODS = "ride: {experts: 2}"
NIGHTLY = int(os.environ.get("LTBENCH_SIGNALS", "20"))


@pytest.fixture(scope="module")
def expected(server, tmp_path_factory):
    """(what an uninterrupted suite leaves, the seconds that it takes in a process of its own)."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.write(folder, METHODS)
    begun = time.monotonic()
    assert server.start(folder / "tiny.yaml", *SMALL).wait() == 0
    return bits(folder), time.monotonic() - begun


def steps(folder: Path, what: str) -> list[int]:
    """The steps at which the logs say that a run did that."""
    logs = (path.read_text() for path in folder.glob("runs/*/log.txt"))
    return [int(step) for text in logs for step in re.findall(rf"{what} at step (\d+)", text)]


def limit() -> float:
    """Five seconds on a machine that does nothing else; more where the tests share its processors with others."""
    return 5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def signalled(server, folder: Path, number: int, group: int, delay: float, end) -> float:
    """Signal a whole process group that many seconds after its first step; the seconds from its last step to its end.

    The run may be done before the signal comes: then the command has ended well, or was stopped at its last words.
    """
    latest = time.monotonic() + 90
    while not list(folder.glob("runs/*/step-*")):
        assert time.monotonic() < latest, "it does not begin"
        time.sleep(0.01)
    time.sleep(delay)
    os.killpg(group, number)
    code = end()
    done = list(folder.glob("results/tiny/ride-*.json"))
    assert code in ((0, EXIT[number]) if done else (EXIT[number],))
    now = time.time()
    logs = [path for path in folder.glob("runs/*/log.txt") if "stopped at step" in path.read_text()]
    took = now - max((path.stat().st_mtime for path in logs), default=now)
    assert test_kill.all_gone(group, within=10), "an orphan"
    assert not list(folder.rglob("lease-*"))
    return took


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_at_random_times_stops_it_at_the_next_step(server, tmp_path, expected, number):
    dice, whole, stopped = random.Random(number), expected[1], 0
    for case in range(3):
        folder = tmp_path / str(case)
        folder.mkdir()
        tiny.write(folder, METHODS)
        victim = server.start(folder / "tiny.yaml", *SMALL, pool=True)
        took = signalled(server, folder, number, victim.pid, dice.uniform(0, 0.5) * whole, victim.wait)
        assert took < limit()
        stopped += bool(steps(folder, "stopped"))
        assert server.start(folder / "tiny.yaml", *SMALL).wait() == 0
        assert sorted(steps(folder, "resumed")) == sorted(steps(folder, "stopped")), "each goes on where it stopped"
        assert bits(folder) == expected[0]
    assert stopped, "the others came when it was done, which beside other work may be two of three"


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("number", EXIT)
def test_a_signal_to_the_command_at_random_times(server, tmp_path, glyph_cache, expected, number):
    dice, found, slowest = random.Random(f"nightly {number}"), [], 0.0
    more = [word for text in SMALL for word in ("--set", text)]
    for case in range(NIGHTLY):
        folder = tmp_path / str(case)
        folder.mkdir()
        tiny.write(folder, METHODS)
        command = test_kill.start(folder, glyph_cache, *more)
        delay = dice.uniform(0, 0.5) * expected[1]
        slowest = max(slowest, signalled(server, folder, number, command.pid, delay, command.wait))
        assert "Traceback" not in (folder / "stderr.txt").read_text()
        found += steps(folder, "stopped")
        assert server.start(folder / "tiny.yaml", *SMALL).wait() == 0
        assert sorted(steps(folder, "resumed")) == sorted(steps(folder, "stopped"))
        assert bits(folder) == expected[0]
        print(
            f"{signal.Signals(number).name} {case + 1}: stopped at {sorted(found)}, ends within {slowest:.1f} s",
            flush=True,
        )
        assert slowest < limit()

"""A real process, killed for real in the middle of an epoch: the same command goes on, to the same bits.

What is killed or signalled is started as a shell starts it; what only goes on or is compared with is forked (warm.py).
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tiny
import warm


def words(folder: Path, data: Path, *more: str) -> list[str]:
    return [
        "run", str(folder / "tiny.yaml"), "--data", str(data), "--jobs", "1", "--results", str(folder / "results"),
        "--runs", str(folder / "runs"), "--checkpoint", "0", "--device", "cpu", *more,
    ]  # fmt: skip


def start(folder: Path, data: Path, *more: str) -> subprocess.Popen[str]:
    with open(folder / "stderr.txt", "w") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "ltbench", *words(folder, data, *more)],
            cwd=folder, stderr=told, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip


def all_gone(group: int, within: float) -> bool:
    """Whether no process of the group is left, after some seconds at most; a zombie has gone."""
    limit = time.monotonic() + within
    while time.monotonic() < limit:
        living = [
            p for p in psutil.process_iter(["status"]) if p.info["status"] != psutil.STATUS_ZOMBIE and _in(p.pid, group)
        ]
        if not living:
            return True
        time.sleep(0.1)
    return False


def _in(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False


def steps_saved(folder: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in folder.glob("runs/*/step-*"))


def wait_for_step(folder: Path, process: subprocess.Popen[str], step: int) -> None:
    limit = time.monotonic() + 90
    while not any(saved >= step for saved in steps_saved(folder)):
        assert process.poll() is None, (folder / "stderr.txt").read_text()
        assert time.monotonic() < limit, "no checkpoint in time"
        time.sleep(0.01)


def finish(server: warm.Server, folder: Path, data: Path) -> None:
    done = server.run(*words(folder, data), cwd=folder, few=True)
    assert done.returncode == 0, done.stderr


def outcome(folder: Path) -> tuple[dict, bytes]:
    (path,) = folder.glob("results/tiny/ride-*.json")
    body = json.loads(path.read_text())
    del body["volatile"]
    (weights,) = folder.glob("runs/ride-*/weights.safetensors")
    return body, weights.read_bytes()


@pytest.fixture(scope="module")
def expected(server, tmp_path_factory, glyph_cache):
    folder = tmp_path_factory.mktemp("whole")
    tiny.write(folder, "ride: {experts: 2}")
    finish(server, folder, glyph_cache)
    return outcome(folder)


def test_killed_in_the_middle_of_an_epoch_it_goes_on_to_the_same_bits(server, tmp_path, glyph_cache, expected):
    """The command alone is killed, and its worker ends; workers are killed in test_kill_random.py."""
    tiny.write(tmp_path, "ride: {experts: 2}")
    process = start(tmp_path, glyph_cache)
    wait_for_step(tmp_path, process, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    gone = all_gone(process.pid, within=30)
    if not gone:
        os.killpg(process.pid, signal.SIGKILL)
    assert gone, "a worker trained on without its parent"
    assert not list(tmp_path.glob("results/tiny/ride-*.json"))
    finish(server, tmp_path, glyph_cache)
    (log,) = tmp_path.glob("runs/ride-*/log.txt")
    (step,) = re.findall(r"resumed at step (\d+)", log.read_text())
    assert int(step) >= 2
    assert outcome(tmp_path) == expected


# SIGINT and SIGTERM also come at random times in test_signals.py
@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        (signal.SIGUSR1, 75),
    ],
)
def test_a_signal_stops_it_at_the_next_step_and_leaves_no_orphan(server, tmp_path, glyph_cache, expected, number, code):
    tiny.write(tmp_path, "ride: {experts: 2}")
    process = start(tmp_path, glyph_cache)
    wait_for_step(tmp_path, process, 1)
    os.killpg(process.pid, number)  # as a terminal does: the whole group
    assert process.wait(timeout=30) == code
    assert all_gone(process.pid, within=10)
    assert not list(tmp_path.glob("runs/*/lease-*")), "other runners may go on at once"
    finish(server, tmp_path, glyph_cache)
    assert outcome(tmp_path) == expected


def test_a_second_run_does_nothing(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    finish(server, tmp_path, glyph_cache)
    files = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    finish(server, tmp_path, glyph_cache)
    assert files == {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()
    }


def test_a_dry_run_writes_nothing(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    done = server.run(*words(tmp_path, glyph_cache, "--dry-run"), cwd=tmp_path)
    assert done.returncode == 0 and "1 to do" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 1.5, 2.5])
def test_a_signal_while_workers_begin_leaves_no_record_and_no_traceback(tmp_path, glyph_cache, after):
    tiny.write(tmp_path, "ce")
    process = start(tmp_path, glyph_cache)
    limit = time.monotonic() + 60
    while not (tmp_path / "results/tiny/plan.json").exists():  # written just before the workers are started
        assert time.monotonic() < limit
        time.sleep(0.01)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    told = (tmp_path / "stderr.txt").read_text()
    assert "Traceback" not in told and "died" not in told
    assert [path.name for path in tmp_path.glob("results/tiny/*")] == ["plan.json"]

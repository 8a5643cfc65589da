"""A run that reads files, stopped and killed in the middle of an epoch: it goes on to the same weights, whatever the
number of workers before and after."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import made_images
import pytest
import tiny

from ltbench import runs
from ltbench.trainer import Interrupted

SUITE = """\
data: {name: folder, root: pets}
backbone: resnet8
recipe: {name: files, epochs: 3, batch_size: 3, augment: [random_resized_crop, flip, color_jitter, randaugment],
         image_size: 16, lr: 0.01}
methods: [METHODS]
"""
STEPS = 24  # of three epochs


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """24 images: 8 steps an epoch."""
    home = tmp_path_factory.mktemp("files")
    made_images.own(home / "pets", (12, 7, 5), tested=2, size=20)
    return home


def write(folder: Path, methods: str) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(SUITE.replace("METHODS", methods))
    return path


def outcome(folder: Path) -> tuple[dict, bytes]:
    (path,) = folder.glob("results/tiny/*-s0.json")
    body = json.loads(path.read_text())
    assert body["status"] == "complete", body["reason"]
    del body["volatile"]
    (weights,) = folder.glob("runs/*/weights.safetensors")
    return body, weights.read_bytes()


def carry_out(
    folder: Path, home: Path, workers: int, stop_at: int | None = None, between: Callable[[], object] = lambda: None
) -> list[str]:
    """What is told; the run is stopped after its stop_at-th step here. between: done after the plan was made."""
    made = tiny.plan.make(tiny.suite.read(str(write(folder, "ce"))), home)
    (spec,) = made.runs.values()
    between()
    told: list[str] = []
    steps = iter(range(1, STEPS + 1))
    settings = tiny.settings(folder, home, workers=workers)
    runs.execute(spec, {}, settings, lambda event: told.append(event.text), lambda: next(steps) == stop_at)
    return told


@pytest.fixture(scope="module")
def expected(tmp_path_factory, home):
    folder = tmp_path_factory.mktemp("whole")
    carry_out(folder, home, 0)
    return outcome(folder)


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0), pytest.param(2, 2, marks=pytest.mark.slow)])
def test_stopped_in_the_middle_of_an_epoch_it_goes_on_to_the_same_weights(tmp_path, home, expected, before, after):
    with pytest.raises(Interrupted):
        carry_out(tmp_path, home, before, stop_at=11)
    told = carry_out(tmp_path, home, after)
    assert "resumed at step 11" in told
    assert outcome(tmp_path) == expected


def test_an_image_that_goes_after_the_plan_ends_the_run_with_its_path_as_the_reason(tmp_path):
    made_images.own(tmp_path / "pets", (4, 3), tested=1, size=20)
    gone = tmp_path / "pets" / "train" / "class01" / "002.png"
    (tmp_path / "pets" / "train.txt").write_text(
        "".join(f"train/class{c:02}/{i:03}.png {c}\n" for c, n in enumerate((4, 3)) for i in range(n))
    )
    (tmp_path / "pets" / "test.txt").write_text("test/class00/000.png 0\ntest/class01/000.png 1\n")
    told = carry_out(tmp_path, tmp_path, workers=2, between=gone.unlink)
    (path,) = tmp_path.glob("results/tiny/*.json")
    body = json.loads(path.read_text())
    assert (body["status"], body["reason"]) == ("failed", f"{gone}: no such image")
    assert told[-1] == f"failed: {gone}: no such image"
    assert not any("Traceback" in log.read_text() for log in tmp_path.glob("runs/*/log.txt"))


def command(folder: Path, home: Path, workers: int) -> list[str]:
    return [
        sys.executable, "-m", "ltbench", "run", str(write(folder, "ce")), "--data", str(home), "--jobs", "1",
        "--results", str(folder / "results"), "--runs", str(folder / "runs"), "--checkpoint", "0", "--device", "cpu",
        "--workers", str(workers),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_for_real_it_goes_on_to_the_same_weights_and_no_reader_lives_on(tmp_path, home, expected, workers):
    process = subprocess.Popen(command(tmp_path, home, workers), cwd=tmp_path, start_new_session=True)
    limit = time.monotonic() + 120
    while not [path for path in tmp_path.glob("runs/*/step-*") if int(path.name[5:]) >= 3]:
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command(tmp_path, home, workers), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("runs/*/log.txt")
    assert re.findall(r"resumed at step (\d+)", log.read_text())
    assert outcome(tmp_path) == expected

"""One run over two processes, as torchrun starts them; gloo, on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

METHODS = "ce, tau_norm, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"


def run(folder: Path, data: Path, *launcher: str, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    words = ["-m", "ltbench", "run", str(folder / "tiny.yaml"), "--data", str(data), "--device", "cpu", *more]
    where = ["--results", str(folder / "results"), "--runs", str(folder / "runs")]
    return subprocess.run([*launcher, *words, *where], cwd=folder, capture_output=True, text=True)


def two() -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def records(folder: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in folder.glob("results/tiny/*-s0.json")]
    return {record["label"]: record for record in found}


@pytest.fixture(scope="module")
def one(tmp_path_factory, glyph_cache):
    """The suite, trained and evaluated in one process."""
    folder = tmp_path_factory.mktemp("one")
    tiny.write(folder, METHODS)
    done = run(folder, glyph_cache, sys.executable)
    assert done.returncode == 0, done.stderr
    return folder


def test_evaluation_in_two_processes_equals_that_in_one(one, glyph_cache):
    before = records(one)
    for label in ("tau_norm-", "ride_ea-"):
        (path,) = one.glob(f"results/tiny/{label}*.json")
        path.unlink()
    # tau_norm trains nothing; ride_ea's weights are there, so only what is evaluated anew is compared
    done = run(one, glyph_cache, *two(), more=("--only", "tau_norm"))
    assert done.returncode == 0, done.stderr
    after = records(one)["tau_norm(tau=1)"]
    assert after["volatile"]["world_size"] == 2
    assert after["sha256"] == before["tau_norm(tau=1)"]["sha256"], "every count and every prediction is the same"


def test_training_over_two_processes_learns_as_over_one(tmp_path, one, glyph_cache):
    tiny.write(tmp_path, METHODS)
    done = run(tmp_path, glyph_cache, *two())
    assert done.returncode == 0, done.stderr
    ours, theirs = records(tmp_path), records(one)
    assert set(ours) == {"ce", "tau_norm(tau=1)", "ride(experts=2)", "ride_ea(base=ride(experts=2))"}
    for record in ours.values():
        assert record["status"] == "complete" and record["volatile"]["world_size"] == 2
        assert sum(record["total"]) == sum(theirs["ce"]["total"]), "each test image once"
    # BatchNorm sees half a batch, so the losses differ a little; were gradients not shared, they would drift apart
    first, other = ours["ce"]["history"][0]["terms"]["ce"], theirs["ce"]["history"][0]["terms"]["ce"]
    assert abs(first - other) < 0.1 * other


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    done = run(tmp_path, glyph_cache, *two(), more=("--set", "recipe.batch_size=63"))
    assert done.returncode == 1
    assert "batch_size 63 cannot be divided by 2 processes" in done.stderr

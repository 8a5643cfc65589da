"""One run over two processes, as torchrun starts them, and once started by it; gloo, on the CPU."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import warm

METHODS = "ce, tau_norm, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"


def words(folder: Path, data: Path, *more: str) -> list[str]:
    where = ["--results", str(folder / "results"), "--runs", str(folder / "runs"), "--data", str(data)]
    return ["run", str(folder / "tiny.yaml"), "--device", "cpu", "--set", "recipe.epochs=1", *where, *more]


def two(server: warm.Server, folder: Path, data: Path, *more: str) -> tuple[list[int], str]:
    """Two processes with what torchrun puts into their environment: (exit codes, what the first says on stderr)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", **place}
    ranks = [
        server.command(
            *words(folder, data, *more), cwd=folder, err=folder / f"stderr-{rank}.txt",
            RANK=str(rank), LOCAL_RANK=str(rank), **world,
        )
        for rank in range(2)
    ]  # fmt: skip
    return [rank.wait() for rank in ranks], (folder / "stderr-0.txt").read_text()


def records(folder: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in folder.glob("results/tiny/*-s0.json")]
    return {record["label"]: record for record in found}


@pytest.fixture(scope="module")
def one(server, tmp_path_factory, glyph_cache):
    """The suite, trained and evaluated in one process."""
    folder = tmp_path_factory.mktemp("one")
    tiny.write(folder, METHODS)
    done = server.run(*words(folder, glyph_cache, "--jobs", "1"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_evaluation_in_two_processes_equals_that_in_one(one, glyph_cache):
    before = records(one)
    for label in ("tau_norm-", "ride_ea-"):
        (path,) = one.glob(f"results/tiny/{label}*.json")
        path.unlink()
    # tau_norm trains nothing; ride_ea's weights are there, so only what is evaluated anew is compared
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "ltbench"]
    command = [*launcher, *words(one, glyph_cache, "--only", "tau_norm")]
    done = subprocess.run(command, cwd=one, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = records(one)["tau_norm(tau=1)"]
    assert after["volatile"]["world_size"] == 2
    assert after["sha256"] == before["tau_norm(tau=1)"]["sha256"], "every count and every prediction is the same"


def test_training_over_two_processes_learns_as_over_one(server, tmp_path, one, glyph_cache):
    tiny.write(tmp_path, METHODS)
    codes, told = two(server, tmp_path, glyph_cache)
    assert codes == [0, 0], told
    ours, theirs = records(tmp_path), records(one)
    assert set(ours) == {"ce", "tau_norm(tau=1)", "ride(experts=2)", "ride_ea(base=ride(experts=2))"}
    for record in ours.values():
        assert record["status"] == "complete" and record["volatile"]["world_size"] == 2
        assert sum(record["total"]) == sum(theirs["ce"]["total"]), "each test image once"
    # BatchNorm sees half a batch, so the losses differ a little; were gradients not shared, they would drift apart
    first, other = ours["ce"]["history"][0]["terms"]["ce"], theirs["ce"]["history"][0]["terms"]["ce"]
    assert abs(first - other) < 0.1 * other


def test_a_batch_that_cannot_be_divided_is_refused(server, tmp_path, glyph_cache):
    tiny.write(tmp_path, "ce")
    codes, told = two(server, tmp_path, glyph_cache, "--set", "recipe.batch_size=63")
    assert codes[0] == 1
    assert "batch_size 63 cannot be divided by 2 processes" in told

"""One run over two processes, as torchrun starts them, and once started by it; gloo. See docs/several-processes.md."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import ranks
import tiny
import torch
import warm

from ltbench import gather, runs

LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
METHODS = "ce, tau_norm, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"


def words(folder: Path, data: Path, *more: str) -> list[str]:
    where = ["--results", str(folder / "results"), "--runs", str(folder / "runs"), "--data", str(data)]
    return ["run", str(folder / "tiny.yaml"), "--device", "cpu", "--set", "recipe.epochs=1", *where, *more]


def start_two(
    server: warm.Server, folder: Path, data: Path, *more: str, second: tuple[str, ...] = (), **how: Any
) -> list[warm.Process]:
    """Two processes with what torchrun puts into their environment; second: words that only the second is given.

    how: few=True, two test images a class; variables of the environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", **place}
    return [
        server.command(
            *words(folder, data, *more, *(second if rank else ())), cwd=folder, err=folder / f"stderr-{rank}.txt",
            RANK=str(rank), LOCAL_RANK=str(rank), **world, **how,
        )
        for rank in range(2)
    ]  # fmt: skip


def two(*given: Any, **more: Any) -> tuple[list[int], str]:
    """start_two(), and: (exit codes, what the first says on stderr)."""
    return [rank.wait() for rank in start_two(*given, **more)], (given[1] / "stderr-0.txt").read_text()


def records(folder: Path) -> dict[str, dict]:
    found = [json.loads(path.read_text()) for path in folder.glob("results/tiny/*-s0.json")]
    return {record["label"]: record for record in found}


@pytest.fixture(scope="module")
def one(server, tmp_path_factory, glyph_cache):
    """Two rows, trained and evaluated in one process."""
    folder = tmp_path_factory.mktemp("one")
    tiny.write(folder, "ce, tau_norm")
    done = server.run(*words(folder, glyph_cache, "--jobs", "1"), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_evaluation_in_two_processes_equals_that_in_one(server, one, glyph_cache):
    """Of tau_norm, which trains nothing: its parent's weights are there."""
    before = records(one)
    (path,) = one.glob("results/tiny/tau_norm-*.json")
    path.unlink()
    codes, said = two(server, one, glyph_cache, "--only", "tau_norm")
    assert codes == [0, 0], said
    after = records(one)["tau_norm(tau=1)"]
    assert after["volatile"]["world_size"] == 2
    assert after["sha256"] == before["tau_norm(tau=1)"]["sha256"], "every count and every prediction is the same"


@pytest.mark.slow
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
    assert codes == [2, 2]
    assert "ce: recipe.batch_size 63 cannot be divided by 2 processes" in told


PLUGIN = """\
import os
import signal

from ltbench import Classifier, losses, make_heads, register


@register("odd")
class Odd(Classifier):
    def __init__(self, problem):
        super().__init__(problem)
        self.backbone = problem.backbone()
        self.heads = make_heads("linear", self.backbone.dim, problem.classes)

    def loss(self, t, batch):
        if os.environ.get("RANK") == os.environ.get("ODD") and t.step == 2:
            DEED
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}
"""


def odd(folder: Path, deed: str) -> tuple[str, str]:
    """A suite in folder of a method that does that in the process whose rank is $ODD; how the command is told of it."""
    (folder / "odd.py").write_text(PLUGIN.replace("DEED", deed))
    tiny.write(folder, "odd")
    return "--plugin", str(folder / "odd.py")


@pytest.fixture
def half_fails(tmp_path) -> tuple[str, str]:
    """A suite in tmp_path of a method that fails in the second process alone; how the command is told of it."""
    return odd(tmp_path, 'raise ValueError("rank 1 has had enough")')


def test_what_fails_in_one_process_ends_all_of_them_and_says_why(server, tmp_path, glyph_cache, half_fails):
    begun = time.monotonic()
    codes, _ = two(server, tmp_path, glyph_cache, *half_fails, ODD="1", few=True)
    assert codes == [1, 1] and time.monotonic() - begun < 60
    (log,) = tmp_path.glob("runs/*/log.txt")
    line = 1 + PLUGIN.partition("DEED")[0].count("\n")
    reason = f"ValueError: rank 1 has had enough (odd.py:{line})"
    said = f"process 1 ends: odd: failed: {reason}; traceback in {log}\n"
    assert said in (tmp_path / "stderr-1.txt").read_text()
    (record,) = records(tmp_path).values()
    assert (record["status"], record["reason"]) == ("failed", reason)
    assert record["volatile"]["world_size"] == 2
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("rank", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_signal_to_one_process_stops_all_at_one_step_and_they_go_on_to_the_same_bits(
    server, tmp_path, glyph_cache, rank
):
    found = {}
    for name in ("whole", "stopped"):
        folder = tmp_path / name
        folder.mkdir()
        more = (*odd(folder, "os.kill(os.getpid(), signal.SIGTERM)"), "--set", "recipe.epochs=4")
        if name == "stopped":
            codes, said = two(server, folder, glyph_cache, *more, ODD=rank, few=True)
            assert codes[int(rank)] == 143 and 0 not in codes, said
            assert [path.name for path in folder.glob("runs/*/step-*")] == [f"step-{runs.TOGETHER:08d}"]
        codes, said = two(server, folder, glyph_cache, *more, few=True)
        assert codes == [0, 0], said
        found[name] = records(folder)["odd"]
    assert found["stopped"]["sha256"] == found["whole"]["sha256"]


def test_terms_that_only_one_process_has_end_the_run_in_place_of_a_hang(server, tmp_path, glyph_cache):
    more = odd(
        tmp_path, 'return {"more": (ce := losses.cross_entropy(self.logits(batch.image), batch.target)), "ce": ce}'
    )
    codes, _ = two(server, tmp_path, glyph_cache, *more, ODD="1", few=True)
    assert codes == [1, 1]
    (record,) = records(tmp_path).values()
    assert record["reason"].startswith("Odd.loss() gives the terms ce and ce, more: with several processes their names")


def test_a_term_that_comes_with_a_later_phase_is_none_that_one_process_lacks(server, tmp_path, glyph_cache):
    deed = ""
    more = odd(tmp_path, deed)
    plugin = tmp_path / "odd.py"
    late = ' | ({"late": 0.1 * self.counts.sum() * 0} if t.after(0.5) else {})'
    plugin.write_text(
        plugin.read_text().partition("        if os.environ")[0]
        + f"""\
        ce = losses.cross_entropy(self.logits(batch.image), batch.target)
        return {{"ce": ce}}{late}
"""
    )
    codes, said = two(server, tmp_path, glyph_cache, *more, "--set", "recipe.epochs=2", few=True)
    assert codes == [0, 0], said
    (record,) = records(tmp_path).values()
    assert [sorted(epoch["terms"]) for epoch in record["history"]] == [["ce"], ["ce", "late"]]


def test_processes_that_would_go_on_from_different_checkpoints_are_refused(server, tmp_path, glyph_cache):
    """One went on from step 8, the other from the beginning, and the record was complete, with other numbers."""
    more = (*odd(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)"), "--set", "recipe.epochs=4")
    two(server, tmp_path, glyph_cache, *more, ODD="0", few=True)
    apart = ("--runs", str(tmp_path / "elsewhere"))
    codes, _ = two(server, tmp_path, glyph_cache, *more, second=apart, few=True)
    assert codes == [1, 1]
    for rank in range(2):
        said = (tmp_path / f"stderr-{rank}.txt").read_text()
        assert f"its processes see different checkpoints (of steps 0, {runs.TOGETHER})" in said
    (record,) = records(tmp_path).values()
    assert record["status"] == "failed" and "must be one folder that all of them share" in record["reason"]


@pytest.mark.slow
def test_a_run_that_another_runner_has_taken_over_is_left_by_all(server, tmp_path, glyph_cache):
    """As from processes that were halted or cut off for long; both groups would train it to its end."""
    tiny.write(tmp_path, "ce")
    crew = start_two(server, tmp_path, glyph_cache, "--set", "recipe.epochs=3000")

    def log() -> str:
        return "".join(path.read_text() for path in tmp_path.glob("runs/*/log.txt"))

    while "epoch 2/3000" not in log():
        time.sleep(0.05)
    (lease,) = tmp_path.glob("runs/*/lease-1")
    theirs = json.loads(lease.read_text()) | {"place": "another machine", "token": "theirs"}
    lease.with_name("lease-2").write_text(json.dumps(theirs))
    lease.unlink()
    while "left at step" not in log():
        time.sleep(0.05)
    assert not list(tmp_path.glob("runs/*/step-*")), "it has saved into a folder that is another's"
    os.kill(crew[0].pid, signal.SIGTERM)
    codes = [rank.wait() for rank in crew]
    assert codes[0] == 143 and not records(tmp_path)


@pytest.mark.slow
def test_torchrun_ends_where_one_process_fails(tmp_path, glyph_cache, half_fails):
    command = [*LAUNCHER, "-m", "ltbench", *words(tmp_path, glyph_cache, *half_fails)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={**os.environ, "ODD": "1"}
    )
    assert done.returncode == 1
    assert "rank 1 has had enough" in done.stderr


# One process against two, in double precision: see ranks.py

QUICK = ("ce", "everything", "one_left", "few_left", "resumed", "gathered", "evaluated 1300")
SLOW = ("ride", "bbn", "crt", "evaluated 10000")


def shared(folder: Path, names: tuple[str, ...]) -> dict[str, dict]:
    """What two processes make of these together."""
    script, file = Path(ranks.__file__), folder / "two.pt"
    done = subprocess.run([*LAUNCHER, str(script), str(file), *names], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = torch.load(file, weights_only=True)
    assert found["world"] == 2
    return found


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return shared(tmp_path_factory.mktemp("quick"), QUICK)


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    return shared(tmp_path_factory.mktemp("slow"), SLOW)


def cases(*names: str) -> list:
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


by_one = cache(ranks.carry_out)


def by_two(request: pytest.FixtureRequest, name: str) -> dict:
    return request.getfixturevalue("quick" if name in QUICK else "slow")[name]


@pytest.mark.parametrize("name", cases(*ranks.CASES))
def test_two_processes_train_the_weights_of_one(request, name):
    """Without BatchNorm and before re-weighting: to 1e-6 after 20 steps; every image counts once, short batches too."""
    alone, together = by_one(name), by_two(request, name)
    assert together["alike"], "the processes have drifted apart"
    for key, value in alone["state"].items():
        torch.testing.assert_close(together["state"][key], value, rtol=0, atol=1e-6, msg=key)
    assert len(alone["history"]) == len(together["history"]) == ranks.CASES[name][1].epochs
    for one, other in zip(alone["history"], together["history"], strict=True):
        assert other["terms"] == pytest.approx(one["terms"], abs=1e-6)


@pytest.mark.parametrize("name", cases(*ranks.CASES))
def test_two_processes_draw_the_images_of_one(request, name):
    """by_image, by_class and by_rarity alike: the same multiset at every step, but for what counts for nothing."""
    alone, together = by_one(name), by_two(request, name)
    assert alone["labels"].keys() == together["labels"].keys()
    for step, streams in alone["labels"].items():
        for mine, theirs in zip(streams, together["labels"][step], strict=True):
            # one image for two processes: both are given it; of 5 in 8 micro-batches, 3 are given a second time
            assert not Counter(mine) - Counter(theirs)
            twice = {"one_left": len(mine) == 1, "few_left": 3 * (len(mine) == 5)}.get(name, 0)
            assert len(theirs) == len(mine) + twice


def test_a_run_of_two_processes_resumes_to_the_same_bits(quick):
    """The sums of an epoch's losses too, which a checkpoint keeps as the first process has them."""
    found = quick["resumed"]
    assert found["alike"]
    assert found["whole"]["history"] == found["resumed"]["history"]
    for key, value in found["whole"]["state"].items():
        assert torch.equal(found["resumed"]["state"][key], value), key


def test_what_all_processes_have_is_gathered_though_parts_differ_in_size(quick):
    assert quick["gathered"]["x"].tolist() == [[0, 0], [1, 1], [1, 1]]
    assert quick["gathered"]["even"].tolist() == [0, 1]
    x = torch.arange(3)
    assert gather(x) is x


@pytest.mark.parametrize("name", cases("evaluated 1300", "evaluated 10000"))
def test_every_test_image_is_counted_once(request, name):
    alone, together = by_one(name), by_two(request, name)
    assert len(together["logits"]) == int(name.split()[1])
    assert torch.equal(alone["logits"], together["logits"]) and torch.equal(alone["label"], together["label"])
    assert alone["macs"] == together["macs"]


def test_a_batch_that_cannot_be_cut_into_micro_batches_for_all_is_refused():
    from ltbench import Recipe
    from ltbench.errors import LtbenchError
    from ltbench.trainer import check_divisible

    check_divisible(Recipe(1, batch_size=24, accumulate=3), 4)
    with pytest.raises(LtbenchError, match="24 cannot be divided by 3 processes, each of accumulate 6 micro-batches"):
        check_divisible(Recipe(1, batch_size=24, accumulate=6), 3)

"""The benchmarks run, and count what they say they count."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(*words):
    done = subprocess.run([sys.executable, *words], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# counted apart from this code when the project was planned: 412.3 and 601.3 MFLOP
@pytest.mark.parametrize(("label", "mflop"), [("ce", 412.3), ("ride(experts=3)", 601.3)])
def test_operations_of_a_training_image(label, mflop):
    import pace

    assert pace.training_flops(label) / 1e6 == pytest.approx(mflop, rel=2e-3)


def test_the_noise_has_the_canonical_shape():
    import pace

    data = pace.images()
    assert (len(data), data.counts.max(), data.counts.min()) == (10_847, 500, 5)
    assert len(pace.images(times=10)) == 108_470


def test_a_convolution_rate_is_a_rate():
    import pace

    threads = torch.get_num_threads()
    try:
        slow = pace.convolution_rate("fp32", seconds=0.2)
    finally:
        torch.set_num_threads(threads)
    assert 1e8 < slow < 1e13


@pytest.mark.slow
def test_two_loops_take_turns():
    import pace

    ours, usual = pace.Loop("ours", "ce"), pace.Loop("usual", "ce", conventional=True)
    with pace.Process(ours) as mine, pace.Process(usual) as theirs:
        mine.wait()
        theirs.wait()
        rates = [pace.rate([process], 1) for process in (mine, theirs, mine)]
    assert all(1 < found < 1e6 for found in rates)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_loop_that_dies_is_not_waited_for():
    import pace

    with pace.Process(pace.Loop("dies", "no_such_method")) as dies, pytest.raises(EOFError):
        dies.wait()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_throughput_compares_on_this_machine():
    printed = run("throughput.py", "--windows", "2", "--steps", "1")
    assert printed.count("conventional, fp32 ") == 2
    assert "ltbench, fp32, two jobs" in printed and "108,470 images" in printed


@pytest.mark.slow
def test_memory_prints_its_slope():
    assert "MiB a run" in run("memory.py", "--runs", "15")


@pytest.mark.slow
def test_suite_cost_sums_up(glyph_cache):
    printed = run("suite_cost.py", "quick", "--data", str(glyph_cache), "--steps", "1")
    assert "ride_ea" in printed and "hours of one core" in printed


SEVERAL = """\
data: [{name: folder, root: pets}, {name: folder, root: pets, head: 4, imbalance: 2}]
backbone: [resnet8, resnet20]
recipe: {epochs: 1, batch_size: 8}
methods: [ce]
"""


@pytest.mark.slow
def test_every_network_and_every_set_of_images_in_files_has_its_own_cost(tmp_path):
    import made_images
    import suite_cost

    from ltbench import plan, suite

    made_images.own(tmp_path / "pets", (9, 5, 2), tested=2, size=16)
    (tmp_path / "several.yaml").write_text(SEVERAL)
    made = plan.make(suite.read(str(tmp_path / "several.yaml")), tmp_path)
    assert len({suite_cost.name(spec, made) for spec in made.runs.values()}) == 4
    spec = next(iter(made.runs.values()))
    images_per_second, seconds = suite_cost.cost(spec, made, tmp_path, "cpu", 1)
    assert images_per_second > 0 and seconds > 0


def test_the_suite_that_precisions_are_compared_on_has_its_warm_up(tmp_path):
    import precision

    from ltbench import suite

    path = tmp_path / "precision.yaml"
    path.write_text(precision.SUITE)
    read = suite.read(str(path))
    assert not read.faults and read.recipe.remark() == ""


def test_two_precisions_are_compared_seed_by_seed(tmp_path):
    import precision
    from make_records import make, write

    for name, right in (("fp32", ((5, 5, 5), (7, 7, 7))), ("bf16", ((6, 6, 6), (8, 8, 9)))):
        write(tmp_path / name, [], [make("ce", seed, right=r) for seed, r in enumerate(right)], suite="precision")
    lines = list(precision.differences(tmp_path))
    # the seeds gain 10 and 13.3 points, though they are more than twenty apart
    assert lines[0] == "ce                 top1    fp32 60.00  bf16 - fp32 +11.7±21.2 (n = 2, paired by seed)"


def test_the_page_on_precisions_says_what_the_committed_records_say():
    import precision

    top = BENCHMARKS.parent
    page = (top / "docs" / "performance.md").read_text(encoding="utf-8")
    lines = list(precision.differences(top / "results" / "precision"))
    assert len(lines) == 10 and all(f"\n{line}\n" in page for line in lines)


def test_the_runs_that_are_compared_with_themselves_differ_in_their_seed_alone(tmp_path):
    import null
    from make_records import make, predicted, write

    alike = [predicted("ce", seed, (9, 5, 2), offset=seed) for seed in range(6)]
    others = [predicted("ce", seed, (9, 5, 2), recipe={"epochs": 3}) for seed in range(5)]
    failed = make("bbn", 5, status="failed")
    five = [predicted("bbn", seed, (9, 5, 2)) for seed in range(5)]
    write(tmp_path, [], [*alike[::-1], *others, *five, failed])
    assert [[run.key for run in found] for found in null.rows(tmp_path / "toy")] == [[run.key for run in alike]]


def test_every_two_disjoint_sets_of_seeds_are_compared_once():
    import null

    assert list(null.pairs(4, 2)) == [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    assert [len(list(null.pairs(12, size))) for size in (1, 2, 3)] == [66, 1485, 9240]


def test_sets_of_one_row_that_differ_are_told_apart_and_others_are_not():
    import null
    from make_records import predicted

    even = [predicted("ce", seed, (9, 5, 2)) for seed in range(6)]
    assert all(part == (0.0, 0.0, 0.0) for part in null.told_apart(even, 3).values())
    # in five of the fifteen pairs one run gets 15 of 30 images more right: McNemar's mid-p is 2^-15
    odd = [*even[:5], predicted("ce", 5, (1, 0, 0))]
    found = null.told_apart(odd, 1)["all"]
    assert found == pytest.approx((100 / 3, 100 / 3, 50.0))


def test_without_a_folder_or_a_row_of_enough_seeds_it_says_so(tmp_path):
    from make_records import predicted, write

    write(tmp_path, [], [predicted("ce", seed, (9, 5, 2)) for seed in range(5)])
    for words, code, said in (
        ([], 2, "How often a row"),
        (["nosuch"], 2, "no such folder: nosuch"),
        ([str(tmp_path / "toy")], 1, "no row has 6 complete seeds in "),
    ):
        done = subprocess.run([sys.executable, "null.py", *words], cwd=BENCHMARKS, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, "") and said in done.stderr


def test_made_runs_are_like_those_that_they_are_made_after():
    import null_made
    import numpy as np

    random = np.random.default_rng(0)
    for given in (null_made.Like(0.3, 0.06, 0.0), null_made.Like(0.45, 0.09, 0.01)):
        found = [null_made.like(null_made.made(random, given, 12, 2000)) for _ in range(200)]
        accuracy, unsure, _ = np.mean(found, axis=0)
        worth = np.sqrt(np.mean([one.worth**2 for one in found]))
        assert accuracy == pytest.approx(given.accuracy, abs=0.003) and unsure == pytest.approx(given.unsure, abs=0.002)
        assert worth == pytest.approx(given.worth, abs=0.003)  # where there is none, half of the estimates are above 0


def test_what_made_rows_show_stands_beside_the_real_one(tmp_path):
    import null_made
    from make_records import predicted, write

    write(tmp_path, [], [predicted("ce", seed, (9, 5, 2), offset=seed) for seed in range(6)])
    found = list(null_made.lines([tmp_path / "toy"], rows=3, sizes=(1, 2)))
    assert found[:2] == list(null_made.HEAD) and found == list(null_made.lines([tmp_path / "toy"], 3, (1, 2)))
    cells = [[cell.strip(" %") for cell in line.strip("|").split("|")] for line in found[2:]]
    assert [cell[:2] + cell[4:5] for cell in cells] == [["toy", "`ce`", "1"], ["toy", "`ce`", "2"]]
    assert all(float(low) <= float(mean) <= float(high) for *_, mean, low, high, _, _ in cells)
    for words, code, said in (([], 2, "How rough"), ([str(tmp_path)], 1, "no row has 6 complete seeds in ")):
        done = subprocess.run([sys.executable, "null_made.py", *words], cwd=BENCHMARKS, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, "") and said in done.stderr


TABLE = ("cifar100_lt", "cifar100_lt_short")


@pytest.mark.parametrize("sizes", [(1,), pytest.param((2, 3), marks=pytest.mark.slow)])
def test_the_page_on_how_sure_one_may_be_says_what_the_committed_records_say(sizes):
    import null

    top = BENCHMARKS.parent
    page = (top / "docs" / "how-sure.md").read_text(encoding="utf-8")
    lines = list(null.lines([top / "results" / name for name in TABLE], sizes))
    assert len(lines) == 2 + 3 * len(sizes) and all(f"\n{line}\n" in page for line in lines)


def test_kernels_are_summed_by_what_they_do():
    """Names as an H200 gives them."""
    import kernels

    found = [
        kernels.Kernel("sm80_xmma_wgrad_implicit_gemm_indexed_bf16bf16", 300.0, 10),
        kernels.Kernel(
            "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_optimized_bf16_256x64>", 200.0, 11
        ),
        kernels.Kernel("void cudnn::engines_precompiled::convertTensor_kernel<__nv_bfloat16, float>", 100.0, 20),
        kernels.Kernel("void at::native::batch_norm_backward_reduce_channels_last_kernel<4>", 250.0, 31),
        kernels.Kernel("void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda>", 50.0, 34),
        kernels.Kernel("Memset (Unknown)", 100.0, 23),
    ]
    sums = kernels.lines(found, top=1)
    assert [line.split(" x ")[1] for line in sums[:5]] == [
        "all kernels of a step", "copies and casts: 15 %", "convolutions: 50 %", "batch norm: 25 %", "all else: 10 %",
    ]  # fmt: skip
    assert sums[2].split() == ["500.0", "us", "21.0", "x", "convolutions:", "50", "%"]
    assert sums[-1].endswith("sm80_xmma_wgrad_implicit_gemm_indexed_bf16bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    done = subprocess.run([sys.executable, "kernels.py"], cwd=BENCHMARKS, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "this wants a CUDA GPU\n")


@pytest.mark.slow
def test_the_script_for_a_gpu_takes_named_rows_first_and_does_nothing_twice(tmp_path, glyph_cache):
    """On the CPU, and with a stand-in for the daemon of NVIDIA's MPS."""
    (tmp_path / "out").mkdir()
    for done in ("tests", "throughput"):
        (tmp_path / "out" / f"{done}.txt").touch()
    daemon = tmp_path / "bin" / "nvidia-cuda-mps-control"
    daemon.parent.mkdir()
    daemon.write_text(f'#!/bin/sh\n[ "$1" = -d ] && echo started >>{tmp_path}/told || cat >>{tmp_path}/told\n')
    daemon.chmod(0o755)
    suite = tiny.write(tmp_path, "ce, ncm, ldam_drw")
    more = {"PYTHON": sys.executable, "DEVICE": "cpu", "SUITE": str(suite), "MPS": "1", "JOBS": "2"}
    env = os.environ | more | {"PATH": f"{daemon.parent}:{os.environ['PATH']}"}

    def call(out, *rows):
        words = ["bash", "gpu.sh", glyph_cache, tmp_path / out, "300", *rows]
        return subprocess.run(words, cwd=BENCHMARKS, env=env, capture_output=True, text=True)

    first, again, others = call("out", "ncm"), call("out", "ncm"), call("out", "ce", "ldam_drw")
    assert [done.returncode for done in (first, again, others)] == [0, 0, 0], first.stdout + first.stderr
    begun = [line.split(" s0: ")[0] for line in first.stdout.splitlines() if ": start " in line]
    assert begun == ["ce", "ncm", "ldam_drw"]
    assert ": start " not in again.stdout + others.stdout and "all is done" in again.stdout
    assert "== first" not in again.stdout and "== first" in others.stdout
    assert (tmp_path / "told").read_text() == "started\nquit\n" * 3
    wrong = call("new", "mcn")
    assert (wrong.returncode, wrong.stdout) == (2, "") and "unknown row 'mcn'" in wrong.stderr
    assert not list((tmp_path / "new").iterdir())

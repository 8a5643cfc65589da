"""Images a second of ltbench's loop beside a conventional one: python benchmarks/throughput.py [--device cuda].

Both loops train the same networks by the same losses on the same shapes, with the same allocator settings, in processes
of their own that take turns. The conventional loop is that of the public repositories: PIL transforms in a DataLoader,
fp32, NCHW, the loss read at every step. Rates are medians over the windows [least-most]; a ratio is the median over
pairs of neighbouring windows.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import subprocess
from collections.abc import Iterator, Sequence

from pace import Loop, Process, convolution_rate, has_bf16, rate, training_flops

METHODS = ("ce", "ride(experts=3)")
# The code of the RIDE paper on one core of a Zen 5 EPYC, in images a second (fp32), and what convolutions alone reached
# there: 151, 181 and 227 GFLOP/s in ResNet-32's three shapes, each of which costs as many operations. A chip whose
# convolutions are slower is asked for as much less. Below 0.9 of it, our copy of that loop is a straw man.
PUBLISHED = {"ce": 277.0, "ride(experts=3)": 157.0}
PUBLISHED_CONVOLUTIONS = 1e9 * statistics.harmonic_mean((151, 181, 227))


def main() -> None:
    """Print all comparisons that this machine allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--windows", type=int, default=8, help="times that each loop has its turn")
    parser.add_argument("--steps", type=int, help="steps a window (default: 8 on a CPU, 200 on a GPU)")
    asked = parser.parse_args()
    steps = asked.steps or (200 if asked.device == "cuda" else 8)
    from ltbench import machine

    versions = ", ".join(f"{name} {version}" for name, version in machine.versions().items())
    print(f"{machine.cpu_name()}; {versions}; commit {machine.commit()[0]}")
    print(f"load average before: {os.getloadavg()[0]:.1f} (two-thread rates mean something on a quiet machine only)")
    (on_a_gpu if asked.device == "cuda" else on_a_cpu)(asked.windows, steps)


def on_a_cpu(windows: int, steps: int) -> None:
    """One thread against one thread, two jobs against two threads, a training set ten times as large."""
    precisions = ["fp32", *(["bf16"] if has_bf16("cpu") else [])]
    if "bf16" not in precisions:
        print("This CPU has no bf16 arithmetic: bf16 would be emulated, and is left out.")
    limits = {precision: convolution_rate(precision) for precision in precisions}
    for method in METHODS:
        print(f"\n{method}: one thread each")
        usual = Loop("conventional, fp32", method, conventional=True)
        found = compare([usual], [[Loop(f"ltbench, {p}", method, precision=p)] for p in precisions], windows, steps)
        for precision in precisions:
            of_limit(found[f"ltbench, {precision}"], method, limits[precision], precision)
        fairness(method, found[usual.name], limits["fp32"])
        print(f"\n{method}: the two cores")
        usual = Loop("conventional, fp32, two threads", method, conventional=True, threads=2)
        ours = [[Loop(f"ltbench, {p}, two jobs", method, precision=p)] * 2 for p in precisions]
        compare([usual], ours, windows, steps)
    print("\nce: a training set ten times as large")
    compare([Loop("10,847 images", "ce")], [[Loop("108,470 images", "ce", times=10)]], windows, steps)


def on_a_gpu(windows: int, steps: int) -> None:
    """The conventional loop, eager and recorded steps, and several jobs on the one GPU."""
    import torch

    print(torch.cuda.get_device_name())
    for method in METHODS:
        print(f"\n{method}")
        # torch's own default: fp32 convolutions in TF32
        usual = Loop("conventional, TF32, 2 workers", method, True, device="cuda", workers=2)
        others = [
            [Loop(f"ltbench, {p}, {'recorded' if graph else 'eager'}", method, precision=p, device="cuda", graph=graph)]
            for p in ("fp32", "bf16")
            for graph in (False, True)
        ]
        found = compare([usual], others, windows, steps)
        ratio = found["ltbench, bf16, recorded"] / found["ltbench, bf16, eager"]
        print(f"  recorded over eager, bf16: {ratio:.2f}")
        one = Loop("1 job", method, precision="bf16", device="cuda")
        several = [[Loop(f"{n} jobs", method, precision="bf16", device="cuda")] * n for n in (2, 4)]
        compare([one], several, min(windows, 3), 10 * steps, watch=True)  # nvidia-smi takes a second to begin


def compare(
    first: Sequence[Loop], others: Sequence[Sequence[Loop]], windows: int, steps: int, watch: bool = False
) -> dict[str, float]:
    """Let each group of loops have its turn, `windows` times; print and return the median rate of each."""
    rates: dict[str, list[float]] = {group[0].name: [] for group in (first, *others)}
    busy: dict[str, list[float]] = {name: [] for name in rates}
    with contextlib.ExitStack() as stack:
        groups = {g[0].name: [stack.enter_context(Process(loop)) for loop in g] for g in (first, *others)}
        for process in itertools.chain(*groups.values()):
            process.wait()
        for _ in range(windows):
            for name, processes in groups.items():
                with _utilisation(busy[name], watch):
                    rates[name].append(rate(processes, steps))
    for name, found in rates.items():
        pairs = [mine / theirs for mine, theirs in zip(found, rates[first[0].name], strict=True)]
        line = f"  {name:34} {statistics.median(found):9.0f} [{min(found):.0f}-{max(found):.0f}] images/s"
        line += f"  x {statistics.median(pairs):.2f} [{min(pairs):.2f}-{max(pairs):.2f}]"
        print(line + (f"  GPU {statistics.mean(busy[name]):.0f} % busy" if busy[name] else ""), flush=True)
    return {name: statistics.median(found) for name, found in rates.items()}


@contextlib.contextmanager
def _utilisation(found: list[float], wanted: bool) -> Iterator[None]:
    """Append nvidia-smi's figures, four a second, as long as this lasts."""
    if not wanted:
        yield
        return
    words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "250"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        yield
        process.terminate()
        found += [float(word) for word in process.communicate()[0].split() if word.isdigit()]  # not "[N/A]"


def of_limit(found: float, method: str, limit: float, precision: str) -> None:
    """Print which share of this CPU's own convolution rate the loop reached."""
    reached = found * training_flops(method)
    print(f"  {reached / limit:.0%} of the {limit / 1e9:.0f} GFLOP/s that convolutions alone reach here ({precision})")


def fairness(method: str, found: float, limit: float) -> None:
    """Say whether our copy of the conventional loop is as fast as the published one would be on this chip."""
    expected = PUBLISHED[method] * limit / PUBLISHED_CONVOLUTIONS
    verdict = "fair" if found >= 0.9 * expected else "NOT FAIR"
    print(
        f"  {verdict}: the conventional loop reaches {found / expected:.2f} of {expected:.0f}, which is the published "
        f"{PUBLISHED[method]:.0f} at this chip's rate of convolutions"
    )


if __name__ == "__main__":
    main()

"""Where the time of a recorded step goes on a GPU: python benchmarks/kernels.py [LABEL] [--precision bf16].

The kernels of 20 steps at batch 128, by torch's profiler: their time a step, by what they do, then one by one. What
convolutions alone take says how fast the step could be at most with these kernels.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
from collections.abc import Iterable
from typing import NamedTuple

import pace

WARM, STEPS = 40, 20
KINDS = (  # the first whose pattern a kernel's name matches
    ("copies and casts", r"copy|[Mm]emcpy|convertTensor"),
    ("convolutions", r"[dw]grad|fprop|conv"),
    ("batch norm", r"batch_norm"),
    ("all else", r""),
)


class Kernel(NamedTuple):
    """One kernel, a step."""

    name: str
    microseconds: float
    times: float


def main() -> int:
    """Print the kernels of one step; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label", nargs="?", default="ce", help="a method")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--top", type=int, default=25, help="kernels to print")
    asked = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("this wants a CUDA GPU", file=sys.stderr)
        return 2
    found = kernels(asked.label, asked.precision)
    print(f"{torch.cuda.get_device_name()}; {asked.label}, {asked.precision}, batch {pace.BATCH}")
    for line in lines(found, asked.top):
        print(line)
    return 0


def lines(found: Iterable[Kernel], top: int) -> list[str]:
    """The sums by kind, then the longest ones."""
    ordered = sorted(found, key=lambda kernel: -kernel.microseconds)
    total, count = sum(k.microseconds for k in ordered), sum(k.times for k in ordered)
    text = [f"{total:8.1f} us {count:6.1f} x all kernels of a step"]
    for name, _ in KINDS:
        mine = [k for k in ordered if kind(k.name) == name]
        spent = sum(k.microseconds for k in mine)
        text.append(f"{spent:8.1f} us {sum(k.times for k in mine):6.1f} x {name}: {100 * spent / total:.0f} %")
    return [*text, "", *(f"{k.microseconds:8.1f} us {k.times:6.1f} x {k.name[:120]}" for k in ordered[:top])]


def kind(name: str) -> str:
    """What a kernel of that name does."""
    return next(kind for kind, pattern in KINDS if re.search(pattern, name))


def kernels(label: str, precision: str) -> list[Kernel]:
    """The kernels of a recorded step."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    from ltbench.trainer import Fit, Interrupted

    profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])

    def after_step(fit: Fit) -> None:
        if fit.progress.step == WARM:
            torch.cuda.synchronize()
            profiler.start()
        if fit.progress.step == WARM + STEPS:
            torch.cuda.synchronize()
            profiler.stop()
            raise Interrupted

    fit = pace.training(pace.Loop(label, label, precision=precision, device="cuda"))
    fit.after_step = after_step
    with contextlib.suppress(Interrupted):
        fit.run()
    on_gpu = [e for e in profiler.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA]
    return [Kernel(e.key, e.self_device_time_total / STEPS, e.count / STEPS) for e in on_gpu]


if __name__ == "__main__":
    sys.exit(main())

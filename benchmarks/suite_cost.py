"""What a suite costs on this machine, from measured rates: python benchmarks/suite_cost.py SUITE --data DIR.

Each distinct method of the plan, parents included, trains a few steps on the suite's own data, from untrained parents;
its seconds a step, times its steps, over all runs that use it. Evaluation is measured likewise.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ltbench import graph, live, machine, plan, runs, suite
from ltbench.data.files import Files
from ltbench.data.memory import Images
from ltbench.data.spec import data_folder
from ltbench.evaluate import evaluate
from ltbench.method import Method
from ltbench.plan import Plan
from ltbench.runspec import RunSpec
from ltbench.trainer import Fit, Interrupted

EVALUATED = 1024  # test images by which evaluation is timed


def main() -> None:
    """Print a line per kind of run, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--jobs", type=int, default=0, help="runs at once; default: 2 on a CPU, 1 on a GPU")
    parser.add_argument("--steps", type=int, default=0, help="steps measured; default: 6 on a CPU, 200 on a GPU")
    asked = parser.parse_args()
    steps = asked.steps or (200 if asked.device == "cuda" else 6)
    torch.set_num_threads(1)
    folder = data_folder(asked.data)
    sets = [f"recipe.precision={asked.precision}"] if asked.precision else []
    made = plan.make(suite.read(asked.suite, sets), folder)
    kinds = defaultdict(list)
    for spec in made.runs.values():
        kinds[name(spec, made), spec.recipe.hash()].append(spec)
    print(f"{'run':58} {'runs':>4} {'images/s':>9} {'hours each':>10} {'hours':>7}")
    total = 0.0
    for (label, _), specs in kinds.items():
        images_per_second, seconds = cost(specs[0], made, folder, asked.device, steps)
        total += seconds * len(specs)
        hours = seconds / 3600
        print(f"{label:58} {len(specs):4} {images_per_second:9.0f} {hours:10.2f} {hours * len(specs):7.1f}", flush=True)
    jobs = asked.jobs or (2 if asked.device == "cpu" else 1)
    print(f"\n{total / 3600:.1f} hours of one {'core' if asked.device == 'cpu' else 'GPU'}", end="")
    print(f"; {total / 3600 / jobs:.1f} with {jobs} jobs" if jobs > 1 else "")
    device = machine.cpu_name() if asked.device == "cpu" else torch.cuda.get_device_name()
    print(f"{device}; commit {machine.commit()[0]}")


def name(spec: RunSpec, made: Plan) -> str:
    """A run's label, with data and backbone where the suite has several."""
    several = ((made.suite.data, spec.data.label), (made.suite.backbones, spec.backbone))
    return ", ".join([spec.label, *(text for of, text in several if len(of) > 1)])


def cost(spec: RunSpec, made: Plan, folder: Path, device: str, steps: int) -> tuple[float, float]:
    """(images a second in training, seconds of the whole run) of one run."""
    accelerator = machine.make_accelerator(device, spec.recipe.precision)
    dataset = live.on_device(spec, folder, str(accelerator.device))
    train = dataset.train if spec.ref.part == "all" else dataset.train.split()[0]
    method = untrained(spec, made, train, accelerator)
    part = dataset.test.subset(torch.arange(len(dataset.test)) < EVALUATED)
    if device == "cuda":
        evaluate(method, part, accelerator)  # the first one loads kernels
    begun = time.perf_counter()
    evaluate(method, part, accelerator)
    seconds = (time.perf_counter() - begun) * len(dataset.test) / len(part)
    if not spec.recipe.epochs:
        return 0.0, seconds
    a_step = _seconds_a_step(method, spec, train, accelerator, steps)
    seconds += a_step * train.steps(spec.recipe) * spec.recipe.epochs
    return spec.recipe.batch_size * len(method.streams()) / a_step, seconds


def untrained(spec: RunSpec, made: Plan, train: Images | Files, accelerator: Accelerator) -> Method:
    """The run's method as it begins, on parents that were never trained: they cost as much."""
    method = live.construct(spec, train, accelerator)
    parents = runs.parents_of(spec, made.runs)
    method.parents = {
        role: untrained(parent, made, train, accelerator).requires_grad_(False).eval()
        for role, parent in parents.items()
    }
    method.begin(method.parents, train)
    return method


def _seconds_a_step(
    method: Method, spec: RunSpec, train: Images | Files, accelerator: Accelerator, steps: int
) -> float:
    """Seconds a training step, after three that warm up."""
    times: list[float] = []
    last = steps + 3

    def after_step(fit: Any) -> None:
        if fit.progress.step in (3, last):
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())
        if fit.progress.step == last:
            raise Interrupted

    recipe = spec.recipe.with_(epochs=10**6)
    tape = graph.make_tape(accelerator)
    with contextlib.suppress(Interrupted):
        Fit(method, recipe, train, accelerator, 0, tape=tape, note=print, after_step=after_step).run()
    return (times[1] - times[0]) / steps


if __name__ == "__main__":
    main()

"""Whether many runs in one process make it grow: python benchmarks/memory.py [--runs 50].

Each run is a whole one of the embedded data: build, train an epoch, evaluate, write weights, logits and record. The
slope is that of resident memory over the runs after the first ten, by least squares.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from pathlib import Path

import numpy as np
import psutil
import torch

from ltbench import plan, runs, state, suite

SUITE = """\
data: {name: glyphs_lt, imbalance: 3, head: 20}
backbone: resnet8
seeds: SEEDS
recipe: {epochs: 1}
methods: [ce, ldam_drw, {ride: {experts: 2}}, bbn, ncm]
"""
SETTLED = 10


def main() -> None:
    """Print resident memory now and then, and its slope."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        path = here / "memory.yaml"
        path.write_text(SUITE.replace("SEEDS", str(list(range(-(-asked.runs // 5))))))
        made = plan.make(suite.read(str(path), []), here)
        settings = state.Settings(here / "results", here / "runs", here)
        resident = []
        for number, spec in enumerate(list(made.runs.values())[: asked.runs], 1):
            record = runs.execute(spec, runs.parents_of(spec, made.runs), settings, lambda event: None)
            assert record.status == "complete", record.reason
            gc.collect()
            resident.append(psutil.Process().memory_info().rss / 2**20)
            if number % 5 == 0:
                print(f"after {number:3} runs: {resident[-1]:.1f} MiB", flush=True)
    x = np.arange(len(resident))[SETTLED:]
    (slope, _), covariance = np.polyfit(x, resident[SETTLED:], 1, cov=True)
    print(f"slope after run {SETTLED}: {slope:+.3f} MiB a run, standard error {covariance[0, 0] ** 0.5:.3f}")


if __name__ == "__main__":
    main()

"""How long each command takes to answer, best of five, in seconds of CPU: python benchmarks/imports.py.

Commands that only read must not import torch, which alone takes more than a second.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

REPEATS = 5
RECORDS = 1000


def best(*words: str) -> float:
    """Seconds of CPU, which other processes on the machine change least, that `ltbench words...` takes at best."""
    times = []
    for _ in range(REPEATS):
        begun = _spent()
        subprocess.run([sys.executable, "-m", "ltbench", *words], stdout=subprocess.DEVNULL, check=True)
        times.append(_spent() - begun)
    return min(times)


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def many_records(folder: Path) -> Path:
    """A results folder of 1,000 records of the size of CIFAR-100-LT's at 200 epochs, and their plan."""
    import numpy as np

    from ltbench import planfile, record

    random = np.random.default_rng(0)
    counts, classes = tuple(range(500, 400, -1)), 100
    true = np.repeat(np.arange(classes), 100)
    rows: dict[str, planfile.Row] = {}
    for i in range(RECORDS):
        label, seed = f"method{i // 10:03}", i % 10
        hit = random.random(len(true)) < 0.3 + 0.001 * (i // 10)  # each method a tenth of a point above the last
        predicted = np.where(hit, true, random.integers(0, classes, len(true)))
        right = tuple(np.bincount(true[predicted == true], minlength=classes).tolist())
        made = record.Record(
            protocol=1, suite="many", key="", status="complete", method=label, version=1, plugin="", options={},
            label=label, backbone="resnet32", seed=seed, part="all", recipe={}, suite_recipe={}, parents={},
            data=record.Data(name="many", counts=counts, groups=(100, 20), fingerprints={"rows": "0", "train": "0"}),
            right=right, total=(100,) * classes, predictions=record.encode(predicted),
            history=tuple(record.Epoch(epoch=e, lr=0.1, terms={"ce": float(e)}) for e in range(200)),
        )  # fmt: skip
        made = made.model_copy(update={"key": made.identity.key})
        record.write(made, folder)
        before = rows[label].keys if label in rows else {}
        rows[label] = planfile.Row(
            label=label, method=label, data="many", backbone="resnet32", recipe="", block="0",
            keys={**before, str(seed): made.key},
        )  # fmt: skip
    planfile.write(planfile.PlanFile(suite="many", baseline="method000", rows=tuple(rows.values())), folder)
    return folder


def main() -> None:
    """Print a line per command."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = many_records(Path(scratch) / "many")
        size = sum(path.stat().st_size for path in folder.glob("*.json")) / RECORDS
        commands = {
            "--help": ("--help",),
            "list suites": ("list", "suites"),
            f"table ({RECORDS:,} records)": ("table", str(folder)),
            "compare (10 seeds)": ("compare", "method001", "method000", str(folder)),
            "list methods": ("list", "methods"),
        }
        for shown, words in commands.items():
            print(f"{shown:24} {best(*words):.2f} s")
        print(json.dumps({"bytes per record": round(size)}))


if __name__ == "__main__":
    main()

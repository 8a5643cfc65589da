"""bf16 against fp32: python benchmarks/precision.py --data DIR --out DIR, three seeds of CE and RIDE(3), ten epochs.

Runs the same suite in both precisions through `ltbench run` (stop and start it as you like), then prints the paired
differences; with --out results/precision, those of the committed records. Wants a device that computes in bf16: one
that emulates it takes days.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ltbench import record
from ltbench.digits import plus_minus
from ltbench.scores import GROUPS, figures, gain, summary

SUITE = """\
data: {name: cifar100_lt, imbalance: 100}
backbone: resnet32
seeds: [0, 1, 2]
recipe: {name: ride10, epochs: 10, batch_size: 128, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5.0e-4,
         schedule: steps, steps: [0.8, 0.9], gamma: 0.01, warmup: 0.2, augment: [crop, flip, rotate15]}
methods: [ce, {ride: {experts: 3}}]
"""


def main() -> None:
    """Run what is not done yet, and print a line per method and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    asked, rest = parser.parse_known_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    suite = asked.out / "precision.yaml"
    suite.write_text(SUITE)
    for precision in ("fp32", "bf16"):
        where = ["--results", str(asked.out / precision), "--runs", str(asked.out / "runs"), "--data", str(asked.data)]
        words = [sys.executable, "-m", "ltbench", "run", str(suite), "--precision", precision, *where, *rest]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    for line in differences(asked.out):
        print(line)


def differences(out: Path) -> Iterator[str]:
    """A line per method and figure, from the records below out."""
    half, full = (_figures(out / precision / "precision") for precision in ("bf16", "fp32"))
    for label in full:
        for figure in ("top1", *GROUPS, "ece"):
            ours, theirs = ({s: row[figure] for s, row in rows[label].items()} for rows in (half, full))
            change = gain(ours, theirs)
            before = summary(list(theirs.values()))["mean"] or 0.0
            yield (
                f"{label:18} {figure:7} fp32 {before:5.2f}  bf16 - fp32 "
                f"{plus_minus(change['mean'], change['ci95'], sign=True)} (n = {change['n']}, paired by seed)"
            )


def _figures(folder: Path) -> dict[str, dict[int, dict[str, float | None]]]:
    """label -> seed -> figures of the complete runs in a folder."""
    found, refused = record.read_folder(folder)
    assert not refused, refused
    rows: dict[str, dict[int, dict[str, float | None]]] = {}
    for each in found.values():
        assert each.status == "complete", each.reason
        rows.setdefault(each.label, {})[each.seed] = figures(each)
    return rows


if __name__ == "__main__":
    main()

"""Figures of one record, in per cent, and their summaries over seeds. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from . import student
from .record import Calibration, Record

GROUPS = ("many", "medium", "few")
FIGURES = ("top1", *GROUPS, "ece")


def figures(record: Record, thresholds: tuple[int, int] | None = None) -> dict[str, float | None]:
    """top1, many, medium, few and ece of a complete record; None for a group without classes.

    thresholds: many > the first >= medium >= the second > few, in training images; the data set's own by default.
    """
    members = group_classes(record.data.counts, thresholds or record.data.groups)
    shares = {name: accuracy(record, classes) for name, classes in members.items()}
    return {"top1": accuracy(record, range(len(record.right))), **shares, "ece": ece(record.calibration)}


@lru_cache(maxsize=256)  # the records of a suite have their counts in common
def group_classes(counts: tuple[int, ...], thresholds: tuple[int, int]) -> dict[str, list[int]]:
    """The classes of each group."""
    many, few = thresholds
    return {
        "many": [c for c, n in enumerate(counts) if n > many],
        "medium": [c for c, n in enumerate(counts) if few <= n <= many],
        "few": [c for c, n in enumerate(counts) if n < few],
    }


def accuracy(record: Record, classes: Sequence[int]) -> float | None:
    """Per cent of the test images of these classes that were predicted right; None without any."""
    total = sum(map(record.total.__getitem__, classes))
    return 100 * sum(map(record.right.__getitem__, classes)) / total if total else None


def ece(bins: Calibration | None) -> float | None:
    """Expected calibration error in per cent: |right - confidence| over the bins, weighted by their images."""
    if bins is None or not sum(bins.count):
        return None
    gaps = (abs(right - confidence) for right, confidence in zip(bins.right, bins.confidence, strict=True))
    return 100 * sum(gaps) / sum(bins.count)


def summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, sample standard deviation, and Student's 95 % half-width; None where they are not defined."""
    known = [value for value in values if value is not None]
    n = len(known)
    if not n or n < len(values):
        return {"mean": None, "sd": None, "ci95": None}
    mean = math.fsum(known) / n
    if n == 1:
        return {"mean": mean, "sd": None, "ci95": None}
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    return {"mean": mean, "sd": sd, "ci95": student.quantile(n - 1) * sd / math.sqrt(n)}


def gain(ours: Mapping[int, float | None], theirs: Mapping[int, float | None]) -> dict[str, Any]:
    """Mean and 95 % half-width of the differences, paired by seed; over the seeds that both have."""
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))]
    spread = summary([None if a is None or b is None else a - b for a, b in pairs])
    return {"mean": spread["mean"], "ci95": spread["ci95"], "n": len(pairs)}

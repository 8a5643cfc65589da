"""Hard negatives: what the images of a class are taken for, over the runs of one method. Torch-free.

Shapes: R runs, C classes; a table [C, C] counts test images by their class and the predicted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from . import student

FOREMOST = 3
Of = Callable[[np.ndarray, int], float]  # (table [C, C], class) -> a figure


class Spread(NamedTuple):
    """A mean over classes and its 95 % interval over runs; without one for fewer than three runs."""

    value: float
    interval: tuple[float, float] | None


def tables(predicted: np.ndarray, total: Sequence[int]) -> np.ndarray:
    """[R, C, C] of predicted classes [R, images] in class order; total: test images of each class."""
    classes = len(total)
    true = np.repeat(np.arange(classes), total) * classes
    return np.stack([np.bincount(true + said, minlength=classes**2).reshape(classes, classes) for said in predicted])


def foremost(taken: np.ndarray, own: int) -> list[tuple[int, float]]:
    """(class, share of the errors) of the three classes that take most images [C] of a class, the foremost first."""
    wrong = [(-int(n), k) for k, n in enumerate(taken) if k != own and n]
    errors = -sum(n for n, _ in wrong)
    return [(k, -n / errors) for n, k in sorted(wrong)[:FOREMOST]]


def foremost_share(table: np.ndarray, own: int) -> float:
    """The share of a class's errors that its three foremost confusers take."""
    return sum(share for _, share in foremost(table[own], own))


def confusers(table: np.ndarray, own: int) -> float:
    """exp(entropy) of where a class's wrong images go: so many equally strong confusers."""
    wrong = [int(n) for k, n in enumerate(table[own]) if k != own and n]
    return math.exp(-math.fsum(n / sum(wrong) * math.log(n / sum(wrong)) for n in wrong))


def likeness(table: np.ndarray, own: int, others: Sequence[int]) -> float:
    """How alike a class and the most similar of `others` are to the method: the cosine of how both are answered, 0..1.

    1 where the images of both get the same answers in the same shares. Raises ValueError without another class.
    """
    rows = table[[k for k in others if k != own and table[k].any()]].astype(float)
    mine = table[own].astype(float)
    return float((rows @ mine / (np.linalg.norm(rows, axis=1) * np.linalg.norm(mine))).max())


def over(counted: np.ndarray, classes: Sequence[int], of: Of) -> Spread | None:
    """A figure of the tables [R, C, C] summed over runs, as the mean over those classes that err; None without one.

    The interval is the jackknife's over runs, with Student's quantile: each run left out in turn.
    """
    whole, runs = counted.sum(0), len(counted)
    erring = [c for c in classes if whole[c].sum() > whole[c, c]]
    if not erring:
        return None
    value = _mean(whole, erring, of)
    if runs < 3:
        return Spread(value, None)
    without = np.array([_mean(whole - one, erring, of) for one in counted])
    error = math.sqrt((runs - 1) / runs * ((without - without.mean()) ** 2).sum())
    half = student.quantile(runs - 1) * error
    return Spread(value, (value - half, value + half))


def _mean(table: np.ndarray, classes: Sequence[int], of: Of) -> float:
    there = [c for c in classes if table[c].sum() > table[c, c]]
    return math.fsum(of(table, c) for c in there) / len(there) if there else 0.0

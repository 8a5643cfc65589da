"""Hard negatives: what the images of a class are taken for, over the runs of one method. Torch-free.

Shapes: R runs, C classes; a table [C, C] counts test images by their class and the predicted one. A figure of a table
is one of each class [C], NaN where it is not defined: where the class does not err, say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from . import student

FOREMOST = 3
Of = Callable[[np.ndarray], np.ndarray]  # table [C, C] -> a figure [C]


class Spread(NamedTuple):
    """A mean over classes and its 95 % interval over runs; without one for fewer than three runs."""

    value: float
    interval: tuple[float, float] | None


class Wrong(NamedTuple):
    """The entries of a table beside its diagonal that are not 0: few, as there are few images."""

    own: np.ndarray  # [K] the class of the images, in ascending order
    taken: np.ndarray  # [K] what they are taken for, ascending within a class
    share: np.ndarray  # [K] of the class's errors

    @classmethod
    def of(cls, table: np.ndarray) -> Wrong:
        """A table's."""
        own, taken = np.divmod(np.flatnonzero(table), len(table))
        own, taken = own[own != taken], taken[own != taken]
        images = table[own, taken].astype(float)
        return cls(own, taken, images / np.bincount(own, images, len(table))[own])


def tables(predicted: np.ndarray, total: Sequence[int]) -> np.ndarray:
    """[R, C, C] int32 of predicted classes [R, images] in class order; total: test images of each class."""
    classes = len(total)
    true = np.repeat(np.arange(classes), total) * classes
    counted = np.empty((len(predicted), classes, classes), np.int32)
    for table, said in zip(counted, predicted, strict=True):
        table[:] = np.bincount(true + said, minlength=classes**2).reshape(classes, classes)
    return counted


def foremost(taken: np.ndarray, own: int) -> list[tuple[int, float]]:
    """(class, share of the errors) of the three classes that take most images [C] of a class, the foremost first."""
    wrong = [(-int(taken[k]), int(k)) for k in np.flatnonzero(taken) if k != own]
    errors = -sum(n for n, _ in wrong)
    return [(k, -n / errors) for n, k in sorted(wrong)[:FOREMOST]]


def foremost_share(table: np.ndarray) -> np.ndarray:
    """The share of a class's errors that its three foremost confusers take."""
    wrong = Wrong.of(table)
    own, share = wrong.own, wrong.share[np.lexsort((-wrong.share, wrong.own))]  # the largest of each class first
    place = np.arange(len(own)) - np.searchsorted(own, own)
    return _where_it_errs(own, np.bincount(own, share * (place < FOREMOST), len(table)))


def confusers(table: np.ndarray) -> np.ndarray:
    """exp(entropy) of where a class's wrong images go: so many equally strong confusers."""
    wrong = Wrong.of(table)
    entropy = np.bincount(wrong.own, -wrong.share * np.log(wrong.share), len(table))
    return _where_it_errs(wrong.own, np.exp(entropy))


def likeness(table: np.ndarray, others: Sequence[int]) -> np.ndarray:
    """How alike a class and the most similar of `others` are to the method: the cosine of how both are answered, 0..1.

    1 where the images of both get the same answers in the same shares. NaN for a class that does not err, and without
    another class among `others` that has images.
    """
    from scipy.sparse import csr_array

    rows = csr_array(table, dtype=float)
    lengths = np.sqrt((rows * rows).sum(axis=1))
    there = np.array([k for k in others if lengths[k]], dtype=int)
    unit = csr_array(rows / np.where(lengths, lengths, 1)[:, None])
    alike = (unit @ unit[there].T).tocoo()
    another = there[alike.col] != alike.row
    most = np.zeros(len(table))
    np.maximum.at(most, alike.row[another], alike.data[another])
    lonely = np.isin(np.arange(len(table)), there) >= len(there)  # itself is all there is, or nothing is
    return _where_it_errs(Wrong.of(table).own, np.where(lonely, np.nan, most))


def _where_it_errs(own: np.ndarray, figure: np.ndarray) -> np.ndarray:
    """A figure [C], NaN for classes that are not among `own`."""
    return np.where(np.bincount(own, minlength=len(figure)) > 0, figure, np.nan)


def of_runs(counted: np.ndarray, of: Of) -> np.ndarray:
    """[1 + R, C] a figure of the tables [R, C, C] summed over runs, then without each run in turn.

    The first line alone for fewer than three runs, which tell no interval.
    """
    whole = counted.sum(0, dtype=counted.dtype)
    without = (whole - one for one in counted) if len(counted) > 2 else ()
    return np.stack([of(table) for table in chain([whole], without)])


def over(figures: np.ndarray, classes: Sequence[int]) -> Spread | None:
    """What of_runs() gave, as the mean over those of these classes that err; None without one.

    The interval is the jackknife's over runs, with Student's quantile.
    """
    value, *rest = (_mean(line[list(classes)]) for line in figures)
    if value is None:
        return None
    if not rest:
        return Spread(value, None)
    runs, without = len(rest), np.array([mean or 0.0 for mean in rest])
    error = math.sqrt((runs - 1) / runs * ((without - without.mean()) ** 2).sum())
    half = student.quantile(runs - 1) * error
    return Spread(value, (value - half, value + half))


def _mean(figure: np.ndarray) -> float | None:
    there = figure[~np.isnan(figure)]
    return math.fsum(there) / len(there) if len(there) else None

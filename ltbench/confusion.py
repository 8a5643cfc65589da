"""Hard negatives: what the images of a class are taken for, over the runs of one method. Torch-free.

Shapes: R runs, C classes, K pairs of a class and a predicted one that images have: few of C * C, as there are few
images. A figure of a table is one of each class [C], NaN where it is not defined: where the class does not err, say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from . import student

FOREMOST = 3
Of = Callable[["Table"], np.ndarray]  # -> a figure [C]


class Spread(NamedTuple):
    """A mean over classes and its 95 % interval over runs; without one for fewer than three runs."""

    value: float
    interval: tuple[float, float] | None


class Table(NamedTuple):
    """How many images of each class are answered with which class, in one run or in each of several."""

    own: np.ndarray  # [K] the class of the images, ascending
    taken: np.ndarray  # [K] the predicted class, ascending within a class
    images: np.ndarray  # [K], or [R, K] of several runs; may be 0
    classes: int

    def row(self, own: int) -> np.ndarray:
        """[C] what the images of a class are taken for, over all runs."""
        first, last = np.searchsorted(self.own, (own, own + 1))
        out = np.zeros(self.classes, int)
        out[self.taken[first:last]] = np.atleast_2d(self.images)[:, first:last].sum(0)
        return out

    def wrong(self) -> tuple[np.ndarray, np.ndarray]:
        """(class, share of the class's errors) of each pair beside the diagonal that has images; of one run."""
        there = (self.own != self.taken) & (self.images > 0)
        own, images = self.own[there], self.images[there].astype(float)
        return own, images / np.bincount(own, images, self.classes)[own]


def tables(predicted: np.ndarray, total: Sequence[int]) -> Table:
    """Of predicted classes [R, images] in class order; total: test images of each class."""
    true = np.repeat(np.arange(len(total)), total) * len(total)
    pairs, place = np.unique(true + predicted, return_inverse=True)
    images = [np.bincount(run, minlength=len(pairs)) for run in place.reshape(predicted.shape)]
    return Table(*np.divmod(pairs, len(total)), np.stack(images), len(total))


def foremost(taken: np.ndarray, own: int) -> list[tuple[int, float]]:
    """(class, share of the errors) of the three classes that take most images [C] of a class, the foremost first."""
    wrong = [(-int(taken[k]), int(k)) for k in np.flatnonzero(taken) if k != own]
    errors = -sum(n for n, _ in wrong)
    return [(k, -n / errors) for n, k in sorted(wrong)[:FOREMOST]]


def foremost_share(table: Table) -> np.ndarray:
    """The share of a class's errors that its three foremost confusers take."""
    own, share = table.wrong()
    share = share[np.lexsort((-share, own))]  # the largest of each class first
    place = np.arange(len(own)) - np.searchsorted(own, own)
    return _where_it_errs(own, np.bincount(own, share * (place < FOREMOST), table.classes))


def confusers(table: Table) -> np.ndarray:
    """exp(entropy) of where a class's wrong images go: so many equally strong confusers."""
    own, share = table.wrong()
    return _where_it_errs(own, np.exp(np.bincount(own, -share * np.log(share), table.classes)))


def likeness(table: Table, others: Sequence[int]) -> np.ndarray:
    """How alike a class and the most similar of `others` are to the method: the cosine of how both are answered, 0..1.

    1 where the images of both get the same answers in the same shares. NaN for a class that does not err, and without
    another class among `others` that has images.
    """
    from scipy.sparse import csr_array

    classes, images = table.classes, table.images.astype(float)
    lengths = np.sqrt(np.bincount(table.own, images**2, classes))
    there = np.array([k for k in others if lengths[k]], dtype=int)
    parts = images / np.where(lengths, lengths, 1)[table.own]
    unit = csr_array((parts, (table.own, table.taken)), shape=(classes, classes))
    alike = (unit @ unit[there].T).tocoo()
    another = there[alike.col] != alike.row
    most = np.zeros(classes)
    np.maximum.at(most, alike.row[another], alike.data[another])
    lonely = np.isin(np.arange(classes), there) >= len(there)  # itself is all there is, or nothing is
    return _where_it_errs(table.wrong()[0], np.where(lonely, np.nan, most))


def _where_it_errs(own: np.ndarray, figure: np.ndarray) -> np.ndarray:
    """A figure [C], NaN for classes that are not among `own`."""
    return np.where(np.bincount(own, minlength=len(figure)) > 0, figure, np.nan)


def of_runs(counted: Table, of: Of) -> np.ndarray:
    """[1 + R, C] a figure of the table summed over runs, then without each run in turn.

    The first line alone for fewer than three runs, which tell no interval.
    """
    whole = counted.images.sum(0)
    without = whole - counted.images if len(counted.images) > 2 else ()
    return np.stack([of(counted._replace(images=images)) for images in (whole, *without)])


def over(figures: np.ndarray, classes: Sequence[int]) -> Spread | None:
    """What of_runs() gave, as the mean over those of these classes that err; None without one.

    The interval is the jackknife's over runs, with Student's quantile; None where one run alone errs.
    """
    value, *rest = (_mean(line[list(classes)]) for line in figures)
    if value is None:
        return None
    without = np.array([mean for mean in rest if mean is not None])
    if not rest or len(without) < len(rest):
        return Spread(value, None)
    runs = len(without)
    error = math.sqrt((runs - 1) / runs * ((without - without.mean()) ** 2).sum())
    half = student.quantile(runs - 1) * error
    return Spread(value, (value - half, value + half))


def _mean(figure: np.ndarray) -> float | None:
    there = figure[~np.isnan(figure)]
    return math.fsum(there) / len(there) if len(there) else None

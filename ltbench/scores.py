"""Figures of one record, in per cent, and their summaries over seeds. Torch-free."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import student
from .errors import LtbenchError, unknown
from .record import Calibration, Record, raw_predictions
from .student import ROUNDING

if TYPE_CHECKING:
    import numpy as np

GROUPS = ("many", "medium", "few")
BINS = 15  # of confidence, as is usual for the calibration error
FIGURES = ("top1", *GROUPS, "ece", "score")
METRICS = ("top1", "balanced", "worst", "harmonic", "macro_f1")
TEST_LISTS = ("uniform", *(f"{way}{ratio}" for way in ("forward", "backward") for ratio in (50, 25, 10, 5, 2)))


def figures(record: Record, metric: str = "top1", test_list: str = "uniform") -> dict[str, float | None]:
    """top1, many, medium, few, ece and the metric's score of a complete record; None for what is not defined.

    metric: one of METRICS. test_list: one of TEST_LISTS; it moves top-1 and macro F1, not what is counted class by
    class, and the calibration error is not known but on the uniform one. Raises LtbenchError for an unknown name.
    """
    members = group_classes(record.data.counts, record.data.groups)
    shares = {name: accuracy(record, classes) for name, classes in members.items()}
    shift = class_shift(record.data.counts, test_list)
    top1 = accuracy(record, range(len(record.right))) if shift is None else _shifted(record, shift)
    error = ece(record.calibration) if shift is None else None
    return {"top1": top1, **shares, "ece": error, "score": top1 if metric == "top1" else score(record, metric, shift)}


def alone(record: Record) -> float | None:
    """The mean top-1 of a run's single experts in per cent; None without them."""
    if not record.members or not sum(record.total):
        return None
    return 100 * sum(map(sum, record.members)) / (len(record.members) * sum(record.total))


def score(record: Record, metric: str, shift: Sequence[float] | None = None) -> float | None:
    """A metric of METRICS other than top-1, over the classes that have test images.

    balanced: the mean of the classes' accuracies; worst: the least of them; harmonic: their harmonic mean, 0 where one
    of them is; macro_f1: the mean of the classes' F1, None without predictions, and the only one that a shift moves.
    """
    classes = [c for c, n in enumerate(record.total) if n]
    recalls = [100 * record.right[c] / record.total[c] for c in classes]
    if not classes:
        return None
    if metric == "balanced":
        return math.fsum(recalls) / len(recalls)
    if metric == "worst":
        return min(recalls)
    if metric == "harmonic":
        return len(recalls) / math.fsum(1 / r for r in recalls) if min(recalls) > 0 else 0.0
    if metric == "macro_f1":
        return _macro_f1(record, classes, _of_an_image(shift, record.total) if shift else [1.0] * len(record.total))
    raise LtbenchError(f"--metric: {unknown('metric', metric, METRICS)}")


def _macro_f1(record: Record, classes: Sequence[int], each: Sequence[float]) -> float | None:
    """The mean over classes of 2 hits / (images predicted as the class + images of it); each: [C] an image's weight."""
    if not record.predictions:
        return None
    import numpy as np

    weights, total = np.asarray(each), np.asarray(record.total)
    found = raw_predictions(record)
    if len(found) != total.sum():
        return None
    predicted = np.bincount(found, np.repeat(weights, total), minlength=len(total))[: len(total)]
    f1 = 2 * np.asarray(record.right) * weights / np.maximum(predicted + total * weights, 1e-300)
    return float(100 * f1[list(classes)].mean())


@lru_cache(maxsize=256)
def class_shift(counts: tuple[int, ...], test_list: str) -> tuple[float, ...] | None:
    """[C] how much each class weighs in a test set of that name; None for the uniform one.

    The test-agnostic protocol of LADE (Hong et al. 2021) and SADE (Zhang et al. 2022): forward50 is a test set whose
    classes fall off as 50 ** -(rank / (C - 1)), the classes ranked by their training images; backward50 the reverse.
    They draw such a set from the balanced test images once; here every image is kept and weighed, which gives the
    expected value over their draws, exactly and without a seed. As with them, top-1 is the mean over the set's images;
    many, medium and few are what they are on the uniform set. Of ImageNet-LT their lists hold
    int(50 * weight) images of each class (tests/test_listed.py), but rank classes with equally many training images in
    another order than by label, as here: one to two images more or less of at most 15 % of the classes.
    Raises LtbenchError for another name.
    """
    if test_list == "uniform":
        return None
    match = re.fullmatch(r"(forward|backward)(\d+)", test_list)
    if match is None or test_list not in TEST_LISTS:
        raise LtbenchError(f"--test-list: {unknown('test list', test_list, TEST_LISTS)}")
    way, ratio = match[1], int(match[2])
    ranked = sorted(range(len(counts)), key=lambda c: (-counts[c], c))
    last = max(1, len(counts) - 1)
    weight = {c: ratio ** -((rank if way == "forward" else last - rank) / last) for rank, c in enumerate(ranked)}
    return tuple(weight[c] for c in range(len(counts)))


def class_weights(record: Record, metric: str, test_list: str) -> list[float] | None:
    """[C] the weight of an image of each class in the metric; None where the metric is no mean over images."""
    shift = class_shift(record.data.counts, test_list)
    if metric == "top1":
        return _of_an_image(shift, record.total) if shift else [1.0] * len(record.total)
    return _of_an_image([1.0] * len(record.total), record.total) if metric == "balanced" else None


def _of_an_image(weights: Sequence[float], total: Sequence[int]) -> list[float]:
    """[C] the weight of an image of each class, from that of the class and its test images; 0 without any."""
    return [w / n if n else 0.0 for w, n in zip(weights, total, strict=True)]


def _shifted(record: Record, shift: Sequence[float]) -> float | None:
    """Top-1 where each class weighs as it says, however many test images it has."""
    weights = _of_an_image(shift, record.total)
    total = math.fsum(w for w, n in zip(shift, record.total, strict=True) if n)
    hit = math.fsum(w * n for w, n in zip(weights, record.right, strict=True))
    return 100 * hit / total if total else None


def is_resampled(data: str) -> bool:
    """Whether a row's data label stands for several draws of the training set: its n counts draws, not seeds alone."""
    return re.search(r"(?:\(|, )draws=\d+[,)]", data) is not None


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


def calibration(confidence: np.ndarray, right: np.ndarray) -> Calibration:
    """15 equal bins of the images by their confidence [M] float64, with the hits [M]; a bin holds its upper edge."""
    import numpy as np

    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return Calibration(
        count=tuple(np.bincount(bins, minlength=BINS).tolist()),
        right=tuple(np.bincount(bins[right], minlength=BINS).tolist()),
        confidence=tuple(np.bincount(bins, confidence, minlength=BINS).tolist()),
    )


def ece(bins: Calibration | None) -> float | None:
    """Expected calibration error in per cent: |right - confidence| over the bins, weighted by their images."""
    if bins is None or not sum(bins.count):
        return None
    gaps = (abs(right - confidence) for right, confidence in zip(bins.right, bins.confidence, strict=True))
    return 100 * sum(gaps) / sum(bins.count)


def summary(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, sample standard deviation, and Student's 95 % half-width; None where they are not defined.

    Values that are all equal, as whole images over two seeds may be, show no spread and so give no half-width; equal up
    to ROUNDING, as 33 - 31 and 22 - 20 of 1240 in per cent are.
    """
    known = [value for value in values if value is not None]
    n = len(known)
    if not n or n < len(values):
        return {"mean": None, "sd": None, "ci95": None}
    mean = math.fsum(known) / n
    if n == 1:
        return {"mean": mean, "sd": None, "ci95": None}
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (n - 1))
    sd = 0.0 if sd < ROUNDING else sd
    return {"mean": mean, "sd": sd, "ci95": student.quantile(n - 1) * sd / math.sqrt(n) if sd else None}


def gain(ours: Mapping[int, float | None], theirs: Mapping[int, float | None]) -> dict[str, Any]:
    """Mean and 95 % half-width of the differences, paired by seed; over the seeds that both have."""
    pairs = [(ours[seed], theirs[seed]) for seed in sorted(set(ours) & set(theirs))]
    spread = summary([None if a is None or b is None else a - b for a, b in pairs])
    return {"mean": spread["mean"], "ci95": spread["ci95"], "n": len(pairs)}

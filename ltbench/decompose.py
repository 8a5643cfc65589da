"""Bias and variance of the runs of one method over training sets. Torch-free.

Shapes: R runs, M test images of one class, C classes, B bootstrap replicates. Three decompositions of what a run does:

- of 0-1 loss (Domingos 2000): the main prediction of an image is the class that most runs say; bias is whether it is
  wrong, variance the share of runs that say another class. Variance hurts where the main prediction is right and may
  help where it is wrong: error = bias + net variance. Where several classes have most votes, each of them is the main
  prediction with the same probability, and all figures are expected values over that choice.
- of 0-1 loss (Kohavi and Wolpert 1996): variance is half the probability that two runs disagree; error = bias +
  variance.
- of squared error, on probabilities (the Brier score): variance is half the expected squared distance of two runs'
  probabilities; error = bias + variance, bias being the squared distance of the mean probabilities from the truth.

The last two are estimated without bias, from pairs of different runs: they do not shrink or grow with the number of
runs (and where there is next to no bias, its estimate may be a little below 0). The first one needs its main
prediction, which few runs tell badly: compare it between rows of equally many runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import student

VOTES = ("error", "bias", "variance", "net_variance")
PAIRS = ("kw_bias", "kw_variance")
BRIER = ("brier", "brier_bias", "brier_variance")
RESAMPLES, SEED = 1000, 0
NORMAL = 1.959964  # the normal distribution's two-sided 95 % point
Figures = dict[str, np.ndarray]


# Of each image


def by_votes(predicted: np.ndarray, label: int) -> Figures:
    """VOTES of each image [M], from the predicted classes [R, M] of images of one class."""
    everyone = np.ones((len(predicted), 1))
    return {name: value[:, 0] for name, value in _votes(predicted, label, everyone).items()}


def _votes(predicted: np.ndarray, label: int, voters: np.ndarray) -> Figures:
    """VOTES [M, K] of K choices of voters [R, K]: 1 for a run that votes, 0 for one that does not."""
    same = (predicted[:, None] == predicted[None]).transpose(2, 0, 1)  # [M, R, R]
    votes = same.astype(float) @ voters  # [M, R, K] for the class that run r says
    most, total = votes.max(1), voters.sum(0)
    # a class with v votes is said by v voting runs, so each counts 1 / v towards the number of tied classes
    tied = ((votes == most[:, None]) * voters).sum(1) / most
    right = (predicted == label).T.astype(float) @ voters
    main_right = (right == most) / tied  # the probability that the main prediction is right
    variance, share = 1 - most / total, right / total
    return {
        "error": 1 - share,
        "bias": 1 - main_right,
        "variance": variance,
        "net_variance": main_right * variance - (1 - main_right) * share,
    }


def by_squares(probability: np.ndarray, label: int) -> Figures:
    """BRIER of each image [M], from probabilities [R, M, C] of images of one class; R > 1."""
    runs = len(probability)
    truth = np.eye(probability.shape[2])[label]
    mean = probability.mean(0)
    variance = ((probability - mean) ** 2).sum((0, 2)) / (runs - 1)
    return {
        "brier": ((probability - truth) ** 2).sum(2).mean(0),
        "brier_bias": ((mean - truth) ** 2).sum(1) - variance / runs,
        "brier_variance": variance,
    }


def by_pairs(predicted: np.ndarray, label: int, classes: int) -> Figures:
    """PAIRS of each image [M], from the predicted classes [R, M] of images of one class; R > 1."""
    squares = by_squares(np.eye(classes)[predicted], label)
    return {"kw_bias": squares["brier_bias"] / 2, "kw_variance": squares["brier_variance"] / 2}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities in double precision, over the last axis."""
    shifted = np.exp(logits.astype(float) - logits.max(-1, keepdims=True).astype(float))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


# Of a whole test set


@dataclass(frozen=True)
class Decomposition:
    """Of all classes: figures as means over a class's test images, 0 for a class without any; fractions.

    values: quantity -> [C]; groups: (group, quantity) -> (the mean over all test images of the group's classes, its
    replicates [3, B] in the bootstrap over runs and images, over runs alone, over images alone); absent without any.
    """

    runs: int
    values: Mapping[str, np.ndarray]
    groups: Mapping[tuple[str, str], tuple[float, np.ndarray]]


def decompose(
    predicted: np.ndarray,
    total: Sequence[int],
    groups: Mapping[str, Sequence[int]],
    logits: Sequence[np.ndarray] | None = None,
) -> Decomposition:
    """Of predicted classes [R, images] in class order; BRIER only with the logits [images, C] of each run.

    Of one run only the error is known; of two no main prediction, so of VOTES the error alone. `to_many` is the share
    of images that are wrong and taken for a class of many. The bootstrap draws runs and the images of each class with
    replacement, each on its own as they are crossed, from a fixed seed: two methods of equally many runs get the same
    draws, so that their difference is paired. What is drawn is a run's share in a figure, its jackknife pseudo-value: a
    majority of runs drawn twice is not that of all runs.
    """
    runs, classes = len(predicted), len(total)
    random = np.random.default_rng(SEED)
    drawn = random.multinomial(runs, [1 / runs] * runs, size=RESAMPLES).T / runs  # [R, B]
    ends = np.cumsum(total)
    values: dict[str, np.ndarray] = {}
    found: dict[tuple[str, str], tuple[float, np.ndarray]] = {}
    in_group = {group: np.isin(np.arange(classes), list(members)) for group, members in groups.items()}  # [C] each
    is_many = in_group.get("many", np.zeros(classes, dtype=bool))
    all_images = {group: int(np.asarray(total)[member].sum()) for group, member in in_group.items()}
    for label, (end, images) in enumerate(zip(ends, total, strict=True)):
        if not images:
            continue
        part = slice(int(end) - images, int(end))
        chances = None if logits is None else softmax(np.stack([one[part] for one in logits]))
        weights = _drawn_images(random, images)
        for name, (value, shares) in _of_class(predicted[:, part], label, chances, is_many).items():
            values.setdefault(name, np.zeros(classes))[label] = value.mean()
            drawings = np.stack([((shares @ drawn) * weights).sum(0), shares.mean(0) @ drawn, shares.mean(1) @ weights])
            for group in (group for group, member in in_group.items() if member[label]):
                share, (mean, so_far) = images / all_images[group], found.get((group, name), (0.0, 0.0))
                found[group, name] = mean + share * float(value.mean()), so_far + share * drawings
    return Decomposition(runs, values, found)


def _drawn_images(random: np.random.Generator, images: int) -> np.ndarray:
    """[M, B] the weight of each image in the mean of as many drawn with replacement."""
    chosen = random.integers(0, images, (RESAMPLES, images)) + images * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(chosen.ravel(), minlength=RESAMPLES * images)
    return np.asarray(counts.reshape(RESAMPLES, images).T / images)


def _of_class(
    predicted: np.ndarray, label: int, chances: np.ndarray | None, is_many: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """quantity -> (figures [M], the runs' shares in them [M, R]) of the images of one class."""
    wrong = (predicted != label).astype(float).T
    shares = {"error": wrong, "to_many": wrong * is_many[predicted].T}
    if len(predicted) == 1:
        return {name: (share.mean(1), share) for name, share in shares.items()}
    point = {name: share.mean(1) for name, share in shares.items()} | by_pairs(predicted, label, len(is_many))
    if len(predicted) > 2:  # two that differ tie, two that agree are the main prediction: bias would be the error
        point |= by_votes(predicted, label)
        without = _votes(predicted, label, 1 - np.eye(len(predicted)))  # one run each
        shares |= {name: _pseudo(point[name], without[name]) for name in VOTES[1:]}
    shares["kw_variance"] = _of_pairs((predicted[:, None] != predicted[None]).transpose(2, 0, 1) / 2)
    shares["kw_bias"] = wrong - shares["kw_variance"]
    if chances is not None:
        point |= by_squares(chances, label)
        shares["brier"] = ((chances - np.eye(chances.shape[2])[label]) ** 2).sum(2).T
        shares["brier_variance"] = _of_pairs(_distances(chances))
        shares["brier_bias"] = shares["brier"] - shares["brier_variance"]
    return {name: (point[name], shares[name]) for name in shares}


def _pseudo(value: np.ndarray, without: np.ndarray) -> np.ndarray:
    """[M, R] jackknife pseudo-values of a figure [M] that is without [M, R] where a run is left out."""
    runs = without.shape[1]
    return np.asarray(runs * value[:, None] - (runs - 1) * without)


def _of_pairs(apart: np.ndarray) -> np.ndarray:
    """[M, R] the same of the mean of apart [M, R, R] over pairs of different runs; 0 on the diagonal."""
    runs = apart.shape[1]
    of_run = apart.sum(2)
    everything = of_run.sum(1)
    value = everything / (runs * (runs - 1))
    if runs == 2:  # a pair without one of its runs is none
        return np.repeat(value[:, None], runs, axis=1)
    return _pseudo(value, (everything[:, None] - 2 * of_run) / ((runs - 1) * (runs - 2)))


def _distances(chances: np.ndarray) -> np.ndarray:
    """[M, R, R] half the squared distance of two runs' probabilities [R, M, C]."""
    rows = chances.transpose(1, 0, 2)
    products = rows @ rows.transpose(0, 2, 1)
    norms = np.einsum("mrr->mr", products)
    apart = (norms[:, :, None] + norms[:, None]) / 2 - products
    return np.asarray(apart * (1 - np.eye(len(chances))))


def interval(value: float, replicates: np.ndarray, runs: int) -> tuple[float, float] | None:
    """The 95 % interval of a value by its replicates [3, B]; None for fewer than three runs, which tell no spread.

    Taken from the replicates' distances from their own mean. Drawing runs and images counts the chance of a single
    answer three times (Owen 2007): what the two drawn apart leave over of the variance tells how much that is, so that
    it is counted once. A bootstrap of few runs is too narrow: the runs' part is taken R / (R - 1) times, and the whole
    has Student's quantile by Satterthwaite's degrees of freedom.
    """
    if runs < 3:
        return None
    both, of_runs, of_images = replicates.var(1).tolist()
    if both <= 1e-18:
        return value, value
    answers = max(both - of_runs - of_images, 0.0) / 2
    of_runs *= runs / (runs - 1)
    variance = max(of_runs + of_images - answers, of_runs, of_images)
    freedom = int(min((runs - 1) * (variance / of_runs) ** 2, 1000)) if of_runs > 1e-18 else 1000
    wider = student.quantile(freedom) / NORMAL * (variance / both) ** 0.5
    low, high = value + wider * np.percentile(replicates[0] - replicates[0].mean(), [2.5, 97.5])
    return float(low), float(high)

"""Is one row better than another? Tests that are paired by seed and by test image.

Several seeds: runs and test images are crossed (each run of either row sees each image), so the difference of two rows
varies with both. Its variance is that of the two-way random model of Dorfman, Berbaum and Metz (1992), as is usual
where several readers judge the same cases; but it is never less than what the images alone make of it: seeds that
agree by chance are no reason to trust the images more. What the seeds make of it is estimated from few, the images are
many, and p is that of Behrens and Fisher for one estimated and one known variance; Hillis' (2007) degrees of freedom,
usual there, call equal rows different at p < 0.001 up to fifty times too often (docs/how-sure.md). One seed: only the
images vary, and McNemar's test asks whether those that just one of the two gets right are split evenly (mid-p, as
Fagerland et al. 2013 advise). No p is corrected for the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import student
from .behrens_fisher import MOST, Variance, p_value
from .record import Record, raw_predictions
from .student import ROUNDING

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.05


class Difference(NamedTuple):
    """The mean difference of two rows in per cent, and the p-value of there being none; None where nothing can tell."""

    mean: float
    p: float | None


def hits(record: Record) -> np.ndarray | None:
    """[M] whether each test image was predicted right, class after class; None without stored predictions."""
    import numpy as np

    found = raw_predictions(record) if record.predictions else None
    if found is None or len(found) != sum(record.total):
        return None
    return found == np.repeat(np.arange(len(record.total), dtype=found.dtype), record.total)


def image_weights(record: Record, class_weights: Sequence[float]) -> np.ndarray | None:
    """[M] what each image's difference is multiplied by before the mean; None where all weigh alike."""
    import numpy as np

    each = np.repeat(np.asarray(class_weights, dtype=float), record.total)
    return None if each.min() == each.max() else each * (len(each) / each.sum())


def difference(ours: np.ndarray, theirs: np.ndarray, weights: np.ndarray | None = None) -> Difference:
    """Of hits [S, M] by seed and image, of the same seeds and images in both; weights [M] of mean 1."""
    one_more = ours.view("i1") - theirs.view("i1")
    if len(one_more) == 1:
        return _over_images(one_more[0], weights)
    return crossed(one_more if weights is None else one_more * weights)


def _over_images(one_more: np.ndarray, weights: np.ndarray | None) -> Difference:
    """One seed: McNemar's test, or where images weigh differently, Student's."""
    if weights is None:
        better, worse = int((one_more > 0).sum()), int((one_more < 0).sum())
        return Difference(100 * (better - worse) / len(one_more), mcnemar(better, worse))
    return Difference(100 * float((one_more * weights).mean()), over_seeds((one_more * weights).tolist()))


def crossed(values: np.ndarray) -> Difference:
    """Of differences [S, M] of S > 1 seeds and M > 1 images: the mean, and the test of its being 0."""
    mean, variance = crossed_variance(values)
    if variance.total < ROUNDING**2:
        return Difference(100 * mean, _without_spread(mean))
    return Difference(100 * mean, p_value(mean, variance))


def crossed_variance(values: np.ndarray) -> tuple[float, Variance]:
    """Of values [S, M] as above: their mean, and the variance of that mean."""
    seeds, images = values.shape
    by_seed, by_image = values.sum(1, dtype=float), values.sum(0, dtype=float)
    mean = float(by_seed.sum()) / values.size
    total = float((values.astype(float) ** 2).sum()) if values.dtype.kind == "f" else float((values != 0).sum())
    between_seeds = float((by_seed**2).sum()) / images - values.size * mean**2
    between_images = float((by_image**2).sum()) / seeds - values.size * mean**2
    rest = total - values.size * mean**2 - between_seeds - between_images
    ms_seed, ms_image = max(between_seeds, 0.0) / (seeds - 1), between_images / (images - 1)
    of_images = max(ms_image - rest / ((seeds - 1) * (images - 1)), 0.0)
    return mean, Variance(ms_seed / values.size, seeds - 1, of_images / values.size, least=ms_image / values.size)


def over_seeds(differences: Sequence[float]) -> float | None:
    """The p-value of Student's paired test; None for fewer than two differences, or of equal ones that are not 0."""
    n = len(differences)
    if n < 2:
        return None
    mean = math.fsum(differences) / n
    variance = math.fsum((value - mean) ** 2 for value in differences) / (n - 1)
    if variance < ROUNDING**2:
        return _without_spread(mean)
    return student.p_value(mean / math.sqrt(variance / n), min(n - 1, MOST))


def _without_spread(mean: float) -> float | None:
    """The p-value where all differences are equal: chance, as of two seeds on a grid of whole images, is no proof."""
    return 1.0 if abs(mean) < ROUNDING else None


def mcnemar(better: int, worse: int) -> float:
    """The two-sided mid-p value of a split of better + worse images that chance would halve."""
    below, at = _binomial(min(better, worse), better + worse)
    return min(1.0, 2 * below + at)


def mcnemar_exact(better: int, worse: int) -> float:
    """The two-sided exact p-value of the same: never too small, and often too large."""
    below, at = _binomial(min(better, worse), better + worse)
    return min(1.0, 2 * (below + at))


def _binomial(k: int, n: int) -> tuple[float, float]:
    """(P(X < k), P(X = k)) of n fair coins, k <= n / 2."""
    at = math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2))
    below, term = 0.0, at
    for i in range(k, 0, -1):
        term *= i / (n - i + 1)
        below += term
        if term < 1e-18 * below:
            break
    return below, at


class Comparer:
    """Tests rows against one another; each record's predictions are decoded once.

    class_weights: how much an image of each class weighs in the figure compared; None where the figure is no mean over
    test images, so that only seeds can tell.
    """

    def __init__(self, class_weights: Sequence[float] | None) -> None:
        self.class_weights = class_weights
        self._hits: dict[str, np.ndarray | None] = {}

    def difference(
        self, ours: Mapping[int, Record], theirs: Mapping[int, Record], scores: Mapping[str, float | None]
    ) -> Difference | None:
        """Of two rows' complete records by seed, over the seeds that both have; None without any.

        scores: key -> the figure, for a test over seeds alone where there are no predictions to look into.
        """
        shared = sorted(set(ours) & set(theirs))
        if not shared:
            return None
        stacks = [self._stacked([records[seed] for seed in shared]) for records in (ours, theirs)]
        totals = {records[seed].total for records in (ours, theirs) for seed in shared}
        if stacks[0] is not None and stacks[1] is not None and len(totals) == 1:
            assert self.class_weights is not None
            return difference(stacks[0], stacks[1], image_weights(ours[shared[0]], self.class_weights))
        pairs = [(scores[ours[seed].key], scores[theirs[seed].key]) for seed in shared]
        each = [a - b for a, b in pairs if a is not None and b is not None]
        return Difference(math.fsum(each) / len(each), over_seeds(each)) if len(each) == len(pairs) else None

    def behind(
        self, ours: Mapping[int, Record], theirs: Mapping[int, Record], scores: Mapping[str, float | None]
    ) -> bool | None:
        """Whether difference() is below 0 with p < LEVEL; None: no test."""
        found = self.difference(ours, theirs, scores)
        return None if found is None or found.p is None else found.mean < 0 and found.p < LEVEL

    def _stacked(self, runs: Sequence[Record]) -> np.ndarray | None:
        """[S, M > 1] hits; None where some run has none to look into."""
        import numpy as np

        if self.class_weights is None:
            return None
        for run in runs:
            if run.key not in self._hits:
                self._hits[run.key] = hits(run)
        found = [hit for run in runs if (hit := self._hits[run.key]) is not None]
        known = len(found) == len(runs) and len({len(hit) for hit in found}) == 1 and len(found[0]) > 1
        return np.stack(found) if known else None

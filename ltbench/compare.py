"""`ltbench compare A B RESULTS`: two rows head to head, on the same seeds and test images. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import TypedDict

from . import paired, planfile
from . import record as records
from .behrens_fisher import half_width
from .digits import fixed
from .errors import LtbenchError, unknown
from .footers import heading, limits
from .planfile import PlanFile, Row
from .record import Record
from .scores import GROUPS, group_classes, is_resampled
from .student import ROUNDING

if TYPE_CHECKING:
    import numpy as np

NORMAL = 1.959964  # the normal distribution's two-sided 95 % point
LEAST = 1e-12  # the smallest p that is told
EXTREMES = 5  # classes that gained and lost most


class Gap(TypedDict):
    """A minus B in per cent, and its 95 % interval; None for a group without classes, and where nothing can tell."""

    difference: float | None
    low: float | None
    high: float | None


class McNemar(TypedDict):
    """One seed: the test images that only A and only B get right, and how likely chance splits them so."""

    seed: int
    only_a: int
    only_b: int
    p_exact: float
    p_mid: float


class ClassGap(TypedDict):
    """One class: its right answers over the shared seeds, and A minus B in per cent."""

    number: int
    name: str  # "" where the data name none
    train_images: int
    group: str
    right_a: int
    right_b: int
    difference: float


class Comparison(TypedDict):
    """A and B in one block."""

    suite: str
    data: str
    backbone: str
    recipe: str
    a: str
    b: str
    seeds: list[int]  # that both have, complete
    groups: list[int]  # many > the first, few < the second, in training images
    lacking: list[int]  # asked for, and not complete in one of them: in no figure
    top1: Gap
    many: Gap
    medium: Gap
    few: Gap
    p: float | None  # of the paired test over seeds and test images: see ltbench/paired.py
    mcnemar: list[McNemar]
    classes_better: int  # A has more right answers than B
    classes_equal: int
    classes_worse: int
    gained: list[ClassGap]  # those in which A is furthest ahead
    lost: list[ClassGap]


class Compared(NamedTuple):
    """A and B in every block that has both, and which records of those suites were refused, and why."""

    found: list[Comparison]
    refused: list[str]
    without: list[str]  # the blocks that have both, but no seed that is complete in both


def compare(results: Path, a: str, b: str, groups: tuple[int, int] | None = None) -> Compared:
    """A and B head to head; groups: as in record.read_folder().

    Raises LtbenchError where no block has both, or no seed is complete in both.
    """
    labels = planfile.row_labels(results)
    for label in (a, b):
        if label not in labels:
            raise LtbenchError(f"compare: {unknown('row', label, labels)}")
    if a == b:
        raise LtbenchError(f"compare: {a} and {b} are the same row")
    found: list[Comparison] = []
    refused: list[str] = []
    without: list[str] = []
    for folder in planfile.suite_folders(results):
        plan = planfile.read(folder)
        if pairs := _pairs(plan, a, b):
            runs, bad = records.read_folder(folder, groups)
            here = between(plan, runs, a, b)
            found, refused = found + here, refused + bad
            told = {(one["data"], one["backbone"], one["recipe"]) for one in here}
            without += [
                f"{', '.join(filter(None, (plan.suite, row.data, row.backbone, row.recipe)))}: no seed complete in both"
                for row, _ in pairs
                if (row.data, row.backbone, row.recipe) not in told
            ]
    if not found:
        raise LtbenchError(f"compare: {'; '.join(without) or f'{a} and {b} stand in no block together'}")
    return Compared(found, refused, without)


def between(plan: PlanFile, runs: Mapping[str, Record], a: str, b: str) -> list[Comparison]:
    """A and B in each block of one suite that has both, and a seed that is complete in both. runs: by key.

    Raises LtbenchError for records of other test images, and for those without predictions.
    """
    shared = [(ours, theirs, _shared(ours, theirs, runs)) for ours, theirs in _pairs(plan, a, b)]
    return [_comparison(plan, ours, theirs, runs, seeds) for ours, theirs, seeds in shared if seeds]


def _pairs(plan: PlanFile, a: str, b: str) -> list[tuple[Row, Row]]:
    rows = {(row.block, row.label): row for row in plan.rows}
    return [(row, rows[block, b]) for (block, label), row in rows.items() if label == a and (block, b) in rows]


def _shared(ours: Row, theirs: Row, runs: Mapping[str, Record]) -> list[int]:
    """The seeds of which both have a complete run with its predictions."""

    def good(row: Row) -> set[int]:
        return {int(s) for s, k in row.keys.items() if k in runs and runs[k].status == "complete" and runs[k].total}

    return sorted(good(ours) & good(theirs))


def _comparison(plan: PlanFile, ours: Row, theirs: Row, runs: Mapping[str, Record], seeds: Sequence[int]) -> Comparison:
    a, b = ([runs[row.keys[str(seed)]] for seed in seeds] for row in (ours, theirs))
    first = a[0]
    groups = group_classes(first.data.counts, first.data.groups)
    if len({run.total for run in (*a, *b)}) != 1:
        raise LtbenchError("compare: some records are of other test images than the others")
    right_a, right_b = _hits(a), _hits(b)
    gaps = intervals(right_a, right_b, first.total, {"top1": range(len(first.total)), **groups})
    classes = _classes(a, b, groups, plan.class_names(ours.block, len(first.total)))
    asked = {int(seed) for row in (ours, theirs) for seed in row.keys}
    ranked = sorted(classes, key=lambda c: (-c["difference"], c["number"]))
    return {
        "suite": plan.suite, "data": ours.data, "backbone": ours.backbone, "recipe": ours.recipe, "a": ours.label,
        "b": theirs.label, "seeds": list(seeds), "lacking": sorted(asked - set(seeds)),
        "groups": list(first.data.groups),
        "top1": gaps["top1"], "many": gaps["many"], "medium": gaps["medium"], "few": gaps["few"],
        "p": paired.difference(right_a, right_b).p if sum(first.total) > 1 else None,
        "mcnemar": [_mcnemar(*one) for one in zip(seeds, right_a, right_b, strict=True)],
        "classes_better": sum(c["difference"] > 0 for c in classes),
        "classes_equal": sum(c["difference"] == 0 for c in classes),
        "classes_worse": sum(c["difference"] < 0 for c in classes),
        "gained": [c for c in ranked[:EXTREMES] if c["difference"] > 0],
        "lost": [c for c in ranked[: -EXTREMES - 1 : -1] if c["difference"] < 0],
    }  # fmt: skip


def _hits(runs: Sequence[Record]) -> np.ndarray:
    """[S, M] whether each run predicts each test image right, class after class. Raises LtbenchError without."""
    import numpy as np

    found = [hits for run in runs if (hits := paired.hits(run)) is not None]
    if len(found) != len(runs):
        raise LtbenchError("compare: some record has no predictions, which this is made of")
    return np.stack(found)


def _mcnemar(seed: int, a: np.ndarray, b: np.ndarray) -> McNemar:
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    exact, mid = paired.mcnemar_exact(only_a, only_b), paired.mcnemar(only_a, only_b)
    return {"seed": seed, "only_a": only_a, "only_b": only_b, "p_exact": exact, "p_mid": mid}


def _classes(
    a: Sequence[Record], b: Sequence[Record], groups: Mapping[str, Sequence[int]], names: Sequence[str]
) -> list[ClassGap]:
    """Each class that has test images."""
    group_of = {c: name for name, classes in groups.items() for c in classes}
    found: list[ClassGap] = []
    for c, n in enumerate(a[0].total):
        if n:
            ours, theirs = sum(r.right[c] for r in a), sum(r.right[c] for r in b)
            gap = 100 * (ours - theirs) / (n * len(a))
            counts = a[0].data.counts
            found.append(
                {
                    "number": c, "name": names[c], "train_images": counts[c], "group": group_of[c], "right_a": ours,
                    "right_b": theirs, "difference": gap,
                }
            )  # fmt: skip
    return found


def intervals(
    a: np.ndarray, b: np.ndarray, total: Sequence[int], groups: Mapping[str, Sequence[int]]
) -> dict[str, Gap]:
    """The gaps in groups of classes, with intervals over seeds and test images.

    a, b: [S, M] whether runs of the same seeds predict each test image right, class after class; total: [C]. The
    interval of several seeds is that of the test in paired.py: it lacks 0 where p is below 0.05. That of one seed is
    the normal one over images.
    """
    import numpy as np

    of_class = np.repeat(np.arange(len(total)), total)
    one_more = a.view("i1") - b.view("i1")
    return {name: _gap(one_more[:, np.isin(of_class, list(classes))]) for name, classes in groups.items()}


def _gap(one_more: np.ndarray) -> Gap:
    """Of A's answers minus B's [S, images]."""
    images = one_more.shape[1]
    if not images:
        return {"difference": None, "low": None, "high": None}
    mean = float(one_more.mean(dtype=float))
    half = _half(one_more) if images > 1 else 0.0
    if half < ROUNDING:  # all differ alike, or a single image: there is no spread to tell by
        return {"difference": 100 * mean, "low": None, "high": None}
    return {"difference": 100 * mean, "low": 100 * (mean - half), "high": 100 * (mean + half)}


def _half(one_more: np.ndarray) -> float:
    """Half the width of the interval of a mean over [S, images]; 0 without any spread."""
    if len(one_more) == 1:
        return NORMAL * math.sqrt(float(one_more.var(ddof=1, dtype=float)) / one_more.size)
    _, variance = paired.crossed_variance(one_more)
    return half_width(variance) if variance.total >= ROUNDING**2 else 0.0


# Text


def lines(found: Comparison) -> list[str]:
    """A comparison as text, for a terminal of 80 columns."""
    a, b = found["a"], found["b"]
    n, lacking = len(found["seeds"]), found["lacking"]
    run = "draw" if is_resampled(found["data"]) else "seed"
    out = [
        heading(found),
        f"A = {a}, B = {b}: A - B in points of accuracy",
        "",
        *(f"{name.replace('top1', 'top-1'):8}{_said(found[name])}" for name in ("top1", *GROUPS)),  # type: ignore[literal-required]
        "",
        f"{_told(found['p'])} (paired over {n} {run if n == 1 else f'{run}s'} and the test images)",
        *(
            f"{run} {m['seed']}: only A right {m['only_a']}, only B right {m['only_b']}; "
            f"McNemar: mid-p {m['p_mid']:.2g}, exact {m['p_exact']:.2g}"
            for m in found["mcnemar"]
        ),
        f"classes: A better in {found['classes_better']}, equal in {found['classes_equal']}, "
        f"worse in {found['classes_worse']}",
        *_extremes("A is furthest ahead in", found["gained"]),
        *_extremes("A is furthest behind in", found["lost"]),
        "",
        f"{limits(*found['groups'])}.",
        f"[low, high]: 95 %, over {run}s and test images, by the same test."
        if n > 1
        else "[low, high]: 95 %, over test images, the normal approximation; p is McNemar's.",
    ]
    if lacking:
        out.append(f"{run.capitalize()} {', '.join(map(str, lacking))}: not complete in both, and in no figure here.")
    if n == 1:
        out.append(f"One {run}: what another {run} would change is not in these intervals.")
    return out


def _said(gap: Gap) -> str:
    if gap["difference"] is None:
        return "   n/a"
    value, low, high = (fixed(gap[key], 2, sign=True) for key in ("difference", "low", "high"))
    return f"{value:>6}  " + (f"[{low}, {high}]" if gap["low"] is not None else "no interval")


def _told(p: float | None) -> str:
    if p is None or math.isnan(p):
        return "no test"
    shown = f"p = {p:.2g}" if p >= LEAST else f"p < {LEAST:g}"
    return f"{shown}: {'a difference' if p < paired.LEVEL else 'not told apart'}"


def _extremes(name: str, classes: Sequence[ClassGap]) -> list[str]:
    shown = [
        f"  {c['number']:4}  {fixed(c['difference'], sign=True):>6}  {c['group']}, {c['train_images']} images"
        + (f"  {c['name']}" if c["name"] else "")
        for c in classes
    ]
    return [f"{name} these classes:", *shown] if shown else []

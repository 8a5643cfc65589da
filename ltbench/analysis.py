"""`ltbench analyze`: why a method is better. Bias, variance and hard negatives of each row, torch-free.

A row's runs are draws of the training set where its suite has `draws`, else seeds on one training set: then variance is
that of training alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from typing_extensions import TypedDict

from . import planfile
from .errors import LtbenchError, unknown
from .keys import canonical_json
from .planfile import PlanFile, Row
from .record import Record, raw_predictions
from .rescore import logits_of
from .scores import GROUPS, group_classes, is_resampled

if TYPE_CHECKING:
    import numpy as np

    from .confusion import Spread, Table
    from .decompose import Decomposition

PARTS = (*GROUPS, "all")
QUANTITIES = (
    "error", "bias", "variance", "net_variance", "kw_bias", "kw_variance", "brier", "brier_bias", "brier_variance",
)  # fmt: skip


class Estimate(TypedDict):
    """In per cent, with the 95 % interval over runs and (but for confusers) test images; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


class Confuser(TypedDict):
    """A class that another one's test images are taken for."""

    number: int
    name: str  # "" where the data name none
    group: str
    share: float  # per cent of that class's errors


class ClassFigures(TypedDict):
    """One class; in per cent."""

    number: int
    name: str  # "" where the data name none
    train_images: int
    group: str
    figures: dict[str, float | None]  # QUANTITIES
    confusers: list[Confuser]  # the three that take most of its errors


class GroupFigures(TypedDict):
    """Over all test images of a group's classes."""

    figures: dict[str, Estimate]  # QUANTITIES
    to_many: Estimate  # the share of its errors that are taken for a class of many
    top_confusers: Estimate  # the share of a class's errors that its three foremost confusers take, mean of classes
    confusers: Estimate  # a number: how many confusers share a class's errors, exp(entropy), mean of classes
    like_many: Estimate  # how alike a class and the most similar one of many are answered, mean of classes


class AnalysedRow(TypedDict):
    """One method over its complete runs."""

    label: str
    method: str
    runs: list[int]  # draws, or seeds
    n: int
    asked: int
    reason: str  # why something is n/a
    groups: dict[str, GroupFigures]  # many, medium, few, all
    classes: list[ClassFigures]


class Contrast(TypedDict):
    """One row minus another, over the runs that both have."""

    a: str
    b: str
    what: str  # what the two differ in
    runs: list[int]
    groups: dict[str, dict[str, Estimate]]  # many, medium, few, all -> QUANTITIES


class AnalysedBlock(TypedDict):
    """Rows that may be compared."""

    suite: str
    data: str
    backbone: str
    recipe: str
    runs_are: Literal["draws", "seeds"]
    thresholds: list[int]  # many > the first, few < the second
    sizes: dict[str, int]  # classes of each group
    others_many: dict[str, float | None]  # per cent of the classes that a class is not that are many: chance's to_many
    rows: list[AnalysedRow]
    contrasts: list[Contrast]


class Analysis(NamedTuple):
    """The blocks of a results folder, and what was refused on the way."""

    blocks: list[AnalysedBlock]
    refused: list[str]


def analyze(results: Path, runs: Path, baseline: str | None = None, groups: tuple[int, int] | None = None) -> Analysis:
    """All rows of a results folder; logits are looked for in runs. baseline: the row that all others are compared with.

    groups: as in record.read_folder().
    Raises LtbenchError where there are no results, or no row of that label.
    """
    found: list[AnalysedBlock] = []
    refused: list[str] = []
    labels: dict[str, None] = {}
    for plan, there, bad in planfile.read_results(results, groups):
        refused += bad
        blocks: dict[str, list[Row]] = {}
        for row in plan.rows:
            blocks.setdefault(row.block, []).append(row)
        labels |= dict.fromkeys(row.label for row in plan.rows)
        over = baseline or plan.baseline
        found += [_Block(plan, over, rows, there, runs).result() for rows in blocks.values()]
    if baseline is not None and baseline not in labels:
        raise LtbenchError(f"--baseline: {unknown('row', baseline, labels)}")
    return Analysis(found, refused)


def of_votes(suite: str, rows: Sequence[Row], there: Mapping[str, Record]) -> AnalysedBlock:
    """Rows of one block and their records by key, from the predicted classes alone and without contrasts."""
    return _Block(PlanFile(suite=suite, baseline="", rows=tuple(rows)), "", rows, there, None).result(contrasts=False)


def predicted(record: Record) -> np.ndarray | None:
    """[M] the predicted class of each test image in class order; None without, or where they are of something else."""
    try:
        found = raw_predictions(record) if record.predictions else None
    except LtbenchError:
        return None
    whole = found is not None and len(found) == sum(record.total) > 0 and found.max() < len(record.total)
    return found if whole else None


class _Block:
    """The rows of one block and their runs, on their way to figures."""

    def __init__(
        self, plan: PlanFile, baseline: str, rows: Sequence[Row], there: Mapping[str, Record], folder: Path | None
    ) -> None:
        self.plan, self.baseline, self.rows, self.folder = plan, baseline, rows, folder
        complete = [there[k] for row in rows for k in row.keys.values() if k in there and there[k].total]
        self.first = next((r for r in complete if r.status == "complete"), None)
        self.runs = {row.label: dict(self._runs(row, there)) for row in rows}
        self.groups = {name: list[int]() for name in PARTS}
        if self.first:
            self.groups = group_classes(self.first.data.counts, self.first.data.groups)
            self.groups = {**self.groups, "all": list(range(len(self.first.total)))}
        self._cache: dict[tuple[str, tuple[int, ...]], Decomposition] = {}

    def _runs(self, row: Row, there: Mapping[str, Record]) -> Iterator[tuple[int, Record]]:
        """The complete runs of a row whose predictions are of this block's test images."""
        for run, key in sorted(row.keys.items(), key=lambda item: int(item[0])):
            record = there.get(key)
            if record is None or self.first is None or record.status != "complete" or predicted(record) is None:
                continue
            if record.total == self.first.total and record.data.counts == self.first.data.counts:
                yield int(run), record

    def result(self, contrasts: bool = True) -> AnalysedBlock:
        """All figures."""
        row = self.rows[0]
        many, total = len(self.groups["many"]), len(self.groups["all"])
        chance = {
            name: 100 * (many - (name == "many")) / (total - 1) if many and total > 1 and self.groups[name] else None
            for name in GROUPS
        }
        return {
            "suite": self.plan.suite, "data": row.data, "backbone": row.backbone, "recipe": row.recipe,
            "runs_are": self._runs_are(), "thresholds": list(self.first.data.groups) if self.first else [],
            "sizes": {name: len(classes) for name, classes in self.groups.items()}, "others_many": chance,
            "rows": [self._row(row) for row in self.rows],
            "contrasts": [c for a, b, what in self._pairs() if (c := self._contrast(a, b, what))] if contrasts else [],
        }  # fmt: skip

    def _runs_are(self) -> Literal["draws", "seeds"]:
        return "draws" if is_resampled(self.rows[0].data) else "seeds"

    # Rows

    def _decomposed(self, label: str, runs: Sequence[int]) -> Decomposition:
        """Of some runs of a row, with their logits where all have left them."""
        import numpy as np

        from .decompose import decompose

        chosen = [self.runs[label][run] for run in runs]
        key = (label, tuple(runs))
        if key not in self._cache:
            logits = [logits_of(record, self.folder) for record in chosen] if self.folder and len(chosen) > 1 else []
            whole = [one for one in logits if one is not None and np.isfinite(one).all()]
            said = np.stack([p for record in chosen if (p := predicted(record)) is not None])
            given = whole if len(whole) == len(chosen) else None
            self._cache[key] = decompose(said, chosen[0].total, self.groups, given)
        return self._cache[key]

    def _row(self, row: Row) -> AnalysedRow:
        import numpy as np

        from . import confusion

        runs = list(self.runs[row.label])
        out: AnalysedRow = {
            "label": row.label, "method": row.method, "runs": runs, "n": len(runs), "asked": len(row.keys),
            "reason": "", "groups": {}, "classes": [],
        }  # fmt: skip
        if not runs:
            out["reason"] = (
                f"skipped: {row.skip}" if row.skip else f"no complete {self._runs_are()[:-1]} with predictions"
            )
            return out
        made = self._decomposed(row.label, runs)
        out["reason"] = self._lacking(made)
        assert self.first
        said = np.stack([p for run in runs if (p := predicted(self.runs[row.label][run])) is not None]).astype(int)
        counted = confusion.tables(said, self.first.total)
        negatives = self._hard_negatives(counted)
        for name in self.groups:
            out["groups"][name] = self._group(made, name, negatives)
        group_of = {c: name for name in GROUPS for c in self.groups[name]}
        names = self.plan.class_names(row.block, len(self.first.total))
        out["classes"] = [
            {
                "number": c, "name": names[c], "train_images": self.first.data.counts[c], "group": group_of[c],
                "figures": {q: 100 * float(made.values[q][c]) if q in made.values else None for q in QUANTITIES},
                "confusers": [
                    {"number": k, "name": names[k], "group": group_of[k], "share": 100 * share}
                    for k, share in confusion.foremost(counted.row(c), c)
                ],
            }
            for c in self.groups["all"] if self.first.total[c]
        ]  # fmt: skip
        return out

    def _lacking(self, made: Decomposition) -> str:
        if made.runs == 1:
            return f"one {self._runs_are()[:-1]}: bias and variance need at least two"
        lacks = self.folder is not None and "brier" not in made.values
        missing = f"squared error n/a: not all runs have their logits under {self.folder}" if lacks else ""
        few = f"two {self._runs_are()}: no main prediction and no intervals" if made.runs == 2 else ""
        return "; ".join(filter(None, (few, missing)))

    def _hard_negatives(self, counted: Table) -> dict[str, np.ndarray | None]:
        """The figures of confusion.py for all classes, from what its runs answer; None where undefined."""
        from . import confusion

        many = [c for c in self.groups["many"] if c in counted.own]
        like = partial(confusion.likeness, others=many)
        return {
            "top_confusers": confusion.of_runs(counted, confusion.foremost_share),
            "confusers": confusion.of_runs(counted, confusion.confusers),
            "like_many": confusion.of_runs(counted, like) if len(many) > 1 else None,
        }

    def _group(self, made: Decomposition, group: str, negatives: Mapping[str, np.ndarray | None]) -> GroupFigures:
        from . import confusion

        wrong, taken = made.groups.get((group, "error")), made.groups.get((group, "to_many"))
        share: tuple[float, Any] | None = None
        if wrong and taken and wrong[0] > 0 and self.groups["many"]:
            share = taken[0] / wrong[0], taken[1] / wrong[1].clip(1e-9)
        spread = {
            name: None if figures is None else confusion.over(figures, self.groups[group])
            for name, figures in negatives.items()
        }
        return {
            "figures": {q: _estimate(made.groups.get((group, q)), made.runs) for q in QUANTITIES},
            "to_many": _estimate(share, made.runs),
            "top_confusers": _spread(spread["top_confusers"], 100),
            "confusers": _spread(spread["confusers"], 1),
            "like_many": _spread(spread["like_many"], 100),
        }

    # Differences

    def _pairs(self) -> list[tuple[str, str, str]]:
        """(A, B, what they differ in): each row and the baseline, values of one option, a row and its parent."""
        there = [row for row in self.rows if self.runs[row.label]]
        found: dict[tuple[str, str], str] = {}
        for row in there:
            if row.label != self.baseline and self.runs.get(self.baseline):
                found[row.label, self.baseline] = "over the baseline"
        for a, b, option in _one_option([(row.label, self._example(row.label)) for row in there]):
            found.setdefault((a, b), f"option {option}")
        for row in there:
            for role, parent in sorted(self._example(row.label).parents.items()):
                if self.runs.get(parent.label) and parent.label != row.label:
                    found.setdefault((row.label, parent.label), f"over its {role}")
        return [(a, b, what) for (a, b), what in found.items()]

    def _example(self, label: str) -> Record:
        return next(iter(self.runs[label].values()))

    def _contrast(self, a: str, b: str, what: str) -> Contrast | None:
        """A minus B; None where no run is complete in both."""
        shared = [run for run in self.runs[a] if run in self.runs[b]]
        if not shared:
            return None
        ours, theirs = self._decomposed(a, shared), self._decomposed(b, shared)
        groups = {
            name: {
                q: _difference(ours.groups.get((name, q)), theirs.groups.get((name, q)), len(shared))
                for q in QUANTITIES
            }
            for name in self.groups
        }
        return {"a": a, "b": b, "what": what, "runs": shared, "groups": groups}


def _one_option(rows: Sequence[tuple[str, Record]]) -> Iterator[tuple[str, str, str]]:
    """(A, B, option) of rows of one method whose options differ in that one alone, B's value next below A's."""
    alike: dict[tuple[str, str, str], list[tuple[Any, str]]] = {}
    for label, record in rows:
        for option, value in record.options.items():
            rest = {key: v for key, v in record.options.items() if key != option}
            place = (record.method, option, canonical_json([rest, record.recipe]))
            alike.setdefault(place, []).append((value, label))
    for (_, option, _), values in alike.items():
        if all(isinstance(value, int | float) for value, _ in values):
            values.sort(key=lambda item: item[0])
        for (_, b), (_, a) in pairwise(values):
            yield a, b, option


def _estimate(found: tuple[float, np.ndarray] | None, runs: int) -> Estimate:
    from .decompose import interval

    if found is None:
        return {"value": None, "low": None, "high": None}
    value, replicates = found
    low, high = interval(value, replicates, runs) or (None, None)
    per_cent = [None if number is None else 100 * number for number in (value, low, high)]
    return {"value": per_cent[0], "low": per_cent[1], "high": per_cent[2]}


def _spread(found: Spread | None, unit: float) -> Estimate:
    if found is None:
        return {"value": None, "low": None, "high": None}
    low, high = found.interval or (None, None)
    value, low, high = [None if number is None else unit * number for number in (found.value, low, high)]
    return {"value": value, "low": low, "high": high}


def _difference(ours: tuple[float, np.ndarray] | None, theirs: tuple[float, np.ndarray] | None, runs: int) -> Estimate:
    both = (ours[0] - theirs[0], ours[1] - theirs[1]) if ours and theirs else None
    return _estimate(both, runs)

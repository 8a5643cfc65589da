"""Records -> leaderboard: one row per method, over its seeds; blocks of rows that may be compared. Torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import paired, planfile, published
from .columns import COLUMNS
from .errors import LtbenchError, unknown
from .former import unasked
from .planfile import PlanFile, Row
from .record import Record, Stretch, Volatile
from .rescore import adjusted, left_logits, logits_of
from .schema import Adjusted, Status, TableRow
from .scores import FIGURES, METRICS, TEST_LISTS, alone, class_weights, figures, gain, summary


@dataclass(frozen=True)
class Options:
    """What `ltbench table` is asked for."""

    baseline: str | None = None
    sort: str | None = None
    columns: tuple[str, ...] = ()
    groups: tuple[int, int] | None = None
    metric: str = "top1"  # of scores.METRICS: what score, gain and best are of
    test_list: str = "uniform"  # of scores.TEST_LISTS
    adjust: tuple[float, ...] = ()  # tau; of several the best on test, as an oracle
    runs: Path = Path("runs")  # where logits are looked for
    only: tuple[str, ...] = ()  # labels; all rows where none is named

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ("--metric", self.metric, METRICS),
            ("--test-list", self.test_list, TEST_LISTS),
        ):
            if value not in allowed:
                raise LtbenchError(f"{option}: {unknown('choice', value, allowed)}")


@dataclass(frozen=True)
class Leaderboard:
    """The rows, as documented in ltbench/schema.py, and what was refused on the way."""

    rows: list[TableRow]
    refused: list[str]


class _Scored(NamedTuple):
    """The complete runs of a row, by seed, as they are shown: with their logits adjusted where that was asked for."""

    runs: dict[int, Record]
    adjust: Adjusted | None
    lacking: list[int]  # complete seeds whose logits are not there


def load(results: Path, options: Options = Options()) -> Leaderboard:
    """The leaderboard of a results folder. Raises LtbenchError where it holds none or an option names nothing."""
    rows: list[TableRow] = []
    refused: list[str] = []
    for suite in suites(results, options):
        rows += suite.rows()
        refused += suite.refused
    if options.baseline is not None and options.baseline not in (there := planfile.row_labels(results)):
        raise LtbenchError(f"--baseline: {unknown('row', options.baseline, there)}")
    return Leaderboard(_sorted(rows, options.sort), refused)


def suites(results: Path, options: Options = Options()) -> Iterator[SuiteTable]:
    """The suites of a results folder, each read once. Raises LtbenchError where it holds none, or no row of --only."""
    reported = published.read(results)
    there = planfile.row_labels(results) if options.only else {}
    for label in options.only:
        if label not in there:
            raise LtbenchError(f"--only: {unknown('row', label, there)}")
    for plan, found, refused in planfile.read_results(results, options.groups):
        yield SuiteTable(plan, found, refused, options, reported)


class SuiteTable:
    """One suite's plan, its records by key, and what was refused of them: on their way to rows."""

    def __init__(
        self,
        plan: PlanFile,
        found: Mapping[str, Record],
        refused: Sequence[str],
        options: Options,
        reported: Sequence[published.Published],
    ) -> None:
        self.plan, self.found, self.refused = plan, found, refused
        self.options, self.reported = options, reported
        self.figures: dict[str, dict[str, float | None]] = {}  # key -> figures, of what is shown
        self.shown = _chosen(plan.rows, options.only, options.baseline or plan.baseline)
        self.scored = {(row.block, row.label): self._scored(row) for row in plan.rows}
        asked = {key for row in plan.rows for key in row.keys.values()}
        former = [record for record in unasked(found, asked).values() if record.part == "all"]
        self.former = {(record.label, str(record.seed)) for record in former}

    def rows(self) -> list[TableRow]:
        """A row for each of those shown, in the plan's order; the best are those of the whole block."""
        rows = [self._row(row) for row in self.plan.rows]
        for block in blocks(rows):
            self._mark_best(block)
        shown = {(row.block, row.label) for row in self.shown}
        return [row for row in rows if (row["block"], row["label"]) in shown]

    def _figures(self, record: Record) -> dict[str, float | None]:
        return figures(record, self.options.metric, self.options.test_list)

    def _scored(self, row: Row) -> _Scored:
        runs = {int(s): self.found[k] for s, k in row.keys.items() if k in self.found}
        complete = {seed: r for seed, r in sorted(runs.items()) if r.status == "complete"}
        if not self.options.adjust:
            self.figures |= {r.key: self._figures(r) for r in complete.values()}
            return _Scored(complete, None, [])
        logits = {seed: logits_of(r, self.options.runs) for seed, r in complete.items()}
        best: dict[int, Record] = {}
        best_score, best_tau = float("-inf"), self.options.adjust[0]
        for tau in self.options.adjust:
            moved = {seed: adjusted(complete[seed], found, tau) for seed, found in logits.items() if found is not None}
            shown = {r.key: self._figures(r) for r in moved.values()}
            mean = summary([shown[r.key]["score"] for r in moved.values()])["mean"]
            if mean is not None and mean > best_score:
                best, best_score, best_tau = moved, mean, tau
                self.figures |= shown
        lacking = [seed for seed, found in logits.items() if found is None]
        return _Scored(best, {"tau": best_tau, "oracle": len(self.options.adjust) > 1}, lacking)

    def _row(self, row: Row) -> TableRow:
        runs, adjust, lacking = self.scored[row.block, row.label]
        each = [self.figures[r.key] for r in runs.values()]
        spread: dict[str, Any] = {name: summary([one[name] for one in each]) for name in FIGURES}
        spread["alone"] = summary([alone(r) if self._is_plain else None for r in runs.values()])  # else re-scored
        status, reason = self._status(row, lacking)
        baseline = self.options.baseline or self.plan.baseline
        over = self.scored.get((row.block, baseline), _Scored({}, None, [])).runs
        differs = row.label != baseline and over and runs
        scores = [{seed: self.figures[r.key]["score"] for seed, r in of.items()} for of in (runs, over)]
        first = next(iter(runs.values()), None)
        return {
            "suite": self.plan.suite, "data": row.data, "backbone": row.backbone, "recipe": row.recipe,
            "method": row.method, "label": row.label, "seeds": list(runs), "n": len(runs), "asked": len(row.keys),
            "status": status, "reason": reason,
            "top1": spread["top1"], "many": spread["many"], "medium": spread["medium"], "few": spread["few"],
            "ece": spread["ece"], "alone": spread["alone"],
            "gain": {"baseline": baseline, **gain(*scores)} if differs else None,  # type: ignore[typeddict-item]
            "params": first.parameters if first else None,
            "macs": round(first.macs) if first else None,
            "macs_used": _mean(r.macs_used for r in runs.values()),
            "images_per_second": _mean(r.volatile.images_per_second for r in runs.values()),
            "seconds": _mean(r.volatile.seconds for r in runs.values()),
            "commits": sorted({_commit(made) for r in runs.values() for made in _origins(r)}),
            "devices": sorted({made.device for r in runs.values() for made in _origins(r)}),
            "groups": list(first.data.groups) if first else None,
            "fingerprints": _prints(list(runs.values())) if first else None,
            "reported": published.beside(
                self.reported, row.data, row.backbone, row.label, row.recipe,
                self._plain_top1(spread["top1"]), len(runs),
            ),
            "block": row.block, "metric": self.options.metric, "score": spread["score"], "best": False,
            "test_list": self.options.test_list, "adjust": adjust,
        }  # fmt: skip

    @property
    def _is_plain(self) -> bool:
        """Whether top-1 is as papers report it."""
        return self.options.test_list == "uniform" and not self.options.adjust

    def _plain_top1(self, top1: dict[str, float | None]) -> dict[str, float | None]:
        """Top-1 as papers report it; unknown where it is re-scored."""
        return top1 if self._is_plain else {"mean": None, "ci95": None}

    def _status(self, row: Row, lacking: Sequence[int]) -> tuple[Status, str]:
        """(the row's status; the reason)."""
        if row.skip:
            return "skipped", row.skip
        here = {seed: self.found[key] for seed, key in row.keys.items() if key in self.found}
        without = self._without({seed: here[str(seed)] for seed in lacking})
        if len(here) == len(row.keys) and all(r.status == "complete" for r in here.values()):
            return "partial" if lacking else "complete", without
        others = [f"seed {seed} {r.status}: {r.reason}" for seed, r in here.items() if r.status != "complete"]
        refused = [s for s, k in row.keys.items() if any(f"-{k[:8]}-s{s}.json" in text for text in self.refused)]
        others += [f"seed {seed} refused" for seed in refused]
        missing = [seed for seed in row.keys if seed not in here and seed not in refused]
        others += [f"seed {', '.join(missing)} missing"] if missing and others else []
        others += [without] if without else []
        if any(r.status == "complete" for r in here.values()):
            return "partial", "; ".join(others)
        ends: tuple[Status, ...] = ("diverged", "oom", "failed")
        for status in ends:
            if any(r.status == status for r in here.values()):
                return status, "; ".join(others)
        return ("refused", "; ".join(others)) if others else ("missing", self._former(row))

    def _without(self, runs: Mapping[int, Record]) -> str:
        """Which of these runs, by seed, have left no logits, and which none to believe; "" where there are none."""
        damaged = [seed for seed, record in runs.items() if left_logits(record, self.options.runs)]
        absent = [seed for seed in runs if seed not in damaged]
        where = self.options.runs
        said = {
            f"no logits under {where}": absent,
            f"the logits under {where} are damaged or another training's (see `ltbench doctor`)": damaged,
        }
        return "; ".join(f"seed {', '.join(map(str, seeds))}: {what}" for what, seeds in said.items() if seeds)

    def _former(self, row: Row) -> str:
        """That a run of a missing row's name is there, of settings that no row asks for; "" where there is none."""
        seeds = [seed for seed in row.keys if (row.label, seed) in self.former]
        told = "a finished run of other settings is here; `ltbench plan` says in what it differs"
        return f"seed {', '.join(seeds)}: {told}" if seeds else ""

    def _mark_best(self, rows: Sequence[TableRow]) -> None:
        """Mark the highest score of a block, and those that its paired test does not find behind it."""
        means = {r["label"]: r["score"]["mean"] for r in rows if not (r["adjust"] and r["adjust"]["oracle"])}
        known = {label: mean for label, mean in means.items() if mean is not None}
        if len(known) < 2:
            return
        top = max(known, key=lambda label: known[label])
        runs = {r["label"]: self.scored[r["block"], r["label"]].runs for r in rows if r["label"] in known}
        weights = class_weights(next(iter(runs[top].values())), self.options.metric, self.options.test_list)
        scores = {key: shown["score"] for key, shown in self.figures.items()}
        comparer = paired.Comparer(weights)
        for row in rows:
            label = row["label"]
            if label in known:
                behind = label != top and comparer.behind(runs[label], runs[top], scores)
                row["best"] = None if behind is None else not behind


def _chosen(rows: Sequence[Row], only: Sequence[str], baseline: str) -> list[Row]:
    """The rows that are named, with the baseline's of their blocks; all where none is named."""
    blocks = {row.block for row in rows if row.label in only}
    return [row for row in rows if not only or (row.block in blocks and row.label in (*only, baseline))]


def _prints(runs: Sequence[Record]) -> dict[str, str]:
    """The fingerprints that all runs have in common; of several draws, the hash of theirs."""
    each = {part: [run.data.fingerprints[part] for run in runs] for part in runs[0].data.fingerprints}
    return {
        part: prints[0] if len(set(prints)) == 1 else hashlib.sha256("".join(prints).encode()).hexdigest()
        for part, prints in each.items()
    }


def _origins(record: Record) -> list[Volatile | Stretch]:
    """Where a run was trained: in one place, or in several where it was taken up again elsewhere."""
    return [record.volatile, *record.volatile.earlier]


def _commit(made: Volatile | Stretch) -> str:
    return made.commit[:10] + ("" if made.clean else "+") if made.commit else "unknown"


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def _sorted(rows: list[TableRow], column: str | None) -> list[TableRow]:
    """The rows in the suite's order, or best first by a column; blocks stay together, rows without a value last.

    An oracle's rows keep the suite's order: they are not ranked.
    """
    if column is None:
        return rows
    sortable = {**{c.key: c for c in COLUMNS if c.number}, **{c.title: c for c in COLUMNS if c.number}}
    if column not in sortable:
        raise LtbenchError(f"--sort: {unknown('column', column, [c.key for c in COLUMNS if c.number])}")
    if any(row["adjust"] and row["adjust"]["oracle"] for row in rows):
        raise LtbenchError("--sort: several --adjust give an oracle's rows, whose tau knows the test set: never ranked")
    number = sortable[column].number
    assert number is not None
    order = list(dict.fromkeys((row["suite"], row["block"]) for row in rows))

    def place(row: TableRow) -> tuple[int, bool, float]:
        value = number(row)
        down = -1 if sortable[column].more_is_better else 1
        return order.index((row["suite"], row["block"])), value is None, down * (value or 0.0)

    return sorted(rows, key=place)


def blocks(rows: Sequence[TableRow]) -> list[list[TableRow]]:
    """The rows by suite, data, backbone and recipe: never ranked across."""
    parts: dict[tuple[str, str], list[TableRow]] = {}
    for row in rows:
        parts.setdefault((row["suite"], row["block"]), []).append(row)
    return list(parts.values())

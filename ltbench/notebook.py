"""ltbench.load("results/"): records and leaderboard for a notebook, as pandas frames and typed objects. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import planfile, tables
from . import record as records
from .errors import LtbenchError, unknown
from .record import Record
from .schema import TableRow
from .scores import FIGURES, figures

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("mean", "sd", "ci95", "top1", "tau")  # of a row; None would make a frame's column one of objects
ORIGIN = ("suite", "data", "backbone", "recipe", "label", "seed", "key", "asked")  # the first columns of frames of runs


@dataclass(frozen=True, repr=False)
class Results:
    """What a results folder holds.

    records: key -> the record (ltbench/record.py says what its fields are), over all suites in the folder: a mapping.
    each: every record, beside the row of its suite's plan that it is of; None where it is of none.
    refused: what was damaged, and why.
    plans: suite -> what it asks for.
    """

    folder: Path
    records: Mapping[str, Record]
    each: tuple[tuple[Record, planfile.Row | None], ...]
    refused: tuple[str, ...]
    plans: Mapping[str, planfile.PlanFile]

    def __repr__(self) -> str:
        suites = ", ".join(sorted({record.suite for record, _ in self.each}))
        return f"<Results in {self.folder}: {len(self.records)} records of {suites}; {len(self.refused)} refused>"

    def rows(self, **options: Any) -> list[TableRow]:
        """The leaderboard's rows (ltbench/schema.py), as `ltbench table --format json` prints them.

        options: those of ltbench.tables.Options, such as baseline="ce", metric="balanced", groups=(100, 20). Raises
        LtbenchError for an option that is none or names nothing.
        """
        allowed = set(tables.Options.__dataclass_fields__) - {"columns"}
        for name in options:
            if name not in allowed:
                raise LtbenchError(unknown("option", name, sorted(allowed)))
        groups = options.get("groups")
        if groups is not None and not (isinstance(groups, tuple | list) and [*map(type, groups)] == [int, int]):
            raise LtbenchError(f"groups: two numbers of images, as in (100, 20), got {groups!r}")
        return tables.load(self.folder, tables.Options(**options)).rows

    def leaderboard(self, **options: Any) -> pd.DataFrame:
        """rows() as a frame: a line per row; top1, top1_sd, top1_ci95 and so on are numbers, NaN where undefined."""
        import pandas as pd

        return pd.DataFrame([_line(row) for row in self.rows(**options)])

    def runs(self) -> pd.DataFrame:
        """A line per record: what it is, how it ended, and its figures in per cent where it is complete.

        asked: whether a row of the leaderboard has it; not so what rows start from, and what is of former settings.
        recipe: the row's, by which runs of one label may differ; "" where no row has the run.
        """
        import pandas as pd

        return pd.DataFrame([_origin(record, row) | _run(record) for record, row in self.each])

    def per_class(self) -> pd.DataFrame:
        """A line per complete record and class: training images, test images, right answers, accuracy in per cent.

        suite to asked are those of runs(); name is "" where the data have none, and of draws that are of no row.
        """
        import pandas as pd

        frames = [
            pd.DataFrame(
                _origin(record, row) | {
                    "class": range(len(record.total)), "name": self._class_names(record, row),
                    "train_images": record.data.counts, "total": record.total, "right": record.right,
                }
            )
            for record, row in self.each
            if record.status == "complete"
        ]  # fmt: skip
        if not frames:
            return pd.DataFrame(columns=[*ORIGIN, "class", "name", "train_images", "total", "right", "accuracy"])
        joined = pd.concat(frames, ignore_index=True)
        return joined.assign(accuracy=100 * joined["right"] / joined["total"].where(joined["total"] > 0))

    def _class_names(self, record: Record, row: planfile.Row | None) -> tuple[str, ...]:
        """Of a run that no row has, those of the rows on its data, where they agree."""
        plan, classes = self.plans.get(record.suite), len(record.total)
        rows = [row] if row else [one for one in plan.rows if one.data == record.data.name] if plan else []
        found = {plan.class_names(one.block, classes) for one in rows} if plan else set()
        return found.pop() if len(found) == 1 else ("",) * classes


def load(folder: str | Path) -> Results:
    """The results of a folder: results/, or one suite's folder in it. Raises LtbenchError where it holds no plan."""
    folder = Path(folder)
    each: list[tuple[Record, planfile.Row | None]] = []
    refused: list[str] = []
    plans: dict[str, planfile.PlanFile] = {}
    for suite in planfile.suite_folders(folder):
        found, bad = records.read_folder(suite)
        refused += bad
        asked: dict[str, planfile.Row] = {}
        try:
            plan = planfile.read(suite)
            plans[plan.suite] = plan
            asked = {key: row for row in plan.rows for key in row.keys.values()}
        except LtbenchError as error:
            refused.append(str(error))
        each += [(record, asked.get(key)) for key, record in found.items()]
    return Results(folder, {record.key: record for record, _ in each}, tuple(each), tuple(refused), plans)


def _origin(record: Record, row: planfile.Row | None) -> dict[str, Any]:
    """What a line of a frame is of: ORIGIN's columns."""
    values = (record.suite, record.data.name, record.backbone, row.recipe if row else "", record.label, record.seed)
    return dict(zip(ORIGIN, (*values, record.key, row is not None), strict=True))


def _line(row: TableRow) -> dict[str, Any]:
    """A row in one level: {"top1": {"mean": ..}} is top1, {"gain": {"ci95": ..}} is gain_ci95."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        inner = {"mean": None} if value is None and key == "gain" else value
        if not isinstance(inner, dict) or key == "fingerprints":
            flat[key] = inner
            continue
        for part, number in inner.items():
            absent = number is None and part in NUMBERS
            flat[key if part in ("mean", "top1") else f"{key}_{part}"] = math.nan if absent else number
    return flat


def _run(record: Record) -> dict[str, Any]:
    complete = record.status == "complete"
    scored = figures(record) if complete else {}
    costs = {"params": record.parameters, "macs": record.macs, "macs_used": record.macs_used}
    return {
        "status": record.status, "reason": record.reason,
        **{name: math.nan if scored.get(name) is None else scored[name] for name in FIGURES[:-1]},
        **(costs if complete else dict.fromkeys(costs, math.nan)),
        "method": record.method, **{name: record.recipe.get(name) for name in ("epochs", "lr", "precision")},
        "seconds": record.volatile.seconds or math.nan, "started": record.volatile.started,
        "commit": record.volatile.commit, "clean": record.volatile.clean, "device": record.volatile.device,
    }  # fmt: skip

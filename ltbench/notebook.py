"""ltbench.load("results/"): records and leaderboard for a notebook, as pandas frames and typed objects. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import planfile, tables
from . import record as records
from .errors import LtbenchError, unknown
from .record import Record
from .schema import TableRow
from .scores import figures

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Results:
    """What a results folder holds.

    records: key -> the record (ltbench/record.py says what its fields are), over all suites in the folder.
    refused: what was damaged, and why.
    """

    folder: Path
    records: Mapping[str, Record]
    refused: tuple[str, ...]

    def rows(self, **options: Any) -> list[TableRow]:
        """The leaderboard's rows (ltbench/schema.py), as `ltbench table --format json` prints them.

        options: those of ltbench.tables.Options, such as baseline="ce", metric="balanced", groups=(100, 20). Raises
        LtbenchError for an option that is none or names nothing.
        """
        allowed = set(tables.Options.__dataclass_fields__) - {"columns"}
        for name in options:
            if name not in allowed:
                raise LtbenchError(unknown("option", name, sorted(allowed)))
        return tables.load(self.folder, tables.Options(**options)).rows

    def leaderboard(self, **options: Any) -> pd.DataFrame:
        """rows() as a frame: a line per row; top1, top1_sd, top1_ci95 and so on are numbers, NaN where undefined."""
        import pandas as pd

        return pd.DataFrame([_line(row) for row in self.rows(**options)])

    def runs(self) -> pd.DataFrame:
        """A line per record: what it is, how it ended, and its figures in per cent where it is complete."""
        import pandas as pd

        return pd.DataFrame([_run(record) for record in self.records.values()])

    def per_class(self) -> pd.DataFrame:
        """A line per complete record and class: training images, test images, right answers, accuracy in per cent."""
        import pandas as pd

        frames = [
            pd.DataFrame(
                {
                    "suite": r.suite, "label": r.label, "seed": r.seed, "key": r.key, "class": range(len(r.total)),
                    "train_images": r.data.counts, "total": r.total, "right": r.right,
                }
            )
            for r in self.records.values()
            if r.status == "complete"
        ]  # fmt: skip
        if not frames:
            return pd.DataFrame(columns=["suite", "label", "seed", "key", "class", "train_images", "total", "right"])
        joined = pd.concat(frames, ignore_index=True)
        return joined.assign(accuracy=100 * joined["right"] / joined["total"].where(joined["total"] > 0))


def load(folder: str | Path) -> Results:
    """The results of a folder: results/, or one suite's folder in it. Raises LtbenchError where it holds none."""
    folder = Path(folder)
    found: dict[str, Record] = {}
    refused: list[str] = []
    for suite in planfile.suite_folders(folder):
        good, bad = records.read_folder(suite)
        found |= good
        refused += bad
    return Results(folder, found, tuple(refused))


def _line(row: TableRow) -> dict[str, Any]:
    """A row in one level: {"top1": {"mean": ..}} is top1, {"gain": {"ci95": ..}} is gain_ci95."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        inner = {"mean": None} if value is None and key == "gain" else value
        if not isinstance(inner, dict) or key == "fingerprints":
            flat[key] = inner
            continue
        for part, number in inner.items():
            flat[key if part in ("mean", "top1") else f"{key}_{part}"] = number
    return flat


def _run(record: Record) -> dict[str, Any]:
    scored = figures(record) if record.status == "complete" else {}
    return {
        "suite": record.suite, "data": record.data.name, "backbone": record.backbone, "label": record.label,
        "seed": record.seed, "status": record.status, "reason": record.reason, "key": record.key,
        **{name: scored.get(name) for name in ("top1", "many", "medium", "few", "ece")},
        "params": record.parameters, "macs": record.macs, "macs_used": record.macs_used,
        "seconds": record.volatile.seconds, "started": record.volatile.started,
    }  # fmt: skip

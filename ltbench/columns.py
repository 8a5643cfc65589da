"""The columns of the printed leaderboard: what a row says in each, and by which number it is sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .digits import fixed, plus_minus
from .errors import LtbenchError, unknown
from .schema import Spread, TableRow
from .scores import GROUPS


@dataclass(frozen=True)
class Column:
    """A column of the printed table."""

    key: str
    title: str
    text: Callable[[TableRow], str]
    number: Callable[[TableRow], float | None] | None = None
    more_is_better: bool = True
    wanted: Callable[[TableRow], bool] = lambda row: True  # shown, unless asked for, where some row wants it


def _of(row: TableRow, key: str) -> Spread:
    found: Spread = row[key]  # type: ignore[literal-required]
    return found


def _label(row: TableRow) -> str:
    adjust = row["adjust"]
    return row["label"] + (f" [oracle: tau={adjust['tau']:g}]" if adjust and adjust["oracle"] and row["n"] else "")


def _top(row: TableRow) -> str:
    shown = plus_minus(row["top1"]["mean"], row["top1"]["ci95"])
    if row["status"] == "complete":
        return shown
    if row["status"] == "partial" and not row["n"]:
        return "n/a"  # complete, but without what it would have to be re-scored from
    value = f"{shown} " if row["n"] else ""
    return value + (f"({row['n']} of {row['asked']})" if row["status"] == "partial" else row["status"])


def _marked(column: Column) -> Column:
    """A column that says what the one of top-1 would: of how many seeds a row is, or why it is of none."""

    def text(row: TableRow) -> str:
        mark = _top(row).removeprefix(plus_minus(row["top1"]["mean"], row["top1"]["ci95"])).strip(" ()")
        return " ".join(filter(None, (column.text(row), mark and f"({mark})")))

    return replace(column, text=text)


def _score(row: TableRow) -> str:
    return plus_minus(row["score"]["mean"], row["score"]["ci95"])


def _plain(key: str) -> Callable[[TableRow], str]:
    return lambda row: fixed(_of(row, key)["mean"])


def _alone(row: TableRow) -> str:
    return "" if row["alone"]["mean"] is None else fixed(row["alone"]["mean"])


def _gain(row: TableRow) -> str:
    return plus_minus(row["gain"]["mean"], row["gain"]["ci95"], sign=True) if row["gain"] else ""


def _scaled(key: str, unit: float, places: int) -> Callable[[TableRow], str]:
    return lambda row: "" if row[key] is None else fixed(row[key] / unit, places)  # type: ignore[literal-required]


def _used(row: TableRow) -> str:
    used = row["macs_used"]
    return "" if used is None or used == row["macs"] else fixed(used / 1e6)


def _published(row: TableRow) -> str:
    reported = row["reported"]
    if reported is None:
        return ""
    mark = "!" if reported["differs"] else "" if reported["same_recipe"] else f" @{reported['epochs']}"
    return fixed(reported["top1"]) + mark + (" best" if reported["best_epoch"] else "")


def _figure(key: str) -> Callable[[TableRow], float | None]:
    return lambda row: _of(row, key)["mean"]


COLUMNS = (
    Column("label", "method", _label),
    Column("n", "n", lambda row: str(row["n"])),
    Column("top1", "top-1", _top, _figure("top1")),
    Column("score", "score", _score, _figure("score"), wanted=lambda row: row["metric"] != "top1"),
    *(Column(name, name, _plain(name), _figure(name)) for name in GROUPS),
    Column("gain", "gain", _gain, lambda row: row["gain"]["mean"] if row["gain"] else None),
    Column("ece", "ECE", _plain("ece"), _figure("ece"), more_is_better=False),
    Column("alone", "alone", _alone, _figure("alone"), wanted=lambda row: row["alone"]["mean"] is not None),
    Column("params", "params k", _scaled("params", 1e3, 0), lambda row: row["params"], more_is_better=False),
    Column("macs", "MACs M", _scaled("macs", 1e6, 1), lambda row: row["macs"], more_is_better=False),
    Column(
        "macs_used", "used M", _used, lambda row: row["macs_used"], more_is_better=False,
        wanted=lambda row: _used(row) != "",
    ),
    Column("seconds", "train min", _scaled("seconds", 60, 1), lambda row: row["seconds"], more_is_better=False),
    Column(
        "reported", "published", _published, lambda row: row["reported"]["top1"] if row["reported"] else None,
        wanted=lambda row: row["reported"] is not None,
    ),
)  # fmt: skip

DROPPED = ("seconds", "params", "alone", "ece", "reported", "macs_used", "macs", "n", "gain", "medium", "many", "few")


def chosen_columns(asked: Sequence[str], rows: Sequence[TableRow] = ()) -> list[Column]:
    """The asked columns by key or title, else all that say something of these rows.

    Raises LtbenchError for an unknown one.
    """
    by_name = {**{c.title: c for c in COLUMNS}, **{c.key: c for c in COLUMNS}}
    for name in asked:
        if name not in by_name:
            raise LtbenchError(f"--columns: {unknown('column', name, [c.key for c in COLUMNS])}")
    if asked:
        first, *others = [by_name[name] for name in asked]
        return [first if "top1" in {c.key for c in (first, *others)} else _marked(first), *others]
    return [c for c in COLUMNS if any(map(c.wanted, rows))]


def title(column: Column, rows: Sequence[TableRow]) -> str:
    """A column's heading above these rows: that of the score is the metric."""
    return rows[0]["metric"].replace("_", " ") if column.key == "score" and rows else column.title


def is_bold(column: Column, row: TableRow) -> bool:
    """Whether a cell is the best's: that of the figure which the rows are compared in."""
    return bool(row["best"]) and column.key == ("top1" if row["metric"] == "top1" else "score")

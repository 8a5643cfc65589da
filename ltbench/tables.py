"""Records -> leaderboard: one row per method, over its seeds; blocks of rows that may be compared. Torch-free."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import record as records
from .errors import LtbenchError, unknown
from .record import PlanFile, Record, Row
from .scores import FIGURES, GROUPS, figures, gain, summary

FORMATS = ("text", "md", "latex", "csv", "json", "html")


@dataclass(frozen=True)
class Options:
    """What `ltbench table` is asked for."""

    baseline: str | None = None
    sort: str | None = None
    columns: tuple[str, ...] = ()
    groups: tuple[int, int] | None = None


@dataclass(frozen=True)
class Leaderboard:
    """The rows, as documented in the README under "How to read the table", and what was refused on the way."""

    rows: list[dict[str, Any]]
    refused: list[str]


def load(results: Path, options: Options = Options()) -> Leaderboard:
    """The leaderboard of a results folder. Raises LtbenchError where it holds none or an option names nothing."""
    rows, refused = [], []
    for folder in records.suite_folders(results):
        plan = records.read_plan(folder)
        found, bad = records.read_folder(folder)
        refused += bad
        rows += _suite_rows(plan, found, bad, options)
    if options.baseline and all(row["label"] != options.baseline for row in rows):
        raise LtbenchError(f"--baseline: {unknown('row', options.baseline, dict.fromkeys(r['label'] for r in rows))}")
    return Leaderboard(_sorted(rows, options.sort), refused)


def _suite_rows(
    plan: PlanFile, found: Mapping[str, Record], bad: Sequence[str], options: Options
) -> list[dict[str, Any]]:
    complete = {key: figures(r, options.groups) for key, r in found.items() if r.status == "complete"}
    baseline = options.baseline or plan.baseline
    tops = {
        (row.block, row.label): {int(seed): complete[key]["top1"] for seed, key in row.keys.items() if key in complete}
        for row in plan.rows
    }
    rows = []
    for row in plan.rows:
        have = {int(seed): found[key] for seed, key in row.keys.items() if key in complete}
        spread = {name: summary([complete[have[seed].key][name] for seed in sorted(have)]) for name in FIGURES}
        over = tops.get((row.block, baseline), {})
        differs = row.label != baseline and over and have
        status, reason = _status(row, found, bad)
        any_record = next(iter(have.values()), None)
        rows.append(
            {
                "suite": plan.suite, "data": row.data, "backbone": row.backbone, "recipe": row.recipe,
                "method": row.method, "label": row.label, "seeds": sorted(have), "n": len(have), "asked": len(row.keys),
                "status": status, "reason": reason, **spread,
                "gain": {"baseline": baseline, **gain(tops[row.block, row.label], over)} if differs else None,
                "params": any_record.parameters if any_record else None,
                "macs": round(any_record.macs) if any_record else None,
                "macs_used": _mean(r.macs_used for r in have.values()),
                "images_per_second": _mean(r.volatile.images_per_second for r in have.values()),
                "seconds": _mean(r.volatile.seconds for r in have.values()),
                "commits": sorted({_commit(r) for r in have.values()}),
                "devices": sorted({r.volatile.device for r in have.values()}),
                "groups": list(options.groups or any_record.data.groups) if any_record else None,
                "fingerprints": any_record.data.fingerprints if any_record else None,
                "reported": None, "block": row.block,
            }
        )  # fmt: skip
    return rows


def _commit(record: Record) -> str:
    return record.volatile.commit[:10] + ("" if record.volatile.clean else "+") if record.volatile.commit else "unknown"


def _status(row: Row, found: Mapping[str, Record], bad: Sequence[str]) -> tuple[str, str]:
    """(complete, partial, missing, failed, oom, diverged, skipped or refused; the reason)."""
    if row.skip:
        return "skipped", row.skip
    here = {seed: found[key] for seed, key in row.keys.items() if key in found}
    if len(here) == len(row.keys) and all(r.status == "complete" for r in here.values()):
        return "complete", ""
    others = [f"seed {seed} {r.status}: {r.reason}" for seed, r in here.items() if r.status != "complete"]
    others += [
        f"seed {s} refused" for s, key in row.keys.items() if any(f"-{key[:8]}-s{s}.json" in text for text in bad)
    ]
    missing = [seed for seed in row.keys if seed not in here and not any(f"seed {seed} refused" == o for o in others)]
    others += [f"seed {', '.join(missing)} missing"] if missing and others else []
    if any(r.status == "complete" for r in here.values()):
        return "partial", "; ".join(others)
    for status in ("diverged", "oom", "failed"):
        if any(r.status == status for r in here.values()):
            return status, "; ".join(others)
    return ("refused", "; ".join(others)) if others else ("missing", "")


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return sum(known) / len(known) if known else None


def _sorted(rows: list[dict[str, Any]], column: str | None) -> list[dict[str, Any]]:
    """The rows in the suite's order, or best first by a column; blocks stay together, rows without a value last."""
    if column is None:
        return rows
    sortable = {**{c.key: c for c in COLUMNS if c.number}, **{c.title: c for c in COLUMNS if c.number}}
    if column not in sortable:
        raise LtbenchError(f"--sort: {unknown('column', column, [c.key for c in COLUMNS if c.number])}")
    number = sortable[column].number
    assert number is not None
    blocks = list(dict.fromkeys((row["suite"], row["block"]) for row in rows))

    def place(row: dict[str, Any]) -> tuple[int, bool, float]:
        value = number(row)
        down = -1 if sortable[column].more_is_better else 1
        return blocks.index((row["suite"], row["block"])), value is None, down * (value or 0.0)

    return sorted(rows, key=place)


# Columns


@dataclass(frozen=True)
class Column:
    """A column of the printed table."""

    key: str
    title: str
    text: Callable[[dict[str, Any]], str]
    number: Callable[[dict[str, Any]], float | None] | None = None
    more_is_better: bool = True


def _spread(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: plus_minus(row[key]["mean"], row[key]["ci95"])


def _top(row: dict[str, Any]) -> str:
    if row["status"] == "complete":
        return _spread("top1")(row)
    value = f"{_spread('top1')(row)} " if row["n"] else ""
    return value + (f"({row['n']} of {row['asked']})" if row["status"] == "partial" else row["status"])


def plus_minus(mean: float | None, half: float | None, sign: bool = False) -> str:
    """48.4±0.7, 48.4 without an interval, n/a without a mean."""
    if mean is None:
        return "n/a"
    return f"{mean:{'+' if sign else ''}.1f}" + (f"±{half:.1f}" if half is not None else "")


def _plain(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: "n/a" if row[key]["mean"] is None else f"{row[key]['mean']:.1f}"


def _gain(row: dict[str, Any]) -> str:
    return plus_minus(row["gain"]["mean"], row["gain"]["ci95"], sign=True) if row["gain"] else ""


def _scaled(key: str, unit: float, digits: int) -> Callable[[dict[str, Any]], str]:
    return lambda row: "" if row[key] is None else f"{row[key] / unit:.{digits}f}"


def _used(row: dict[str, Any]) -> str:
    return "" if row["macs"] is None or row["macs_used"] == row["macs"] else f"{row['macs_used'] / 1e6:.1f}"


def _figure(key: str) -> Callable[[dict[str, Any]], float | None]:
    return lambda row: row[key]["mean"]


COLUMNS = (
    Column("label", "method", lambda row: row["label"]),
    Column("n", "n", lambda row: str(row["n"])),
    Column("top1", "top-1", _top, _figure("top1")),
    *(Column(name, name, _plain(name), _figure(name)) for name in GROUPS),
    Column("gain", "gain", _gain, lambda row: row["gain"]["mean"] if row["gain"] else None),
    Column("ece", "ECE", _plain("ece"), _figure("ece"), more_is_better=False),
    Column("params", "params k", _scaled("params", 1e3, 0), lambda row: row["params"], more_is_better=False),
    Column("macs", "MACs M", _scaled("macs", 1e6, 1), lambda row: row["macs"], more_is_better=False),
    Column("macs_used", "used M", _used, lambda row: row["macs_used"], more_is_better=False),
    Column("seconds", "train min", _scaled("seconds", 60, 1), lambda row: row["seconds"], more_is_better=False),
)


DROPPED = ("seconds", "params", "ece", "macs_used", "macs", "n", "gain", "medium", "many", "few")  # where room is short


def chosen_columns(asked: Sequence[str]) -> list[Column]:
    """The asked columns by key or title, else all. Raises LtbenchError for an unknown one."""
    by_name = {**{c.title: c for c in COLUMNS}, **{c.key: c for c in COLUMNS}}
    for name in asked:
        if name not in by_name:
            raise LtbenchError(f"--columns: {unknown('column', name, [c.key for c in COLUMNS])}")
    return [by_name[name] for name in asked] if asked else list(COLUMNS)


# Formats


def blocks(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows by suite, data, backbone and recipe: never ranked across."""
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault((row["suite"], row["block"]), []).append(row)
    return list(parts.values())


def heading(rows: Sequence[dict[str, Any]]) -> str:
    """What a block holds, in a line."""
    first = rows[0]
    return f"{first['suite']}: {first['data']}, {first['backbone']}, recipe {first['recipe'] or '(unnamed)'}"


def footer(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What one must know to believe a block's figures."""
    ran = [row for row in rows if row["n"]]
    if not ran:
        return ["Nothing has run."]
    commits, devices = (sorted({x for row in ran for x in row[key]}) for key in ("commits", "devices"))
    (many, few), prints = ran[0]["groups"], ran[0]["fingerprints"]
    several = any(row["n"] > 1 for row in ran)
    spread = "± is Student's 95 % half-width over seeds" if several else "one seed: no interval"
    baseline = next((row["gain"]["baseline"] for row in rows if row["gain"]), None)
    return [
        f"Top-1 in per cent at the last epoch; {spread}; n seeds."
        + (f" Gain: over {baseline}, paired by seed." if baseline else ""),
        f"many > {many}, medium {few}..{many}, few < {few} training images. MACs of convolutions and linear layers.",
        f"Rows {prints['rows'][:8]}, pixels {prints['train'][:8]}, commit {', '.join(commits)}, {', '.join(devices)}.",
        *(f"{row['label']}: {row['reason']}" for row in rows if row["reason"]),
    ]


def render(board: Leaderboard, kind: str, options: Options = Options()) -> str:
    """The leaderboard as md, latex, csv, json or html text."""
    if kind == "json":
        return json.dumps(board.rows, indent=1, ensure_ascii=False) + "\n"
    columns = chosen_columns(options.columns)
    if kind == "csv":
        return _csv(board.rows)
    from tabulate import tabulate

    styles = {"md": "github", "latex": "latex_booktabs", "html": "html"}
    parts = []
    for rows in blocks(board.rows):
        cells = [[_cell(column.text(row), kind) for column in columns] for row in rows]
        titles = [column.title for column in columns]
        align = ["left"] + ["right"] * (len(columns) - 1)
        body = tabulate(cells, titles, tablefmt=styles[kind], disable_numparse=True, colalign=align)
        parts.append(_around(kind, heading(rows), body, footer(rows)))
    return "\n".join(parts)


def _cell(text: str, kind: str) -> str:
    return text.replace("|", "\\|") if kind == "md" else text


def _around(kind: str, title: str, body: str, notes: Sequence[str]) -> str:
    """A block's table with its heading and footer."""
    if kind == "md":
        return f"**{title}**\n\n{body}\n\n" + "  \n".join(notes) + "\n"
    if kind == "html":
        from html import escape

        return f"<h2>{escape(title)}</h2>\n{body}\n<p>{'<br>'.join(map(escape, notes))}</p>\n"
    return "\n".join([f"% {title}", body.replace("±", "$\\pm$"), *(f"% {note}" for note in notes)]) + "\n"


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    """All rows, one column per number; the columns are the same whatever has run."""
    out = io.StringIO()
    spread = [f"{name}_{part}" for name in FIGURES for part in ("mean", "sd", "ci95")]
    gains = [f"gain_{part}" for part in ("baseline", "mean", "ci95", "n")]
    prints = [f"fingerprints_{part}" for part in ("rows", "train", "test")]
    plain = [key for key in rows[0] if key not in (*FIGURES, "gain", "fingerprints")] if rows else []
    writer = csv.DictWriter(out, [*plain, *spread, *gains, *prints], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return out.getvalue()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{key}_{part}": inner for part, inner in value.items()}
        elif key not in ("gain", "fingerprints"):  # None where there is none
            flat[key] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat


LABEL_WIDTH = 24  # "ride_distill(experts=3, " stays on one line; longer labels are folded at their spaces


def _fitting(columns: list[Column], rows: Sequence[dict[str, Any]], width: int) -> tuple[list[Column], int]:
    """The columns that fit into that width, the least important ones dropped, and the width that they take."""
    needed = {c.key: max(len(c.title), *(len(c.text(row)) for row in rows)) + 1 for c in columns}
    needed["label"] = min(needed.get("label", 0), LABEL_WIDTH + 1)
    kept = list(columns)
    for key in DROPPED:
        if sum(needed[c.key] for c in kept) <= width:
            break
        kept = [c for c in kept if c.key != key]
    return kept, sum(needed[c.key] for c in kept)


def show(board: Leaderboard, console: Any, options: Options = Options()) -> None:
    """The leaderboard on a rich console, narrow or wide as it has room."""
    from rich.table import Table
    from rich.text import Text

    for rows in blocks(board.rows):
        asked = chosen_columns(options.columns)
        columns, width = (asked, 0) if options.columns else _fitting(asked, rows, console.width)
        table = Table(title=Text(heading(rows)), title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for column in columns:
            first = column.key == "label"
            wide = min(LABEL_WIDTH, max(len(row["label"]) for row in rows)) if first else None
            justify: Any = "left" if first else "right"
            table.add_column(column.title, justify=justify, no_wrap=not first, overflow="fold", min_width=wide)
        for row in rows:
            table.add_row(*(Text(column.text(row)) for column in columns))
        console.print(table, width=max(width, console.width), crop=False)
        for note in footer(rows):
            console.print(Text(note, style="dim"))
        console.print()

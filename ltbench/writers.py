"""The leaderboard as text, Markdown, LaTeX, CSV, JSON and HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .columns import DROPPED, Column, chosen_columns, is_bold, title
from .footers import footer, heading, reasons
from .markup import STYLES, csv_text, grid, latex_comments, markdown_line, plain, visible_json
from .schema import TableRow
from .scores import FIGURES
from .tables import Leaderboard, Options, blocks

FORMATS = ("text", "md", "latex", "csv", "json", "html")
ENDINGS = {".md": "md", ".tex": "latex", ".csv": "csv", ".json": "json", ".html": "html"}


def render(board: Leaderboard, kind: str, options: Options = Options()) -> str:
    """The leaderboard as md, latex, csv, json or html text."""
    if kind == "json":
        return visible_json(board.rows) + "\n"
    if kind == "csv":
        return csv_text(CSV_COLUMNS, map(_flat, board.rows))
    return "\n".join(_block(rows, kind, options) for rows in blocks(board.rows))


def _block(rows: Sequence[TableRow], kind: str, options: Options) -> str:
    """A block's table with its heading and footer."""
    write, bold, _ = STYLES[kind]
    columns = chosen_columns(options.columns, rows)
    cells = [[_cell(column, row, write, bold) for column in columns] for row in rows]
    titles = [write(title(column, rows)) for column in columns]
    notes = [*footer(rows, [column.key for column in columns], only=bool(options.only)), *reasons(rows)]
    name, body = heading(rows[0]), grid(kind, titles, cells)
    if kind == "latex":
        return "\n".join([*latex_comments(name, notes), body]) + "\n"
    if kind == "md":
        return f"**{write(name)}**\n\n{body}\n\n" + "  \n".join(map(markdown_line, notes)) + "\n"
    return f"<h2>{write(name)}</h2>\n{body}\n<p>{'<br>'.join(map(write, notes))}</p>\n"


def _cell(column: Column, row: TableRow, write: Callable[[str], str], bold: str) -> str:
    text = write(column.text(row))
    return bold.format(text) if is_bold(column, row) else text


# CSV: one column per number; the columns are the same whatever has run


_SPREAD, _PRINTS = ("mean", "sd", "ci95"), ("rows", "train", "test")
_NESTED = {
    **dict.fromkeys((*FIGURES, "alone"), _SPREAD),
    "gain": ("baseline", *_SPREAD[::2], "n"),
    "fingerprints": _PRINTS,
    "reported": ("top1", "source", "epochs", "recipe", "best_epoch", "same_recipe", "differs"),
    "adjust": ("tau", "oracle"),
}
CSV_COLUMNS = [
    *(key for key in TableRow.__annotations__ if key not in _NESTED),
    *(f"{key}_{part}" for key, parts in _NESTED.items() for part in parts),
]


def _flat(row: TableRow) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}_{part}": value[part] for part in _NESTED[key] if part in value}
        elif key not in _NESTED:  # None where there is none
            flat[key] = value
    return flat


# Text

LABEL_WIDTH = 24  # "ride_distill(experts=3, " stays on one line; longer labels are folded at their spaces


def _needed(columns: Sequence[Column], rows: Sequence[TableRow]) -> dict[str, int]:
    """The characters that each column takes, with the space behind it; of labels, as few as they may be folded to."""
    needed = {c.key: max(len(title(c, rows)), *(len(c.text(row)) for row in rows)) + 1 for c in columns}
    needed["label"] = min(needed.get("label", 0), LABEL_WIDTH + 1)
    return needed


def _fitting(columns: list[Column], rows: Sequence[TableRow], width: int) -> list[Column]:
    """The columns that fit into that width, the least important ones dropped."""
    needed = _needed(columns, rows)
    kept = list(columns)
    for key in DROPPED:
        if sum(needed[c.key] for c in kept) <= width:
            break
        kept = [c for c in kept if c.key != key]
    return kept


def folded(label: str, width: int) -> str:
    """A label in lines of that width, broken behind "(", "," and spaces where it can be."""
    lines = [""]
    for part in re.findall(r"[^(, ]*[(, ]*", label):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def _left_out(asked: Sequence[Column], shown: Sequence[Column], rows: Sequence[TableRow]) -> list[str]:
    """Which columns there was no room for."""
    missing = [title(column, rows) for column in asked if column not in shown]
    return [f"No room here for {', '.join(missing)}: --columns, --format md or a wider window."] if missing else []


def show(board: Leaderboard, console: Any, options: Options = Options()) -> None:
    """The leaderboard on a rich console, narrow or wide as it has room."""
    from rich.table import Table
    from rich.text import Text

    for rows in blocks(board.rows):
        asked = chosen_columns(options.columns, rows)
        columns = asked if options.columns else _fitting(asked, rows, console.width)
        needed = _needed(columns, rows)
        width = sum(needed[column.key] for column in columns)
        room = LABEL_WIDTH + max(0, console.width - width)
        console.print(Text(plain(heading(rows[0])), style="italic"))
        # as wide as it must be, where the columns that were asked for are too many for the window
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=width if width > console.width else None)
        for column in columns:
            first = column.key == "label"
            justify: Any = "left" if first else "right"
            table.add_column(title(column, rows), justify=justify, no_wrap=not first, overflow="fold")
        for row in rows:
            texts = [plain(column.text(row)) for column in columns]
            cells = [folded(t, room) if c.key == "label" else t for c, t in zip(columns, texts, strict=True)]
            styles = ["bold" if is_bold(column, row) else "" for column in columns]
            table.add_row(*map(Text, cells, styles))
        console.print(table, crop=False)
        keys = [column.key for column in columns]
        notes = footer(rows, keys, bold=console.is_terminal, only=bool(options.only))
        for note in (*_left_out(asked, columns, rows), *notes, *reasons(rows)):
            console.print(Text(plain(note), style="dim"))
        console.print()

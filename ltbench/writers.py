"""The leaderboard as text, Markdown, LaTeX, CSV, JSON and HTML. Whatever a name contains is shown, and nothing runs."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from .columns import DROPPED, Column, chosen_columns, is_bold, title
from .footers import footer, heading, reasons
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
        return _csv(board.rows)
    return "\n".join(_block(rows, kind, options) for rows in blocks(board.rows))


def _block(rows: Sequence[TableRow], kind: str, options: Options) -> str:
    """A block's table with its heading and footer."""
    from tabulate import tabulate

    write, bold, style = STYLES[kind]
    columns = chosen_columns(options.columns, rows)
    cells = [[_cell(column, row, write, bold) for column in columns] for row in rows]
    titles = [write(title(column, rows)) for column in columns]
    notes = [*footer(rows, [column.key for column in columns], only=bool(options.only)), *reasons(rows)]
    name = heading(rows)
    align = ["left"] + ["right"] * (len(columns) - 1)
    if kind == "latex":
        about = [name, "needs the package booktabs", *notes]
        return "\n".join([*(f"% {plain(line)}" for line in about), booktabs(cells, titles, align)]) + "\n"
    body = tabulate(cells, titles, tablefmt=style, disable_numparse=True, colalign=align, preserve_whitespace=True)
    if kind == "md":
        return f"**{write(name)}**\n\n{body}\n\n" + "  \n".join(map(markdown_line, notes)) + "\n"
    return f"<h2>{write(name)}</h2>\n{body}\n<p>{'<br>'.join(map(write, notes))}</p>\n"


def _cell(column: Column, row: TableRow, write: Callable[[str], str], bold: str) -> str:
    text = write(column.text(row))
    return bold.format(text) if is_bold(column, row) else text


# Names are somebody else's text


def plain(text: str) -> str:
    """The text in one line without characters that steer a terminal or turn the reading direction: shown as \\x1b."""
    return "".join(char if _visible(char) else _code(char) for char in text)


def _visible(char: str) -> bool:
    return (char.isascii() and char.isprintable()) or unicodedata.category(char)[0] not in "CZ" or char == "\xa0"


def _code(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def markdown_line(text: str) -> str:
    """The same at the beginning of a line, where some signs make a list, a quotation or a heading."""
    return re.sub(r"^(\d*)([>#+=.)-])", r"\1\\\2", markdown(text))


def markdown(text: str) -> str:
    """Text for a cell or a paragraph of GitHub's Markdown; what means nothing where it stands is left as it is."""
    text = re.sub(r"([\\`*\[\]|&~$]|<(?=[A-Za-z/!?]))", r"\\\1", plain(text))
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\_", text)  # emphasis; within a word it is none
    return re.sub(r"(?<=:)//|(?<=www)\.|(?<=\w)@(?=\w)", lambda found: f"\\{found[0]}", text)  # what becomes a link


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "^": r"\textasciicircum{}",
    "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
    "|": r"\textbar{}", '"': r"\symbol{34}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}",
}  # fmt: skip


def latex(text: str) -> str:
    """Text for LaTeX in any engine and encoding; a letter beyond ASCII stands as its number."""
    text = "".join(_LATEX.get(c, c if c.isascii() else f"{{[}}U+{ord(c):04X}{{]}}") for c in plain(text))
    text = re.sub(r"([-'?!])(?=[-'`])", r"\1{}", text)  # no ligatures
    return re.sub(r"(?<![\w-])(?<!-\{\})-(?=\d)", "$-$", text)  # a minus, not a hyphen


def booktabs(cells: Sequence[Sequence[str]], titles: Sequence[str], align: Sequence[str]) -> str:
    """A tabular of the booktabs package."""
    lines = [" & ".join(words) + r" \\" for words in (titles, *cells)]
    columns = "".join(side[0] for side in align)
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}"])


STYLES: dict[str, tuple[Callable[[str], str], str, str]] = {
    "md": (markdown, "**{}**", "github"),
    "latex": (latex, r"\textbf{{{}}}", ""),
    "html": (lambda text: escape(plain(text)), "<strong>{}</strong>", "unsafehtml"),
}


def visible_json(value: Any) -> str:
    """JSON in which the characters that plain() shows stand as \\u202e: it says the same, and steers nothing."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return "".join(c if c == "\n" or _visible(c) else json.dumps(c)[1:-1] for c in text)


# CSV


def _csv(rows: Sequence[TableRow]) -> str:
    """All rows, one column per number; the columns are the same whatever has run. Text is quoted, numbers are not."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n", restval="", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows(_flat(row) for row in rows)
    return out.getvalue()


_SPREAD, _PRINTS = ("mean", "sd", "ci95"), ("rows", "train", "test")
_NESTED = {
    **dict.fromkeys((*FIGURES, "alone"), _SPREAD),
    "gain": ("baseline", *_SPREAD[::2], "n"),
    "fingerprints": _PRINTS,
    "reported": ("top1", "source", "epochs", "recipe", "same_recipe", "differs"),
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
            flat |= {f"{key}_{part}": csv_value(value[part]) for part in _NESTED[key] if part in value}
        elif key not in _NESTED:  # None where there is none
            flat[key] = csv_value(value)
    return flat


def csv_value(value: Any) -> Any:
    """A number as it is; text in one line, and kept from being a formula where a spreadsheet opens it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    text = plain(" ".join(map(str, value)) if isinstance(value, list) else str(value))
    return f"'{text}" if text[:1] in tuple("=+-@") else text


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
        console.print(Text(plain(heading(rows)), style="italic"))
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

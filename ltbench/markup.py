"""Tables in Markdown, LaTeX, HTML, CSV and JSON. Whatever a name contains is shown, and nothing runs."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple


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


def latex_comments(heading: str, notes: Sequence[str]) -> list[str]:
    """What stands above the tables of grid() in LaTeX."""
    return [f"% {plain(line)}" for line in (heading, "needs the package booktabs", *notes)]


class Style(NamedTuple):
    """How a kind of text is written."""

    write: Callable[[str], str]  # text as that kind has it
    bold: str
    layout: str  # tabulate's name of it; "" for LaTeX


STYLES = {
    "md": Style(markdown, "**{}**", "github"),
    "latex": Style(latex, r"\textbf{{{}}}", ""),
    "html": Style(lambda text: escape(plain(text)), "<strong>{}</strong>", "unsafehtml"),
}


def grid(kind: str, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in md, latex or html of text that is written so already, its first column on the left."""
    align = ["left"] + ["right"] * (len(titles) - 1)
    if kind == "latex":
        return _booktabs(titles, cells, align)
    from tabulate import tabulate

    layout: Any = {"disable_numparse": True, "colalign": align, "preserve_whitespace": True}
    return tabulate(cells, titles, tablefmt=STYLES[kind].layout, **layout)


def _booktabs(titles: Sequence[str], cells: Sequence[Sequence[str]], align: Sequence[str]) -> str:
    """A tabular of the booktabs package."""
    lines = [" & ".join(words) + r" \\" for words in (titles, *cells)]
    columns = "".join(side[0] for side in align)
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([*parts, r"\end{tabular}"])


def visible_json(value: Any) -> str:
    """JSON in which the characters that plain() shows stand as \\u202e: it says the same, and steers nothing."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return "".join(c if c == "\n" or _visible(c) else json.dumps(c)[1:-1] for c in text)


def csv_text(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    """CSV, a column for each name whatever the lines hold. Text is quoted, numbers are not."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", restval="", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows({key: _csv_value(value) for key, value in line.items()} for line in lines)
    return out.getvalue()


def _csv_value(value: Any) -> Any:
    """A number as it is; text in one line, and kept from being a formula where a spreadsheet opens it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return value
    text = plain(" ".join(map(str, value)) if isinstance(value, list) else str(value))
    return f"'{text}" if text[:1] in tuple("=+-@") else text

"""How all figures look: size, type, colours, the frame around the axes. Lengths are in inches, type in points."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from ..blocks import Block, Entry
from ..markup import plain
from ..scores import is_resampled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 5.2  # a text column; on a telephone the type is still 8 pixels high
SIZE = 9.0
SMALL = 8.0
INK, MUTED, GRID, SHADE, PAPER = "#1c1e21", "#5f6672", "#dfe3e8", "#f1f3f6", "#ffffff"
# Okabe and Ito's colours, told apart by the colour-blind; yellow, too pale on white, is left out
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5f6672")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MANY, MEDIUM, FEW, ALL = COLORS[0], COLORS[2], COLORS[1], INK
GROUP_COLORS = {"top1": ALL, "many": MANY, "medium": MEDIUM, "few": FEW}
GROUP_NAMES = {"top1": "all", "many": "many", "medium": "medium", "few": "few"}
BOX = 1.2  # the width of a letter that the font lacks, in its height
FINE = 16  # text is measured so many times as large: in whole pixels small type is a tenth wider or narrower
ROWS = len(COLORS) - 1  # so many rows have a colour of their own in a figure of lines

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": SIZE, "text.parse_math": False,
    "text.color": INK, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.7, "lines.linewidth": 1.6,
    "axes.unicode_minus": True, "text.hinting": "none", "pdf.fonttype": 42, "savefig.dpi": 200, "figure.dpi": 72,
}  # fmt: skip


class NothingError(Exception):
    """A figure has nothing to show; the reason, as a sentence without a full stop."""


@contextmanager
def styled(salt: str, *, text: bool = False) -> Iterator[None]:
    """matplotlib as the figures need it, whatever matplotlibrc says; salt makes the ids in an SVG.

    text: an SVG keeps its text as text (a browser has fonts), else as outlines (which look alike everywhere).
    """
    import warnings

    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn, and that will do
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")  # some scripts, before 3.11
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        matplotlib.rcParams.update({"svg.hashsalt": salt, "svg.fonttype": "none" if text else "path"})
        yield


@cache
def _font(size: float) -> Any:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    font = FT2Font(findfont("DejaVu Sans"))
    font.set_size(FINE * size, 72)
    return font


def width(text: str, size: float = SIZE) -> float:
    """The width of a line of text; letters that the font lacks are drawn as boxes, wider than a browser's would be."""
    font = _font(size)
    font.set_text(text, 0)
    lacking = sum(not font.get_char_index(ord(letter)) for letter in text)
    return float(font.get_width_height()[0]) / 64 / 72 / FINE + lacking * BOX * size / 72


def name(entry: Entry, most: int = 46) -> str:
    """A row's label as a figure prints it."""
    return shortened(entry.label, most)


def shortened(text: str, most: int) -> str:
    """At most so many characters, the middle left out; invisible ones written out."""
    text = plain(text)
    if len(text) <= most:
        return text
    head = (most - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def folded(text: str, letters: int, lines: int = 2) -> str:
    """The text on at most so many lines of so many letters, broken where a label has a joint."""
    out: list[str] = []
    rest = shortened(text, letters * lines - (4 if lines > 1 else 0))
    while len(rest) > letters and len(out) < lines - 1:
        joints = [
            joint.end() for joint in re.finditer(r", |[(=_]", rest) if len(rest) - letters <= joint.end() <= letters
        ]
        at = max(joints, key=lambda end: (" ,(=_".find(rest[end - 1]) * -1, end), default=letters)
        out.append(rest[:at].rstrip())
        rest = rest[at:]
    return "\n".join([*out, rest])


def seed_or_draw(entries: Sequence[Entry]) -> str:
    """What a run of these rows is told by: its seed, or its draw of the training set."""
    return "draw" if any(is_resampled(entry.row["data"]) for entry in entries) else "seed"


def numbers(entries: Sequence[Entry]) -> str:
    """How many runs stand behind the figures of these rows."""
    found = sorted({len(entry.complete) for entry in entries})
    if len(found) == 1:
        return f"n = {found[0]} {seed_or_draw(entries)}{'s' if found[0] > 1 else ''} a row"
    return f"n = {found[0]} to {found[-1]} {seed_or_draw(entries)}s a row" if found else "n = 0"


def interval(entries: Sequence[Entry]) -> str:
    """What the bars are."""
    several, kind = any(len(entry.complete) > 1 for entry in entries), seed_or_draw(entries)
    return f"bars: 95 % interval over {kind}s" if several else f"one {kind}: no interval"


def some(shown: int, there: int, what: str = "rows") -> str:
    """A note where not all are shown."""
    return "" if shown == there else f"{shown} of {there} {what}: the baseline and the highest top-1"


class Sheet:
    """A figure's page: title, notes, legend below; the axes fill what is between."""

    def __init__(self, block: Block, title: str, notes: Sequence[str], height: float, legend: Sequence[Any] = ()):
        from matplotlib.figure import Figure

        labels = [handle.get_label() for handle in legend]
        room = WIDTH - 0.3
        widest = max((width(label, SMALL) + 0.42 for label in labels), default=room)
        columns = max(1, min(len(labels), int(room // widest)))
        self.low = 0.16 * -(-len(labels) // columns) + (0.1 if labels else 0.0)
        lines = [line for note in notes if note for line in textwrap.wrap(note, 88)]
        lines = textwrap.wrap(shortened(block.title, 172), 88) + lines
        self.top = 0.42 + 0.155 * len(lines)
        self.height = height + self.low + self.top
        self.figure: Figure = Figure(figsize=(WIDTH, self.height))
        self.figure.patch.set_facecolor(PAPER)
        at = 0.1 / WIDTH
        self.figure.text(at, 1 - 0.1 / self.height, title, size=10.5, weight="bold", va="top")
        for i, line in enumerate(lines):
            y = 1 - (0.31 + 0.155 * i) / self.height
            self.figure.text(at, y, line, size=SMALL, color=MUTED, va="top")
        if labels:
            self.figure.legend(
                handles=legend, loc="lower left", bbox_to_anchor=(0.05 / WIDTH, 0.02 / self.height), ncols=columns,
                frameon=False, fontsize=SMALL, borderpad=0.2, labelspacing=0.35, handlelength=1.8, columnspacing=1.4,
            )  # fmt: skip

    def axes(
        self, left: float = 0.6, right: float = 0.15, bottom: float = 0.42, top: float = 0.0, **options: Any
    ) -> Axes:
        """Axes with these margins inside what the title and the legend leave."""
        wide, tall = WIDTH - left - right, self.height - self.low - self.top - bottom - top
        box = (left / WIDTH, (self.low + bottom) / self.height, wide / WIDTH, tall / self.height)
        return self.figure.add_axes(box, **options)


def line_handle(label: str, color: str, marker: str = "", **options: Any) -> Any:
    """An entry of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, marker=marker or None, markersize=4.5, label=label, **options)


def patch_handle(label: str, color: str) -> Any:
    """An entry of a legend, for an area."""
    from matplotlib.patches import Patch

    return Patch(facecolor=color, label=label)


def plain_ticks(axis: Any) -> None:
    """Numbers as 0.5, 10, 2000 on a logarithmic axis: 1, 2 and 5 of each decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())

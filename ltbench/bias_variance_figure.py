"""Accuracy, bias and variance of each method, by group of classes: the first picture of the RIDE paper. Torch-free."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .analysis import PARTS, AnalysedBlock, AnalysedRow, Estimate
from .writers import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")
WIDTH, LINE = 7.2, 0.42  # inches: of the figure, of a row
INK, MUTED, GRID, SHADE = "#1c1e21", "#5f6672", "#dfe3e8", "#f1f3f6"
# Okabe and Ito's colours, told apart by the colour-blind
LOOK = {"many": ("#0072b2", "o"), "medium": ("#009e73", "s"), "few": ("#d55e00", "^"), "all": (INK, "D")}
OFFSETS = dict(zip(PARTS, (-0.27, -0.09, 0.09, 0.27), strict=True))
SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0, "text.parse_math": False,
    "text.color": INK, "axes.edgecolor": MUTED, "axes.labelcolor": INK, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelcolor": INK, "ytick.labelcolor": INK, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.linewidth": 0.8,
    "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.7, "savefig.dpi": 200,
}  # fmt: skip
LETTERS = 26  # of a label, before it is folded
MOST = 24  # rows in one figure


def write(blocks: Sequence[AnalysedBlock], folder: Path) -> list[Path]:
    """Write bias_variance-<suite>.svg and .png of each block that has run; the paths. Raises OSError."""
    written: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    names: dict[str, int] = {}
    for block in blocks:
        if not any(row["n"] for row in block["rows"]):
            continue
        names[block["suite"]] = names.get(block["suite"], 0) + 1
        number = f"-{names[block['suite']]}" if names[block["suite"]] > 1 else ""
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in block["suite"])
        for format in FORMATS:
            path = folder / f"bias_variance-{safe}{number}.{format}"
            path.write_bytes(drawn(block, format))
            written.append(path)
    return written


def drawn(block: AnalysedBlock, format: str) -> bytes:
    """The figure as svg, png or pdf: the same bytes each time."""
    import warnings

    import matplotlib

    dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box is drawn, and that will do
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)  # type: ignore[arg-type]
        matplotlib.rcParams.update({"svg.hashsalt": block["suite"]})
        out = io.BytesIO()
        figure(block).savefig(out, format=format, metadata=dates[format])
    return out.getvalue()


def figure(block: AnalysedBlock) -> Figure:
    """Three panels side by side, a line per row and a mark per group with its 95 % interval."""
    from matplotlib.figure import Figure

    ran = [row for row in block["rows"] if row["n"]]
    rows = ran[:MOST]
    above, below = 0.95, 0.75
    height = above + below + LINE * len(rows)
    made = Figure(figsize=(WIDTH, height), facecolor="#ffffff")
    left, gap = 1.85, 0.22
    wide = (WIDTH - left - 0.15 - 2 * gap) / 3
    titles = ("accuracy", "bias", "variance")
    for i, (title, name) in enumerate(zip(titles, ("error", "bias", "variance"), strict=True)):
        box = ((left + i * (wide + gap)) / WIDTH, below / height, wide / WIDTH, LINE * len(rows) / height)
        axes = made.add_axes(box)
        _panel(axes, rows, name, flipped=title == "accuracy")
        axes.set_title(title, size=9, loc="left", pad=6)
        axes.set_yticks(range(len(rows)), [_folded(row["label"]) for row in rows] if i == 0 else [""] * len(rows))
    _around(made, block, rows, len(ran), height)
    return made


def _around(made: Figure, block: AnalysedBlock, rows: Sequence[AnalysedRow], there: int, height: float) -> None:
    """Title, notes and legend."""
    from matplotlib.lines import Line2D

    made.text(0.1 / WIDTH, 1 - 0.1 / height, "Accuracy, bias and variance by group", size=10.5, weight="bold", va="top")
    counts = sorted({row["n"] for row in rows})
    n = "n = " + (f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}")
    about = f"{block['data']}, {block['backbone']}, recipe {block['recipe'] or '(unnamed)'}; {n} {block['runs_are']}"
    shown = f"; the first {len(rows)} of {there} rows" if there > len(rows) else ""
    note = textwrap.wrap(_short(plain(about + shown), 200), 100)[:2]
    for i, line in enumerate(note):
        made.text(0.1 / WIDTH, 1 - (0.33 + 0.16 * i) / height, line, size=8, color=MUTED, va="top")
    made.text(
        0.1 / WIDTH, 0.1 / height, "per cent of test images; bars: 95 % bootstrap interval", size=8, color=MUTED,
        va="bottom",
    )  # fmt: skip
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.5, linestyle="", label=part)
        for part, (color, marker) in LOOK.items()
        if block["sizes"][part]
    ]
    made.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(1 - 0.05 / WIDTH, 0.02 / height), ncols=4, frameon=False,
        fontsize=8, borderpad=0.2, handletextpad=0.1, columnspacing=1.0,
    )  # fmt: skip


def _panel(axes: Axes, rows: Sequence[AnalysedRow], name: str, *, flipped: bool) -> None:
    """One quantity of all rows; flipped: 100 minus it."""
    known = False
    for i, row in enumerate(rows):
        if i % 2 == 0:
            axes.axhspan(i - 0.5, i + 0.5, color=SHADE, linewidth=0, zorder=0)
        for part, (color, marker) in LOOK.items():
            value, low, high = _ends(row["groups"][part]["figures"][name], flipped)
            if value is None:
                continue
            known = True
            y = i + OFFSETS[part]
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=color, linewidth=1.1, solid_capstyle="butt", zorder=2)
            axes.plot(value, y, marker, color=color, markersize=4.2, markeredgewidth=0, zorder=3)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    if not known:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "n/a: needs two runs or more", transform=axes.transAxes, size=8, ha="center", color=MUTED)


def _ends(one: Estimate, flipped: bool) -> tuple[float | None, float | None, float | None]:
    if one["value"] is None or not flipped:
        return one["value"], one["low"], one["high"]
    low, high = (None if end is None else 100 - end for end in (one["high"], one["low"]))
    return 100 - one["value"], low, high


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _folded(label: str) -> str:
    """A label on at most two lines."""
    lines = textwrap.wrap(_short(plain(label), 2 * LETTERS - 4), LETTERS)
    return "\n".join(lines[:2])

"""Accuracy, bias and variance of each method, by group of classes: the first picture of the RIDE paper."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import analysis
from ..analysis import PARTS, AnalysedBlock, AnalysedRow, Estimate
from ..blocks import Block
from ..markup import plain
from ..scores import is_resampled
from .style import (
    GROUP_COLORS,
    INK,
    MUTED,
    PAPER,
    SHADE,
    SMALL,
    WIDTH,
    NothingError,
    folded,
    line_handle,
    shortened,
    width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = GROUP_COLORS | {"all": INK}
SHAPES = dict(zip(PARTS, ("o", "s", "^", "D"), strict=True))
OFFSETS = dict(zip(PARTS, (-0.27, -0.09, 0.09, 0.27), strict=True))  # of their marks within a row
QUANTITIES = {"accuracy": "error", "bias": "bias", "variance": "variance"}
LINE = 0.42  # inches a row
TALL = 24  # rows in one figure
LETTERS = 20
GAP = 0.26  # inches between panels


def draw(block: Block) -> Figure:
    """The figure of a block whose runs are draws of the training set. Raises NothingError."""
    if not is_resampled(block.entries[0].row["data"]):
        raise NothingError("all runs are on one training set; a suite's data.draws resamples it")
    if not any(len(entry.complete) > 2 for entry in block.ran):
        raise NothingError("the main prediction, and so bias and variance, need three draws or more of a row")
    there = {run.key: run for entry in block.entries for run in entry.runs}
    return figure(analysis.of_votes(block.name, [entry.asked for entry in block.entries], there))


def figure(block: AnalysedBlock) -> Figure:
    """Three panels side by side, a line per row and a mark per group with its 95 % interval. Raises NothingError."""
    from matplotlib.figure import Figure

    ran = [row for row in block["rows"] if row["n"]]
    if not ran:
        raise NothingError("no run is complete and holds the predicted classes")
    rows = ran[:TALL]
    labels = [folded(row["label"], LETTERS) for row in rows]
    about = f"{block['data']}, {block['backbone']}, recipe {block['recipe'] or '(unnamed)'}; {_runs(block, rows)}"
    about += f"; the first {len(rows)} of {len(ran)} rows" if len(ran) > len(rows) else ""
    note = [*textwrap.wrap(shortened(about, 172), 88), "per cent of test images; bars: 95 % bootstrap interval"]
    above, below = 0.72 + 0.155 * len(note), 0.55
    height = above + below + LINE * len(rows)
    made = Figure(figsize=(WIDTH, height), facecolor=PAPER)
    left = 0.2 + max(width(line, SMALL) for label in labels for line in label.split("\n"))
    wide = (WIDTH - left - 0.15 - 2 * GAP) / 3
    for i, (title, name) in enumerate(QUANTITIES.items()):
        box = ((left + i * (wide + GAP)) / WIDTH, below / height, wide / WIDTH, LINE * len(rows) / height)
        axes = made.add_axes(box)
        _panel(axes, rows, name, flipped=title == "accuracy")
        axes.set_title(title, size=9, loc="left", pad=5)
        axes.set_yticks(range(len(rows)), labels if i == 0 else [""] * len(rows))
    at = 0.1 / WIDTH
    made.text(at, 1 - 0.1 / height, "Accuracy, bias and variance", size=10.5, weight="bold", va="top")
    for i, line in enumerate(note):
        made.text(at, 1 - (0.31 + 0.155 * i) / height, plain(line), size=SMALL, color=MUTED, va="top")
    handles = [
        line_handle(part, COLORS[part], SHAPES[part], linestyle="", markeredgewidth=0)
        for part in PARTS
        if block["sizes"][part]
    ]
    made.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.05 / WIDTH, 0.02 / height), ncols=4, frameon=False,
        fontsize=SMALL, borderpad=0.2, handletextpad=0.1, columnspacing=1.4,
    )  # fmt: skip
    return made


def _runs(block: AnalysedBlock, rows: Sequence[AnalysedRow]) -> str:
    counts = sorted({row["n"] for row in rows})
    return f"n = {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "") + f" {block['runs_are']} a row"


def _panel(axes: Axes, rows: Sequence[AnalysedRow], name: str, *, flipped: bool) -> None:
    """One quantity of all rows; flipped: 100 minus it."""
    known = False
    for i, row in enumerate(rows):
        if i % 2 == 0:
            axes.axhspan(i - 0.5, i + 0.5, color=SHADE, linewidth=0, zorder=0)
        for part in PARTS:
            value, low, high = _ends(row["groups"][part]["figures"][name], flipped)
            if value is None:
                continue
            known, y, color = True, i + OFFSETS[part], COLORS[part]
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=color, linewidth=1.1, solid_capstyle="butt", zorder=2)
            look = {"color": color, "markersize": 4.2, "markeredgewidth": 0, "zorder": 3, "clip_on": False}
            axes.plot(value, y, SHAPES[part], **look)  # type: ignore[arg-type]
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    if not known:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "n/a: needs\nthree runs", transform=axes.transAxes, size=SMALL, ha="center", color=MUTED)


def _ends(one: Estimate, flipped: bool) -> tuple[float | None, float | None, float | None]:
    if one["value"] is None or not flipped:
        return one["value"], one["low"], one["high"]
    low, high = (None if end is None else 100 - end for end in (one["high"], one["low"]))
    return 100 - one["value"], low, high

"""Figures where each row is a point: accuracy against its price, and against the other end of the tail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..blocks import Block, Entry
from . import names
from .style import COLORS, INK, MUTED, PAPER, NothingError, Sheet, interval, line_handle, name, numbers, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 24  # so many points get their name written beside them, where there is room


def compute(block: Block) -> Figure:
    """Top-1 against multiply-adds; a row that skips parts at test stands where it is used, tied to where it is not."""
    rows = [entry for entry in block.ran if entry.row["macs"]]
    if not rows:
        raise NothingError("no row has run")
    skipping = [entry for entry in rows if entry.row["macs_used"] != entry.row["macs"]]
    legend = [_dot("baseline", INK, "D"), _dot("row", COLORS[0], "o")]
    if skipping:
        open_dot = _dot("the same row, nothing skipped", PAPER, "o", edge=MUTED)
        legend += [_dot("row that skips parts at test", COLORS[1], "o"), open_dot]
    sheet = Sheet(block, "Accuracy against multiply-adds", [f"{numbers(rows)}; {interval(rows)}"], 3.1, legend)
    axes = sheet.axes()
    price = {entry.label: (entry.row["macs_used"] or 0.0) / 1e6 for entry in rows}
    for entry in skipping:
        top, dense = entry.mean("top1"), _dense(entry)
        axes.plot([price[entry.label], dense], [top, top], color=MUTED, linewidth=0.8, zorder=2)
        axes.plot(dense, top, "o", markerfacecolor=PAPER, markeredgecolor=MUTED, markersize=5, zorder=3)
    colors = [INK if e is block.base else COLORS[1] if e in skipping else COLORS[0] for e in rows]
    points = [(price[entry.label], entry.mean("top1")) for entry in rows]
    halves = [(0.0, entry.half("top1")) for entry in rows]
    everything = [*price.values(), *(_dense(entry) for entry in skipping)]
    if max(everything) > 4 * min(everything) > 0:
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
        axes.set_xlim(min(everything) / 1.5, max(everything) * 1.5)
    else:
        _pad(axes, "x", everything, 0.3)
    ties = [((price[e.label], e.mean("top1")), (_dense(e), e.mean("top1"))) for e in skipping]
    _points(block, axes, rows, points, halves, colors, ties)
    axes.set_xlabel("multiply-adds per test image, as used (millions)")
    axes.set_ylabel("top-1 (per cent)")
    return sheet.figure


def _dense(entry: Entry) -> float:
    return (entry.row["macs"] or 0) / 1e6


def tradeoff(block: Block) -> Figure:
    """Accuracy on classes with few training images against that on classes with many."""
    rows = [entry for entry in block.ran if None not in (entry.row["many"]["mean"], entry.row["few"]["mean"])]
    if not rows:
        raise NothingError("no row has run on classes of both many and few training images")
    legend = [_dot("baseline; dashed: its accuracies", INK, "D"), _dot("row", COLORS[0], "o")]
    sheet = Sheet(block, "Head against tail", [f"{numbers(rows)}; {interval(rows)}"], 3.3, legend)
    axes = sheet.axes()
    points = [(entry.mean("many"), entry.mean("few")) for entry in rows]
    halves = [(entry.half("many"), entry.half("few")) for entry in rows]
    _pad(axes, "x", [x + s * h for (x, _), (h, _) in zip(points, halves, strict=True) for s in (-1, 1)], 0.25)
    _points(block, axes, rows, points, halves, [INK if e is block.base else COLORS[0] for e in rows])
    for entry, (x, y) in zip(rows, points, strict=True):
        if entry is block.base:
            axes.axvline(x, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            axes.axhline(y, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    many, few = rows[0].complete[0].data.groups
    axes.set_xlabel(f"accuracy on many: classes of more than {many} training images (per cent)")
    axes.set_ylabel(f"on few: classes of fewer than {few} (per cent)")
    return sheet.figure


def _points(
    block: Block,
    axes: Axes,
    rows: list[Entry],
    points: list[tuple[float, float]],
    halves: list[tuple[float, float]],
    colors: list[str],
    ties: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
) -> None:
    """Points with their intervals and as many names as find room, the baseline's and the best ones first.

    ties: lines that are drawn already, and that names keep off.
    """
    from matplotlib.collections import LineCollection

    _pad(axes, "y", [y + s * h for (_, y), (_, h) in zip(points, halves, strict=True) for s in (-1, 1)], 0.15)
    bars = [names.box_of(axes, *ends) for ends in ties]
    for color in dict.fromkeys(colors):
        mine = [(p, h) for p, h, c in zip(points, halves, colors, strict=True) if c == color]
        wide = [((x - dx, y), (x + dx, y)) for (x, y), (dx, _) in mine if dx]
        tall = [((x, y - dy), (x, y + dy)) for (x, y), (_, dy) in mine if dy]
        axes.add_collection(LineCollection(wide + tall, colors=color, linewidths=1.0, alpha=0.6, zorder=3))
        marker = "D" if color == INK else "o"
        xs, ys = zip(*(point for point, _ in mine), strict=True)
        axes.plot(xs, ys, marker, color=color, markeredgecolor=PAPER, markeredgewidth=0.6, markersize=6, zorder=4)
        bars += [names.box_of(axes, low, high) for low, high in wide + tall]
    first = block.foremost(NAMED, rows)
    order = sorted(first, key=lambda e: (e is not block.base, -e.mean("top1"), e.label))
    others = [names.box_of(axes, p, p) for p in points]
    where = {id(entry): point for entry, point in zip(rows, points, strict=True)}
    names.write(axes, [where[id(e)] for e in order], [name(e) for e in order], others, bars)


def _pad(axes: Axes, which: str, values: list[float], share: float) -> None:
    """Limits around the values, never a range of zero."""
    low, high = min(values), max(values)
    room = max((high - low) * share, abs(high) * 0.03, 1e-3)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low - room, high + room)


def _dot(label: str, color: str, marker: str, edge: str | None = None) -> Any:
    return line_handle(label, color, marker, linestyle="", markeredgecolor=edge or color)

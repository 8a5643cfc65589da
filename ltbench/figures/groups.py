"""Figures by group of classes: gains, experts used, single experts beside their ensemble, where the tail goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import scores
from ..analysis import predicted
from ..blocks import Block, Entry
from ..confusion import tables
from ..digits import fixed
from ..record import Record
from .style import (
    GROUP_COLORS,
    GROUP_NAMES,
    INK,
    MARKERS,
    MUTED,
    PAPER,
    SHADE,
    SMALL,
    WIDTH,
    NothingError,
    Sheet,
    folded,
    interval,
    line_handle,
    name,
    numbers,
    patch_handle,
    seed_or_draw,
    shortened,
    some,
    width,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARTS = tuple(GROUP_NAMES)  # top1, many, medium, few
OFFSETS = dict(zip(PARTS, (0.27, 0.09, -0.09, -0.27), strict=True))  # of their marks within a row
PANELS = 6  # figures of each image that are shown
TALL = 26  # rows in a figure that grows with them: those of cifar100_lt
LETTERS = 24
WORST = 12  # tail classes in the table of confusions
AWAY = 3  # hard negatives of each
NAMES, HEAD, LINE = 1.35, 0.55, 0.21  # inches: left of that table, above it, of a line
CELL = 7.0  # points


def gain(block: Block) -> Figure:
    """What each row gains over the baseline in each group, paired by seed or draw."""
    base = block.base
    if base is None:
        raise NothingError(f"the baseline, {block.baseline}, has not run")
    there = [entry for entry in block.ran if entry is not base and set(entry.figures) & set(base.figures)]
    if not there:
        raise NothingError(f"no row but the baseline has run with a {seed_or_draw(block.ran)} of {block.baseline}")
    rows = block.foremost(TALL, there)
    spreads = [{part: _gain(entry, base, part) for part in PARTS} for entry in rows]
    several = any(spread["top1"]["n"] > 1 for spread in spreads)
    kind = seed_or_draw(rows)
    bars = f"bars: 95 % interval of the differences, paired by {kind}" if several else f"one {kind}: no interval"
    ns = sorted({spread["top1"]["n"] for spread in spreads})
    pairs = f"n = {ns[0]} to {ns[-1]} pairs" if len(ns) > 1 else f"n = {ns[0]} pair{'s' if ns[0] > 1 else ''}"
    hollow = "; hollow: one pair, no interval" if several and ns[0] == 1 else ""
    notes = [some(len(rows), len(there), "rows"), f"over {name(base)}; {bars}; {pairs} of {kind}s a row{hollow}"]
    sheet = Sheet(block, "Gain by group", notes, 0.5 + 0.48 * len(rows), _group_legend())
    axes = _listed(sheet, rows)
    for part in PARTS:
        _marks(axes, part, [(spread[part]["mean"], spread[part]["ci95"]) for spread in spreads])
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_xlabel("gain in accuracy (percentage points)")
    return sheet.figure


def _gain(entry: Entry, base: Entry, part: str) -> dict[str, Any]:
    ours, theirs = ({seed: found[part] for seed, found in one.figures.items()} for one in (entry, base))
    return scores.gain(ours, theirs)


def _marks(axes: Axes, part: str, values: Sequence[tuple[float | None, float | None]]) -> None:
    """A group's points, row by row, with their intervals; hollow without one."""
    color, at = GROUP_COLORS[part], OFFSETS[part]
    look: dict[str, Any] = {"markeredgecolor": color, "markeredgewidth": 1.1, "markersize": 4.5, "linestyle": ""}
    known = [(mean, half, at - i) for i, (mean, half) in enumerate(values) if mean is not None]
    sure = [(mean, half, y) for mean, half, y in known if half is not None]
    axes.hlines([y for *_, y in sure], [m - h for m, h, _ in sure], [m + h for m, h, _ in sure], color=color, lw=1.3)
    unsure = [(mean, half, y) for mean, half, y in known if half is None]
    for face, kind in ((color, sure), (PAPER, unsure)):
        xs, ys = [one[0] for one in kind], [one[2] for one in kind]
        axes.plot(xs, ys, MARKERS[PARTS.index(part)], markerfacecolor=face, **look)


def _group_legend() -> list[Any]:
    return [
        line_handle(GROUP_NAMES[part], GROUP_COLORS[part], marker, linestyle="")
        for part, marker in zip(PARTS, MARKERS, strict=False)
    ]


def _listed(sheet: Sheet, rows: Sequence[Entry], bottom: float = 0.42, top: float = 0.0) -> Axes:
    """Axes whose rows are the leaderboard's, first on top, every other one shaded."""
    texts = [folded(entry.label, LETTERS) for entry in rows]
    left = 0.25 + max(width(line, 8) for text in texts for line in text.split("\n"))
    axes = sheet.axes(left=left, bottom=bottom, top=top)
    axes.set_yticks([-i for i in range(len(rows))], texts)
    axes.set_ylim(0.55 - len(rows), 0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for i in range(0, len(rows), 2):
        axes.axhspan(-i - 0.5, -i + 0.5, color=SHADE, linewidth=0, zorder=0)
    return axes


def used(block: Block) -> Figure:
    """What methods report for each test image, such as the experts used, by group."""
    there = [entry for entry in block.ran if entry.complete[0].per_image]
    if not there:
        raise NothingError("no row reports a figure for each image, such as the experts that a router used")
    keys = sorted({key for entry in there for key in entry.complete[0].per_image})
    panels = {key: rows for key in keys if (rows := block.foremost(TALL, _reporting(there, key)))}
    if not panels:
        raise NothingError("no row reports a figure for each image with every run")
    shown = list(panels.items())[:PANELS]
    seen = list(dict.fromkeys(entry for _, rows in shown for entry in rows))
    notes = [
        "" if len(shown) == len(panels) else f"{len(shown)} of {len(panels)} figures",
        f"mean over test images; {interval(seen)}; {numbers(seen)}",
    ]
    heights = [0.6 + 0.48 * len(rows) for _, rows in shown]
    sheet = Sheet(block, "Figures of each image by group", notes, sum(heights), _group_legend())
    for i, (key, rows) in enumerate(shown):
        axes = _listed(sheet, rows, bottom=0.52 + sum(heights[i + 1 :]), top=sum(heights[:i]))
        _means(axes, block, key, rows)
    return sheet.figure


def _means(axes: Axes, block: Block, key: str, rows: Sequence[Entry]) -> None:
    """One figure of each row, by group."""
    spreads = {
        part: [
            scores.summary([_per_image(run, key, block.groups.get(part)) for run in entry.complete]) for entry in rows
        ]
        for part in PARTS
    }
    for part, found in spreads.items():
        _marks(axes, part, [(spread["mean"], spread["ci95"]) for spread in found])
    ends = [
        (spread["mean"] or 0) + sign * (spread["ci95"] or 0)
        for of in spreads.values()
        for spread in of
        for sign in (1, -1)
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    axes.set_xlim(low * 1.08, high * 1.08 or float(not low))
    axes.set_xlabel(f"{shortened(key, 60).replace('_', ' ')} (mean per test image)")


def _reporting(entries: Sequence[Entry], key: str) -> list[Entry]:
    return [entry for entry in entries if all(key in run.per_image for run in entry.complete)]


def _per_image(run: Record, key: str, classes: Sequence[int] | None) -> float | None:
    """The mean over the test images of these classes, or of all; None for a group without any."""
    if classes is None:
        return run.per_image[key].mean
    images = sum(run.total[c] for c in classes)
    return sum(run.per_image[key].by_class[c] * run.total[c] for c in classes) / images if images else None


def members(block: Block) -> Figure:
    """Each expert's accuracy by group, beside the ensemble's."""
    there = [entry for entry in block.ran if all(run.members for run in entry.complete)]
    if not there:
        raise NothingError("no row has single experts")
    rows = block.foremost(5, there)
    legend = [
        line_handle("one expert", PAPER, "o", linestyle="", markeredgecolor=MUTED),
        line_handle("their ensemble", INK, "D", linestyle=""),
    ]
    notes = [some(len(rows), len(there), "rows with experts"), f"mean over {seed_or_draw(rows)}s; {numbers(rows)}"]
    sheet = Sheet(block, "Single experts beside their ensemble", notes, 0.5 + 0.95 * len(rows), legend)
    parts = [part for part in PARTS if part == "top1" or block.groups[part]]
    lines = [(entry, part) for entry in rows for part in parts]
    texts = [folded(entry.label, LETTERS) for entry in rows]
    left = 0.85 + max(width(line, 8) for text in texts for line in text.split("\n"))
    axes = sheet.axes(left=left)
    axes.set_yticks([-i for i in range(len(lines))], [GROUP_NAMES[part] for _, part in lines])
    axes.set_ylim(0.6 - len(lines), 0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    for i, text in enumerate(texts):
        middle = -(i * len(parts) + (len(parts) - 1) / 2)
        put: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axes.annotate(text, (0, middle), (-44, 0), size=8, ha="right", va="center", **put)
        if i % 2 == 0:
            axes.axhspan(middle - len(parts) / 2, middle + len(parts) / 2, color=SHADE, linewidth=0, zorder=0)
    for i, (entry, part) in enumerate(lines):
        _experts(axes, entry, None if part == "top1" else block.groups[part], -i, GROUP_COLORS[part])
    axes.margins(x=0.06)
    axes.set_xlabel("accuracy (per cent)")
    return sheet.figure


def _experts(axes: Axes, entry: Entry, classes: Sequence[int] | None, y: float, color: str) -> None:
    chosen = list(range(len(entry.complete[0].total))) if classes is None else list(classes)
    single = np.asarray([run.members for run in entry.complete], dtype=float)[:, :, chosen].sum(2)  # [n, E]
    total = np.asarray([run.total for run in entry.complete], dtype=float)[:, chosen].sum(1)
    right = np.asarray([run.right for run in entry.complete], dtype=float)[:, chosen].sum(1)
    if not total.all():
        return
    shares, whole = (100 * single / total[:, None]).mean(0), float((100 * right / total).mean())
    axes.plot([shares.min(), whole], [y, y], color=color, linewidth=0.8, zorder=2)
    ring: dict[str, Any] = {
        "markerfacecolor": PAPER,
        "markeredgecolor": color,
        "markersize": 5.5,
        "markeredgewidth": 1.0,
    }
    axes.plot(shares, [y] * len(shares), "o", **ring, zorder=3)
    axes.plot(whole, y, "D", color=color, markersize=5.5, zorder=5)


def confusion(block: Block) -> Figure:
    """Which classes take the test images of the rarest ones, in the baseline and in the best row on the tail."""
    tail = block.groups["few"]
    ranked = sorted(block.ran, key=lambda entry: -(entry.row["few"]["mean"] or 0.0))
    best = next((entry for entry in ranked if _is_whole(entry)), None)
    if not tail or not best:
        raise NothingError("no record holds the predicted classes" if tail else "no class has few training images")
    rows = [block.base, best] if block.base and block.base is not best and _is_whole(block.base) else [best]
    chosen = sorted(tail, key=lambda c: (block.counts[c], c))[:WORST]
    left_out = f", {len(chosen)} of the {len(tail)} classes of few" if len(chosen) < len(tail) else ""
    which = "the baseline, which has" if best is block.base else "the baseline, and the row with"
    notes = [
        f"{which if block.base in rows else 'the row with'} the highest accuracy on few; {numbers(rows)}",
        f"on the left: class (training images), the rarest first{left_out}",
        "in the cells: the class that takes its test images: per cent of them; coloured by that class's group",
    ]
    legend = [patch_handle("right", MUTED)]
    legend += [patch_handle(f"wrong, a class of {part}", GROUP_COLORS[part]) for part in scores.GROUPS]
    tall = HEAD + LINE * len(chosen)
    sheet = Sheet(block, "Tail classes and their hard negatives", notes, 0.1 + tall * len(rows), legend)
    for i, entry in enumerate(rows):
        below = tall * (len(rows) - 1 - i)
        axes = sheet.axes(left=NAMES, right=0.1, bottom=0.05 + below, top=tall * i + HEAD)
        _frame(axes, entry, [_counted(block, c) for c in chosen])
        _negatives(axes, entry, chosen, block)
    return sheet.figure


def _counted(block: Block, c: int) -> str:
    """A class with its training images, within NAMES inches."""
    count = f" ({block.counts[c]})"
    return f"{_called(block, c, NAMES - 0.1 - width(count, CELL))}{count}"


def _called(block: Block, c: int, room: float) -> str:
    """A class's name in so many inches; where it has none its number, which stands before a name that must be cut."""
    if not block.named:
        return str(c)
    name = shortened(block.names[c], 60)
    cuts = [name, *(f"{c} {name[:most]}…" for most in range(len(name) - 1, 0, -1))]
    return next((cut for cut in cuts if width(cut, CELL) <= room), str(c))


def _frame(axes: Axes, entry: Entry, names: Sequence[str]) -> None:
    """The head of a table, and the classes on its left."""
    axes.set_title(folded(entry.label, 60, 1), size=SMALL, loc="left", pad=17)
    axes.set_xlim(0, 0.5 + AWAY)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks([0.25, *range(1, AWAY + 1)], ["right", "1st", "2nd", "3rd"])
    axes.grid(visible=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=CELL)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _negatives(axes: Axes, entry: Entry, chosen: Sequence[int], block: Block) -> None:
    """The cells of a table: per class the share right, and the classes that its images most often go to."""
    counted = [tables(said[None], run.total) for run in entry.complete if (said := predicted(run)) is not None]
    colors = {c: GROUP_COLORS[part] for part, members in block.groups.items() for c in members}
    room = axes.get_position().width * WIDTH / (0.5 + AWAY) - width(": 100 ", CELL)
    for i, c in enumerate(chosen):
        taken = np.sum([run.row(c) for run in counted], axis=0)
        shares = 100 * taken / max(taken.sum(), 1)
        _cell(axes, (0.25, i), 0.5, float(shares[c]), MUTED)
        shares[c] = 0
        for j, other in enumerate(np.argsort(-shares, kind="stable")[:AWAY].tolist(), start=1):
            if shares[other] > 0:
                _cell(axes, (j, i), 1, float(shares[other]), colors[other], f"{_called(block, other, room)}: ")


def _cell(axes: Axes, middle: tuple[float, float], wide: float, share: float, color: str, whose: str = "") -> None:
    """A share in per cent, the stronger its colour the higher it is."""
    from matplotlib.patches import Rectangle

    corner, strength = (middle[0] - wide / 2 + 0.02, middle[1] - 0.47), round(0.12 + 0.55 * share / 100, 3)
    axes.add_artist(Rectangle(corner, wide - 0.04, 0.94, facecolor=color, alpha=strength, linewidth=0))
    axes.text(*middle, f"{whose}{fixed(share, 0)}", size=CELL, ha="center", va="center_baseline", color=INK)


def _is_whole(entry: Entry) -> bool:
    """Whether each of its runs holds a predicted class for each test image."""
    return all(predicted(run) is not None for run in entry.complete)

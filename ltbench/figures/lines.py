"""Figures of lines: accuracy over the classes, trust in confidence, training, and what a shift of the logits does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import rescore, scores
from ..blocks import Block, Entry
from ..digits import fixed
from ..record import Epoch, Record
from .style import (
    COLORS,
    INK,
    MARKERS,
    MUTED,
    ROWS,
    SHADE,
    SMALL,
    NothingError,
    Sheet,
    folded,
    line_handle,
    name,
    numbers,
    plain_ticks,
    seed_or_draw,
    shortened,
    some,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 6
DASHES = ("———", "- - -", "·····")
TAUS = tuple(step / 8 for step in range(17))  # 0 to 2


def looks(block: Block, rows: list[Entry]) -> list[dict[str, Any]]:
    """Colour, marker and dash of each row's line: the baseline is dashed and dark."""
    others = iter(range(len(COLORS)))
    plain: dict[str, Any] = {"color": INK, "marker": "", "linestyle": (0, (4, 2))}
    return [
        plain if entry is block.base else {"color": COLORS[i := next(others)], "marker": MARKERS[i], "linestyle": "-"}
        for entry in rows
    ]


def classes(block: Block) -> Figure:
    """Accuracy of each class, most frequent first, smoothed; below, how many training images it had."""
    rows = block.foremost(ROWS)
    if not rows:
        raise NothingError("no row has run")
    counts = np.asarray(block.counts)
    order = np.argsort(-counts, kind="stable")
    span = 2 * (len(counts) // 25) + 1
    looked = looks(block, rows)
    legend = [_handle(name(entry), look) for entry, look in zip(rows, looked, strict=True)]
    smooth = f"each point the mean of {span} neighbouring classes" if span > 1 else "one point a class"
    notes = [some(len(rows), len(block.ran)), f"{smooth}; {numbers(rows)}"]
    sheet = Sheet(block, "Accuracy over the classes", notes, 3.6, legend)
    axes, below = sheet.axes(bottom=1.13, top=0.12), sheet.axes(bottom=0.42, top=2.55)
    place = np.arange(1, len(counts) + 1)
    for entry, look in zip(rows, looked, strict=True):
        share = _smooth(_per_class(entry)[order], span)
        every = max(1, len(counts) // 12)
        axes.plot(place, share, **look, markersize=4, markevery=every, linewidth=1.5, clip_on=False)
    below.fill_between(place, counts[order], 0.5, color=MUTED, alpha=0.35, step="mid", linewidth=0)
    below.set_yscale("log")
    below.set_ylim(max(0.5, counts.min() * 0.6), counts.max() * 1.5)
    plain_ticks(below.yaxis)
    below.yaxis.set_major_locator(_decades())
    _shade(block, (axes, below), counts[order])
    axes.set_ylim(0, 100)
    axes.set_xlim(0.5, len(counts) + 0.5)
    below.set_xlim(0.5, len(counts) + 0.5)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("accuracy (per cent)")
    below.set_ylabel("images")
    below.set_xlabel("class, by its number of training images (most first)")
    return sheet.figure


def _per_class(entry: Entry) -> np.ndarray:
    """Per cent right of each class [C], mean over seeds; nan for a class without test images."""
    right = np.asarray([run.right for run in entry.complete], dtype=float).sum(0)
    total = np.asarray([run.total for run in entry.complete], dtype=float).sum(0)
    return 100 * right / np.where(total > 0, total, np.nan)


def _smooth(values: np.ndarray, span: int) -> np.ndarray:
    """The mean of what is known among the `span` neighbours; fewer of them at the ends."""
    known = np.convolve(~np.isnan(values), np.ones(span), "same")
    return np.convolve(np.nan_to_num(values), np.ones(span), "same") / np.where(known > 0, known, np.nan)


def _shade(block: Block, both: tuple[Axes, Axes], counts: np.ndarray) -> None:
    """The stretches of many, medium and few, the middle one shaded."""
    many, few = block.ran[0].complete[0].data.groups
    ends = [0, int((counts > many).sum()), int((counts >= few).sum()), len(counts)]
    for i, group in enumerate(scores.GROUPS):
        low, high = ends[i] + 0.5, ends[i + 1] + 0.5
        if low == high:
            continue
        if group == "medium":
            for axes in both:
                axes.axvspan(low, high, color=SHADE, linewidth=0, zorder=0)
        text = f"{group} ({ends[i + 1] - ends[i]})" if high - low > len(counts) / 8 else group
        if high - low > len(counts) / 16:
            both[0].text((low + high) / 2, 101.5, text, size=SMALL, color=MUTED, ha="center", va="bottom")


def _decades() -> Any:
    from matplotlib.ticker import LogLocator

    return LogLocator(10)


def reliability(block: Block) -> Figure:
    """How often a prediction is right against how sure it is."""
    rows = block.foremost(ROWS, [entry for entry in block.ran if all(run.calibration for run in entry.complete)])
    if not rows:
        raise NothingError("no record holds calibration bins")
    looked = looks(block, rows)
    eces = ["" if (ece := entry.row["ece"]["mean"]) is None else f"ECE {fixed(ece)}" for entry in rows]
    legend = [_handle(f"{name(e, 36)}: {ece}", look) for e, ece, look in zip(rows, eces, looked, strict=True)]
    notes = [some(len(rows), len(block.ran)), f"bins of 10 images or more; ECE in per cent; {numbers(rows)}"]
    sheet = Sheet(block, "Reliability of the confidence", notes, 4.0, legend)
    axes, below = sheet.axes(bottom=1.05), sheet.axes(bottom=0.42, top=3.08)
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8, zorder=1)
    axes.text(92, 95, "calibrated", size=SMALL, color=MUTED, ha="right", va="center")
    for entry, look in zip(rows, looked, strict=True):
        count, right, confidence = _bins(entry)
        full = count >= 10
        axes.plot(100 * confidence[full] / count[full], 100 * right[full] / count[full], **look, markersize=4)
        edges = np.linspace(0, 100, len(count) + 1)
        below.stairs(100 * count / count.sum(), edges, color=look["color"], linewidth=1.0, baseline=None)
    for each in (axes, below):
        each.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    below.set_ylim(bottom=0)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("right (per cent)")
    below.set_ylabel("images (%)")
    below.set_xlabel("confidence of the prediction (per cent)")
    return sheet.figure


def _bins(entry: Entry) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(images, right, summed confidence) in each bin, over the seeds."""
    bins = [run.calibration for run in entry.complete if run.calibration]
    parts = [np.sum([getattr(one, part) for one in bins], axis=0) for part in ("count", "right", "confidence")]
    return parts[0].astype(float), parts[1].astype(float), parts[2].astype(float)


def training(block: Block) -> Figure:
    """The loss terms of each row over the epochs, a panel a row; runs that diverged are among them."""
    trained = [entry for entry in block.entries if any(len(run.history) > 1 for run in entry.runs)]
    if not trained:
        raise NothingError("no record holds more than one epoch of training")
    fallen = [entry for entry in trained if any(run.status == "diverged" for run in entry.runs)][:2]
    best = block.foremost(PANELS - len(fallen), [entry for entry in trained if entry not in fallen])
    rows = [entry for entry in trained if entry in best or entry in fallen]
    lines = -(-len(rows) // 2)
    notes = [
        "" if len(rows) == len(trained) else f"{len(rows)} of {len(trained)} trained rows",
        f"mean over each epoch's steps; one line a {seed_or_draw(rows)}; dotted: the rate drops; losses differ "
        "between methods, so their heights do not compare",
    ]
    sheet = Sheet(block, "Training", notes, 1.55 * lines + 0.2)
    wide = 1.95
    for i, entry in enumerate(rows):
        line, column = divmod(i, 2)
        left = 0.62 + column * (wide + 0.55)
        top = 0.2 + 1.55 * line
        axes = sheet.axes(left=left, right=5.2 - left - wide, bottom=1.55 * lines + 0.2 - top - 1.08, top=top)
        _curves(axes, entry)
        if i + 2 >= len(rows):
            axes.set_xlabel("epoch")
        if column == 0:
            axes.set_ylabel("loss")
    return sheet.figure


def _curves(axes: Axes, entry: Entry) -> None:
    """The terms of one row, named in their colours in the corner."""
    from matplotlib.ticker import MaxNLocator

    runs = [run for run in entry.runs if len(run.history) > 1]
    terms = sorted({term for run in runs for epoch in run.history for term in epoch.terms})
    for i, (term, color, dash) in enumerate(zip(terms, COLORS, ("-", (0, (4, 1.5)), (0, (1, 1))) * 3, strict=False)):
        for run in runs:
            epochs = [epoch for epoch in _thinned(run) if math.isfinite(epoch.terms.get(term, math.nan))]
            xs, ys = [epoch.epoch + 1 for epoch in epochs], [epoch.terms[term] for epoch in epochs]
            axes.plot(xs, ys, color=color, linestyle=dash, linewidth=1.1)
        text = f"{shortened(term, 20)} {DASHES[i % 3]}"
        axes.text(0.98, 0.97 - 0.13 * i, text, transform=axes.transAxes, size=7, color=color, ha="right", va="top")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.16 * len(terms[: len(COLORS)]) * (high - low))  # room for the names
    for epoch in _drops(runs[0]):
        axes.axvline(epoch, 0, 0.6, color=MUTED, linewidth=0.7, linestyle=":")
    fallen = [run.seed for run in runs if run.status == "diverged"]
    axes.set_title(folded(entry.label, 30, 1), size=8, loc="left", pad=3)
    if fallen:
        text = f"{seed_or_draw([entry])} {', '.join(map(str, fallen))} diverged"
        axes.text(0.03, 0.05, text, transform=axes.transAxes, size=SMALL, color=COLORS[1])
    axes.margins(x=0.02)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _thinned(run: Record) -> list[Epoch]:
    """A hundred epochs or fewer, evenly over the run; the last one is among them."""
    step = -(-len(run.history) // 100)
    return list(run.history[::-step][::-1])


def _drops(run: Record) -> list[float]:
    """Between which epochs the learning rate falls to less than half."""
    pairs = zip(run.history, run.history[1:], strict=False)
    return [after.epoch + 0.5 for before, after in pairs if after.lr < before.lr / 2]


def adjust(block: Block) -> Figure:
    """Top-1 after tau times the log class frequencies is taken off the logits: an oracle, for tau is a choice."""
    curves = {id(entry): found for entry in block.ran if (found := _sweep(block, entry))}
    if not curves:
        raise NothingError(f"it needs the test logits that `ltbench run` leaves, and {block.weights} (--runs) has none")
    rows = block.foremost(ROWS, [entry for entry in block.ran if id(entry) in curves])
    looked = looks(block, rows)
    legend = [_handle(name(entry), look) for entry, look in zip(rows, looked, strict=True)]
    legend += [line_handle("dashed thin: few", MUTED, linestyle=(0, (2, 2)), linewidth=0.9)]
    notes = [
        "oracle: the best tau is read off the test images, so no point of a curve but tau = 0 is a result",
        some(len(rows), len(curves), "rows with logits"),
    ]
    sheet = Sheet(block, "Logit adjustment after training", notes, 3.1, legend)
    axes = sheet.axes()
    for entry, look in zip(rows, looked, strict=True):
        top, few = curves[id(entry)]
        axes.plot(TAUS, top, **look, markersize=4, markevery=2)
        axes.plot(TAUS, few, color=look["color"], linestyle=(0, (2, 2)), linewidth=0.9)
    axes.set_xlim(0, 2)
    axes.set_xlabel("tau")
    axes.set_ylabel("accuracy (per cent)")
    return sheet.figure


def _sweep(block: Block, entry: Entry) -> tuple[list[float], list[float]] | None:
    """(top-1, accuracy on few) at each tau, mean over the seeds; None unless all of them left logits."""
    tail = block.groups["few"]
    both = []
    for run in entry.complete:
        logits = rescore.logits_of(run, block.weights)
        if logits is None:
            return None
        label = np.repeat(np.arange(len(run.total)), run.total)
        right = np.stack([rescore.moved_logits(run, logits, tau).argmax(1) == label for tau in TAUS])
        mine = np.isin(label, tail)
        few = right[:, mine].mean(1) if mine.any() else np.full(len(TAUS), np.nan)
        both.append((right.mean(1), few))
    top, few = (100 * np.mean([pair[i] for pair in both], axis=0) for i in (0, 1))
    return top.tolist(), few.tolist()


def _handle(label: str, look: dict[str, Any]) -> Any:
    return line_handle(label, look["color"], look["marker"], linestyle=look["linestyle"])

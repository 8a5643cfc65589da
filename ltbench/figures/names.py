"""Names beside points, none over another: each takes the first free place near its point, or stays away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .style import INK, MUTED, PAPER, SMALL, folded, width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, bottom, right, top, in points
LETTERS = 26
GAP = 5.0
DISTANCES = (0.0, 14.0, 26.0, 40.0, 56.0, 74.0)
ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 22, 338, 158, 202)


def write(
    axes: Axes, points: Sequence[tuple[float, float]], texts: Sequence[str], others: Sequence[Box], bars: Sequence[Box]
) -> int:
    """Write as many texts beside their points as find room, the first ones first; how many did. Limits must be set.

    No text covers another, or one of the other points; bars are covered only where there is no other room.
    """
    at = np.asarray([_place(axes, point) for point in points])
    frame = axes.get_window_extent()
    dpi = axes.figure.dpi / 72
    room: Box = (frame.x0 / dpi + 3, frame.y0 / dpi + 2, frame.x1 / dpi + 8, frame.y1 / dpi + 4)
    boxes = [(x - 3.5, y - 3.5, x + 3.5, y + 3.5) for x, y in at] + list(others)
    written = 0
    for (x, y), text in zip(at, texts, strict=True):
        lines = folded(text, LETTERS)
        size = max(width(line, SMALL) * 72 for line in lines.split("\n")), 1.17 * SMALL * (lines.count("\n") + 1)
        clear = _free(float(x), float(y), size, [*boxes, *bars], room)
        box = clear or _free(float(x), float(y), size, boxes, room)
        if box is None:
            continue
        _write(axes, lines, (float(x), float(y)), box, over=clear is None)
        boxes.append(box)
        written += 1
    return written


def box_of(axes: Axes, low: tuple[float, float], high: tuple[float, float]) -> Box:
    """What a bar between two points, in data coordinates, covers."""
    (x0, y0), (x1, y1) = _place(axes, low), _place(axes, high)
    return (x0 - 1, y0 - 1, x1 + 1, y1 + 1)


def _place(axes: Axes, point: tuple[float, float]) -> tuple[float, float]:
    x, y = axes.transData.transform(point) / (axes.figure.dpi / 72)
    return float(x), float(y)


def _free(x: float, y: float, size: tuple[float, float], boxes: Sequence[Box], room: Box) -> Box | None:
    """The nearest place beside the point that covers no box and stays in the room."""
    wide, tall = size
    taken = np.asarray(boxes)
    for distance in DISTANCES:
        for angle in ANGLES:
            dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            cx = x + dx * (GAP + distance + wide / 2) if abs(dx) > 0.3 else x
            cy = y + dy * (GAP + distance + tall / 2)
            box = (cx - wide / 2, cy - tall / 2, cx + wide / 2, cy + tall / 2)
            inside = box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]
            if inside and not _covers(box, taken) and not (distance and _crosses(x, y, box, taken)):
                return box
    return None


def _covers(box: Box, taken: np.ndarray) -> bool:
    left, bottom, right, top = box
    over = (taken[:, 0] < right + 1) & (taken[:, 2] > left - 1) & (taken[:, 1] < top) & (taken[:, 3] > bottom)
    return bool(over.any())


def _crosses(x: float, y: float, box: Box, taken: np.ndarray) -> bool:
    """Whether the line from the point to its far name would run through another name or point."""
    end = _nearest(x, y, box)
    length = math.hypot(end[0] - x, end[1] - y)
    for step in range(5, int(length), 3):
        px, py = x + (end[0] - x) * step / length, y + (end[1] - y) * step / length
        inside = (taken[:, 0] < px) & (taken[:, 2] > px) & (taken[:, 1] < py) & (taken[:, 3] > py)
        if inside.any():
            return True
    return False


def _nearest(x: float, y: float, box: Box) -> tuple[float, float]:
    return min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])


def _write(axes: Axes, lines: str, point: tuple[float, float], box: Box, *, over: bool) -> None:
    """The text in its box, on paper where it covers bars, and a thin line to its point where it stands apart."""
    from matplotlib.lines import Line2D

    figure = axes.figure
    wide, tall = figure.get_figwidth() * 72, figure.get_figheight() * 72  # type: ignore[union-attr]
    right = box[2] <= point[0]  # it stands on the left, and ends at its point
    x, y = (box[2] if right else box[0]), (box[1] + box[3]) / 2
    figure.text(
        x / wide, y / tall, lines, size=SMALL, color=INK, ha="right" if right else "left", va="center",
        linespacing=1.05, bbox={"facecolor": PAPER, "linewidth": 0, "alpha": 0.8, "pad": 0.6} if over else None,
    )  # fmt: skip
    end = _nearest(*point, box)
    if math.hypot(end[0] - point[0], end[1] - point[1]) > GAP + 4:
        ends = [point[0] / wide, end[0] / wide], [point[1] / tall, end[1] / tall]
        figure.add_artist(Line2D(*ends, transform=figure.transFigure, color=MUTED, linewidth=0.6))

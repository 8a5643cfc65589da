"""The figures of a block of comparable rows: what there are, and how each is drawn and written."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..blocks import Block
from . import bias_variance, groups, lines, points
from .style import NothingError as NothingError
from .style import Sheet, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure."""

    name: str  # of the file
    title: str
    caption: str  # how to read it
    draw: Callable[[Block], Figure]


KINDS = (
    FigureKind(
        "compute", "Accuracy against multiply-adds",
        "Up is better, left is cheaper: what a row gains, and what it costs at test. A row that skips experts stands "
        "at what its test images used on average, tied to the same row with nothing skipped. Where there is no room "
        "for a name, the leaderboard has it.", points.compute,
    ),
    FigureKind(
        "classes", "Accuracy over the classes",
        "From the most frequent class to the rarest; the area below is the number of training images.", lines.classes,
    ),
    FigureKind(
        "tradeoff", "Head against tail",
        "Right is better on frequent classes, up on rare ones: a row up and right of the dashed lines gains on both.",
        points.tradeoff,
    ),
    FigureKind(
        "gain", "Gain by group",
        "Differences to the baseline with the same seed or draw. A bar that crosses zero shows no difference; a hollow "
        "mark is one of them, and says nothing of chance.", groups.gain,
    ),
    FigureKind(
        "reliability", "Reliability of the confidence",
        "Below the diagonal a method is surer than it is right. Underneath: where its predictions lie.",
        lines.reliability,
    ),
    FigureKind(
        "experts", "Figures of each image by group",
        "What methods give beside the logits, such as how many experts a router asks: the mean over the test images of "
        "each group. Each panel has its own scale.", groups.used,
    ),
    FigureKind(
        "training", "Training",
        "Loss terms as they were minimised. Each panel has its own scale.", lines.training,
    ),
    FigureKind(
        "confusion", "Tail classes and their hard negatives",
        "For each rare class, in the baseline and in the row with the highest accuracy on few: how many of its test "
        "images are right, and the classes that take most of the others.",
        groups.confusion,
    ),
    FigureKind(
        "members", "Single experts beside their ensemble",
        "Rings are single experts, the diamond is their ensemble: how much of the gain is its.",
        groups.members,
    ),
    FigureKind(
        "bias_variance", "Accuracy, bias and variance",
        "Over training sets drawn anew. Bias: the class that most runs say is wrong; variance: the share of runs that "
        "say another. More in `ltbench analyze`.", bias_variance.draw,
    ),
    FigureKind(
        "adjust", "Logit adjustment after training",
        "What taking tau times the log class frequencies off the logits would do. Chosen on test, so never ranked.",
        lines.adjust,
    ),
)  # fmt: skip


def drawn(kind: FigureKind, block: Block, format: str) -> bytes:
    """The file of a figure, as svg, png or pdf; where it has nothing to show, it says so. The same bytes each time."""
    with styled(f"{block.name}/{kind.name}"):
        try:
            figure = kind.draw(block)
        except NothingError as reason:
            figure = _nothing(kind, block, str(reason))
        return saved(figure, format)


def inline(kind: FigureKind, block: Block) -> str:
    """The figure as SVG whose text is text, for an HTML page. Raises NothingError."""
    with styled(f"{block.name}/{kind.name}", text=True):
        figure = kind.draw(block)
        figure.patch.set_visible(False)
        return saved(figure, "svg").decode()


def _nothing(kind: FigureKind, block: Block, reason: str) -> Figure:
    sheet = Sheet(block, kind.title, [f"Nothing to show: {reason}."], 0.2)
    return sheet.figure


def saved(figure: Figure, format: str) -> bytes:
    """The file of a figure that was made under styled()."""
    dates = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
    out = io.BytesIO()
    figure.savefig(out, format=format, metadata=dates[format])
    return out.getvalue()

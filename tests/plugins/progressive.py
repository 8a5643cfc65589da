"""Progressively balanced sampling: a stream whose odds follow the clock."""

from torch import Tensor

from ltbench import Clock, Stream, register
from ltbench.methods.ce import CE


@register("progressive")
class Progressive(CE):
    """Cross-entropy on images as they come at first, on classes alike at last."""

    paper = "arXiv:1910.09217"

    def streams(self) -> tuple[Stream, ...]:
        """One, whose odds move."""
        return (Stream(odds),)


def odds(counts: Tensor, t: Clock) -> Tensor:
    """[C] from each class's share of the images to equal ones."""
    return (1 - t.progress) * counts / counts.sum() + t.progress / len(counts)

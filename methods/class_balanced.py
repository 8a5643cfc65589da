"""Class-balanced loss by the effective number of samples, from the first epoch."""

from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from ltbench import Batch, Clock, HeadKind, Problem, longtail, losses, register

from .ce import CE

Beta = Annotated[float, Interval(gt=0, lt=1)]


@register("class_balanced")
class ClassBalanced(CE):
    """Cross-entropy weighted by the inverse of each class's effective number of images."""

    paper = "arXiv:1901.05555"

    def __init__(self, problem: Problem, *, beta: Beta = 0.9999, head: HeadKind = "linear") -> None:
        super().__init__(problem, head=head)
        self.register_buffer("weights", longtail.effective_number_weights(problem.counts, beta))

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Eq. 10, for softmax."""
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target, self.weights)}

"""Class-balanced loss by the effective number of samples, from the first epoch."""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Interval
from torch import Tensor

from ltbench import Batch, Clock, HeadKind, Problem, longtail, losses, register

from .ce import CE

Beta = Annotated[float, Interval(gt=0, lt=1)]


@register("class_balanced")
class ClassBalanced(CE):
    """Cross-entropy weighted by the inverse of each class's effective number of images.

    by_weight: divide by the sum of a batch's weights, as PyTorch's weight= does, and not by its images, as the paper's.
    Of CIFAR-100-LT at imbalance 100 the mean weight is 0.2, so that this trains at five times the rate.
    """

    paper = "arXiv:1901.05555"
    version = 2  # 1 divided by the weights

    def __init__(
        self, problem: Problem, *, beta: Beta = 0.9999, by_weight: bool = False, head: HeadKind = "linear"
    ) -> None:
        super().__init__(problem, head=head)
        self.by_weight = by_weight
        self.register_buffer("weights", longtail.effective_number_weights(problem.counts, beta))

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Eq. 10, for softmax."""
        logits = self.logits(batch.image)
        if self.by_weight:
            return {"ce": losses.cross_entropy(logits, batch.target, self.weights)}
        return {"ce": F.cross_entropy(logits, batch.target, self.weights, reduction="none").mean()}

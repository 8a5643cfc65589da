"""Focal loss."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from ltbench import Batch, Clock, HeadKind, Problem, losses, register

from .ce import CE


@register("focal")
class Focal(CE):
    """Cross-entropy that counts less where the prediction is right already."""

    paper = "arXiv:1708.02002"

    def __init__(self, problem: Problem, *, gamma: Annotated[float, Ge(0)] = 1.0, head: HeadKind = "linear") -> None:
        super().__init__(problem, head=head)
        self.gamma = gamma  # 1 as in LDAM-DRW's comparison; the class-balanced paper takes 2

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Eq. 4, over softmax probabilities."""
        return {"focal": losses.focal(self.logits(batch.image), batch.target, self.gamma)}

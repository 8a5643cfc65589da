"""Logit adjustment, as a loss."""

from typing import Annotated

from annotated_types import Ge
from torch import Tensor

from ltbench import Batch, Clock, HeadKind, Problem, longtail, losses, register

from .ce import CE


@register("logit_adjustment")
class LogitAdjustment(CE):
    """Cross-entropy of logits raised by tau times each class's log prior."""

    paper = "arXiv:2007.07314"

    def __init__(self, problem: Problem, *, tau: Annotated[float, Ge(0)] = 1.0, head: HeadKind = "linear") -> None:
        super().__init__(problem, head=head)
        self.tau = tau
        self.register_buffer("log_prior", longtail.log_prior(problem.counts))

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Eq. 10; at tau 1 it is balanced softmax."""
        return {"adjusted": losses.logit_adjusted(self.logits(batch.image), batch.target, self.log_prior, self.tau)}

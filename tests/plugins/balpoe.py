"""Balanced product of experts: experts of one trunk that differ in the prior they are trained for."""

from torch import Tensor

from ltbench import Batch, Clock, Problem, longtail, losses, register
from ltbench.methods.ride import RIDE


@register("balpoe")
class BalPoE(RIDE):
    """RIDE's network; expert e's logits are adjusted by taus[e] times the log prior, and their mean has none left.

    taus: one for each expert, 1 on average.
    """

    paper = "arXiv:2206.05260"
    shown = ("taus",)

    def __init__(self, problem: Problem, *, taus: tuple[float, ...] = (0.0, 1.0, 2.0), width: float = 0.75) -> None:
        super().__init__(problem, experts=len(taus), width=width)
        self.taus = taus
        self.register_buffer("log_prior", longtail.log_prior(problem.counts))

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Each expert's own loss; divided by their number, as published."""
        experts = self.experts(batch.image)
        return {
            f"expert{i}": losses.logit_adjusted(logits, batch.target, self.log_prior, tau) / len(experts)
            for i, (tau, logits) in enumerate(zip(self.taus, experts, strict=True))
        }

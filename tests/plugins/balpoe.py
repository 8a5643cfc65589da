"""Balanced product of experts: experts of one trunk that differ in the prior they are trained for."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Len
from torch import Tensor

from ltbench import Batch, Clock, Problem, longtail, losses, register
from ltbench.methods.ride import RIDE


@register("balpoe")
class BalPoE(RIDE):
    """RIDE's network; expert e's logits are adjusted by taus[e] times the log prior, and their mean has none left.

    taus: one for each expert, 1 on average, so that what they adjust by is that of one balanced softmax.
    """

    paper = "arXiv:2206.05260"
    shown = ("taus",)

    def __init__(
        self, problem: Problem, *, taus: Annotated[tuple[float, ...], Len(2, 6)] = (0.0, 1.0, 2.0), width: float = 0.75
    ) -> None:
        super().__init__(problem, experts=len(taus), width=width)
        self.taus = taus
        self.register_buffer("log_prior", longtail.log_prior(problem.counts))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing. Raises ValueError where the mean would be for another test set."""
        if abs(sum(options["taus"]) / len(options["taus"]) - 1) > 1e-6:
            raise ValueError(f"taus must be 1 on average, got {list(options['taus'])}")
        return {}

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Each expert's own loss; divided by their number, as published."""
        experts = self.experts(batch.image)
        return {
            f"expert{i}": losses.logit_adjusted(logits, batch.target, self.log_prior, tau) / len(experts)
            for i, (tau, logits) in enumerate(zip(self.taus, experts, strict=True))
        }

"""LDAM with deferred re-weighting."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Gt, Interval
from torch import Tensor

from ltbench import Batch, Classifier, Clock, Problem, longtail, losses, make_heads, register


@register("ldam_drw")
class LDAMDRW(Classifier):
    """Wider margins for rarer classes; class weights only once features have formed."""

    paper = "arXiv:1906.07413"

    def __init__(
        self,
        problem: Problem,
        *,
        max_margin: Annotated[float, Gt(0)] = 0.5,
        scale: Annotated[float, Gt(0)] = 30.0,
        beta: Annotated[float, Interval(gt=0, lt=1)] = 0.9999,
        drw_start: Annotated[float, Interval(ge=0, le=1)] = 0.8,
    ) -> None:
        super().__init__(problem)
        self.backbone = problem.backbone()
        self.heads = make_heads("cosine", self.backbone.dim, problem.classes, scale=scale)
        self.scale, self.drw_start = scale, drw_start
        self.register_buffer("margins", longtail.ldam_margins(problem.counts, max_margin))
        # the paper's text says inverse frequency; its code, which we follow, takes effective numbers
        self.register_buffer("weights", longtail.effective_number_weights(problem.counts, beta))

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """A backbone; its head is a cosine one."""
        return ("backbone",)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """LDAM (eq. 12), weighted in the last fifth of the run (algorithm 1)."""
        weight = self.weights if t.after(self.drw_start) else None
        return {"ldam": losses.ldam(self.logits(batch.image), batch.target, self.margins, self.scale, weight)}

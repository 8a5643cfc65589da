"""Cross-entropy with deferred re-weighting."""

from typing import Annotated

from annotated_types import Interval
from torch import Tensor

from ltbench import Batch, Clock, HeadKind, Problem, longtail, losses, register

from .ce import CE
from .class_balanced import Beta


@register("ce_drw")
class CEDRW(CE):
    """Plain cross-entropy until features have formed, class weights after that."""

    paper = "arXiv:1906.07413"

    def __init__(
        self,
        problem: Problem,
        *,
        drw_start: Annotated[float, Interval(ge=0, le=1)] = 0.8,
        beta: Beta = 0.9999,
        head: HeadKind = "linear",
    ) -> None:
        super().__init__(problem, head=head)
        self.drw_start = drw_start
        self.register_buffer("weights", longtail.effective_number_weights(problem.counts, beta))

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Algorithm 1, with the published code's effective-number weights."""
        weight = self.weights if t.after(self.drw_start) else None
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target, weight)}

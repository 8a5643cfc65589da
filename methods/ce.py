"""Plain cross-entropy: what every gain is measured against."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ltbench import Batch, Classifier, Clock, HeadKind, Problem, losses, make_heads, register


@register("ce")
class CE(Classifier):
    """Softmax cross-entropy on the images as they come."""

    def __init__(self, problem: Problem, *, head: HeadKind = "linear") -> None:
        super().__init__(problem)
        self.backbone = problem.backbone()
        self.heads = make_heads(head, self.backbone.dim, problem.classes)

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """A linear head only where it has one."""
        head = options.get("head", "linear")  # a derived class may have no such option
        return ("backbone", "linear_head") if head == "linear" else ("backbone",)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy."""
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}

"""Weight balancing: a second stage that goes on with a head whose rows may not grow beyond a limit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from ltbench import Batch, Clock, Method, Problem, Ref, Stream, by_image, longtail, losses, register
from ltbench.methods.crt import CRT

Share = Annotated[float, Interval(ge=0, lt=1)]


@register("weight_balancing")
class WeightBalancing(CRT):
    """The heads of another run, trained on by the class-balanced loss within a ball (MaxNorm).

    limit: where the ball's radius lies, from the smallest norm of a row to the largest; beta: of the loss.
    """

    paper = "arXiv:2203.14197"

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce"), limit: Share = 0.1, beta: Share = 0.9999) -> None:
        super().__init__(problem, base=base)
        self.limit = limit
        self.register_buffer("weights", longtail.effective_number_weights(problem.counts, beta))
        self.register_buffer("radius", torch.ones(len(self.heads)))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """Features, and linear heads to go on with."""
        return {"stage1": replace(options["base"], wants=("backbone", "linear_head"))}

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Features and heads of the base, and the radius."""
        super().begin(parents, data)
        self.heads.load_state_dict(parents["stage1"].heads.state_dict())
        norms = torch.stack([torch.linalg.vector_norm(head.weight.detach(), dim=1) for head in self.heads])
        self.radius.copy_(torch.lerp(norms.amin(1), norms.amax(1), self.limit))

    def streams(self) -> tuple[Stream, ...]:
        """Images as they come."""
        return (by_image,)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """The class-balanced loss of each head by itself."""
        experts = self.experts(batch.image)
        return {"ce": losses.total(losses.cross_entropy(logits, batch.target, self.weights) for logits in experts)}

    def after_step(self, t: Clock) -> None:
        """Rows beyond the ball come back onto it."""
        for head, radius in zip(self.heads, self.radius, strict=True):
            head.weight.mul_((radius / torch.linalg.vector_norm(head.weight, dim=1, keepdim=True)).clamp(max=1))

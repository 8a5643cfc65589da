"""ImbSAM: sharpness-aware for all but the frequent classes, two gradients in one step."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from ltbench import Batch, Clock, Problem, losses, register
from ltbench.methods.ce import CE


@register("imbsam")
class ImbSAM(CE):
    """Cross-entropy; the part of classes of at most `frequent` images is taken where weights nearby make it worst.

    rho: how far that is.
    """

    paper = "arXiv:2308.07815"

    def __init__(
        self, problem: Problem, *, rho: Annotated[float, Gt(0)] = 0.05, frequent: Annotated[int, Ge(0)] = 100
    ) -> None:
        super().__init__(problem)
        self.rho = rho
        self.register_buffer("rare", (problem.counts <= frequent).float())

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """The frequent classes' part here, the others' nearby."""
        shares = losses.as_shares(batch.target, len(self.rare))
        rare, frequent = shares * self.rare, shares * (1 - self.rare)
        weights = dict(self.backbone.named_parameters())
        here = self.heads[0](self.backbone(batch.image))
        steepest = torch.autograd.grad(_entropy(here, rare), list(weights.values()), retain_graph=True)
        far = self.rho / torch.nn.utils.get_total_norm(steepest).clamp(min=1e-12)
        moved = {name: w + far * g for (name, w), g in zip(weights.items(), steepest, strict=True)}
        there = self.heads[0](torch.func.functional_call(self.backbone, moved, batch.image))
        return {"frequent": _entropy(here, frequent), "rare": _entropy(there, rare)}


def _entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy with these shares [B, C] of labels over all B images, scalar."""
    return -(shares * logits.log_softmax(1)).sum(1).mean()

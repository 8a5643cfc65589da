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
        """The frequent classes' part here, the others' nearby; both are means over all B images."""
        shares = losses.as_shares(batch.target, len(self.rare))
        rare, frequent = shares * self.rare, shares * (1 - self.rare)
        here = self.heads[0](self.backbone(batch.image))
        there = self.nearby(losses.cross_entropy(here, rare), batch.image)
        return {"frequent": losses.cross_entropy(here, frequent), "rare": losses.cross_entropy(there, rare)}

    def nearby(self, loss: Tensor, image: Tensor) -> Tensor:
        """[B, C] the logits by weights that are rho further up that loss; BatchNorm's statistics move once more."""
        parts = self.backbone, self.heads[0]
        weights = [weight for part in parts for weight in part.parameters()]
        steepest = torch.autograd.grad(loss, weights, retain_graph=True)
        far = self.rho / torch.nn.utils.get_total_norm(steepest).clamp(min=1e-12)
        moved = iter([weight + far * gradient for weight, gradient in zip(weights, steepest, strict=True)])
        for part in parts:
            image = torch.func.functional_call(part, {name: next(moved) for name, _ in part.named_parameters()}, image)
        return image

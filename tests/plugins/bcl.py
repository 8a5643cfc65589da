"""Balanced contrastive learning: three views of each image, one classified and two compared."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from ltbench import Batch, Classifier, Clock, Problem, Stream, losses, make_heads, register


@register("bcl")
class BCL(Classifier):
    """Balanced softmax, and a contrastive loss in which classes weigh alike and each has a prototype.

    strength, temperature: of the contrastive loss; size: of what is compared. Its two perceptrons, which only training
    needs, count among the table's parameters.
    """

    paper = "arXiv:2207.09052"

    def __init__(
        self,
        problem: Problem,
        *,
        strength: Annotated[float, Ge(0)] = 0.35,
        temperature: Annotated[float, Gt(0)] = 0.1,
        size: Annotated[int, Ge(1)] = 128,
    ) -> None:
        super().__init__(problem)
        self.backbone = problem.backbone()
        dim = self.backbone.dim
        self.heads = make_heads("cosine", dim, problem.classes)
        self.project, self.prototype = _perceptron(dim, size), _perceptron(dim, size)
        self.strength, self.temperature = strength, temperature

    def streams(self) -> tuple[Stream, ...]:
        """Three views."""
        return (Stream(views=3),)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Both losses; what is compared is told apart by the images' own labels."""
        first, *others = self.backbone(batch.image.flatten(0, 1)).chunk(3)  # [V * B, D]: the views side by side
        seen, prototypes = self.project(torch.cat(others)), self.prototype(self.heads[0].weight)
        return {
            "softmax": losses.balanced_softmax(self.heads[0](first), batch.target, self.counts),
            "contrast": self.strength * contrast(seen, batch.label.repeat(2), prototypes, self.temperature),
        }


def contrast(seen: Tensor, label: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """The balanced contrastive loss, scalar; seen: [M, D], label: [M], prototypes: [C, D]."""
    all_ = F.normalize(torch.cat([seen, prototypes]).float())
    owner = torch.cat([label, torch.arange(len(prototypes), device=label.device)])
    with torch.autocast(label.device.type, enabled=False):  # or a product under it is bf16 again
        alike = all_[: len(seen)] @ all_.T / temperature
    itself = torch.eye(*alike.shape, dtype=torch.bool, device=label.device)
    mine = (label[:, None] == owner) & ~itself
    # a class's share of the sum is its mean; of the image's own class the image itself is none
    members = F.one_hot(owner, len(prototypes)).sum(0)[owner] - mine.long()
    total = (alike - members.log()).masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)
    return -((alike - total) * mine).sum(1).div(mine.sum(1)).mean()


def _perceptron(dim: int, size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, dim), nn.BatchNorm1d(dim), nn.ReLU(), nn.Linear(dim, size))

"""Nearest class mean, one of the decoupling methods."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ltbench import Method, Problem, Recipe, Ref, TrainingData, register

from .crt import CRT


@register("ncm")
class NCM(CRT):
    """Each image goes to the class whose mean feature is nearest; trains nothing."""

    paper = "arXiv:1910.09217"

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce")) -> None:
        super().__init__(problem, base=base)
        experts, dim = len(self.heads), self.heads[0].dim
        del self.heads
        self.register_buffer("centre", torch.zeros(experts, 1, dim))
        self.register_buffer("means", torch.zeros(experts, problem.classes, dim))

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Nothing to start from: it has no heads."""
        return ()

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """Nothing is trained."""
        return base.with_(epochs=0)

    @torch.no_grad()
    def begin(self, parents: Mapping[str, Method], data: TrainingData) -> None:
        """Means of the centred and normalised training features, as the published code has them."""
        super().begin(parents, data)
        self.base.eval()
        parts = [(self.features(batch.image).float(), batch.label) for batch in data.once()]
        features, label = torch.cat([f for f, _ in parts], dim=1), torch.cat([y for _, y in parts])
        self.centre.copy_(features.mean(1, keepdim=True))
        # added up on the CPU: a GPU adds in any order, and two runs would differ
        sums = torch.zeros(self.means.shape).index_add_(1, label.cpu(), self._directions(features).cpu())
        self.means.copy_(sums).div_(data.counts[:, None])

    def classify(self, features: Tensor) -> Tensor:
        """[E, B, C] minus the squared distances to the means."""
        return -torch.cdist(self._directions(features.float()), self.means).square()

    def _directions(self, features: Tensor) -> Tensor:
        return F.normalize(features - self.centre, dim=2)

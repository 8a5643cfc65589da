"""Tau-normalised classifier, one of the decoupling methods."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from annotated_types import Ge

from ltbench import Method, Problem, Recipe, Ref, register

from .crt import CRT


@register("tau_norm")
class TauNorm(CRT):
    """Divides each class's weight by its norm to the power tau; trains nothing."""

    paper = "arXiv:1910.09217"
    shown = ("tau",)

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce"), tau: Annotated[float, Ge(0)] = 1.0) -> None:
        super().__init__(problem, base=base)
        self.tau = tau

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """The run whose features and heads it takes."""
        return {"stage1": replace(options["base"], wants=("backbone", "linear_head"))}

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """Nothing is trained."""
        return base.with_(epochs=0)

    @torch.no_grad()
    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Section 4.2; the bias is dropped, as the paper has it."""
        super().begin(parents, data)
        self.heads.load_state_dict(parents["stage1"].heads.state_dict())
        for head in self.heads:
            head.weight /= head.weight.norm(dim=1, keepdim=True) ** self.tau
            head.bias.zero_()

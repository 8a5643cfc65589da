"""Learnable weight scaling, one of the decoupling methods."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ltbench import Method, Problem, Ref, freeze, register

from .crt import CRT


@register("lws")
class LWS(CRT):
    """One learnt scale per class on the frozen heads of another run, trained class-balanced."""

    paper = "arXiv:1910.09217"

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce")) -> None:
        super().__init__(problem, base=base)
        freeze(self.heads)
        self.scales = nn.Parameter(torch.ones(len(self.heads), problem.classes))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """The run whose features and heads it takes."""
        return {"stage1": replace(options["base"], wants=("backbone", "linear_head"))}

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Its heads are no longer linear ones alone."""
        return ("backbone",)

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Take features and heads."""
        super().begin(parents, data)
        self.heads.load_state_dict(parents["stage1"].heads.state_dict())

    def classify(self, features: Tensor) -> Tensor:
        """[E, B, C]: weight and bias alike are scaled, as in the published code."""
        return super().classify(features) * self.scales[:, None]

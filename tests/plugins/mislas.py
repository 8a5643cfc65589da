"""MiSLAS's second stage: smoothing by class, and BatchNorm that moves to the new sampling."""

from collections.abc import Mapping
from dataclasses import replace
from math import pi
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ltbench import Batch, Clock, Method, Problem, Recipe, Ref, freeze, losses, register
from ltbench.methods.crt import CRT

Share = Annotated[float, Interval(ge=0, lt=1)]


@register("mislas")
class MiSLAS(CRT):
    """The head of another run, trained on with labels smoothed more for frequent classes, and scaled by class.

    most, least: the smoothing of the most and the least frequent class. The paper's first stage is mixup, a matter of
    the suite's recipe; its head trains at a fifth of the rate of the scales, here at the same.
    """

    paper = "arXiv:2104.00466"

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce"), most: Share = 0.4, least: Share = 0.1) -> None:
        super().__init__(problem, base=base)
        freeze(self.base, statistics=False)
        self.scale = nn.Parameter(torch.ones(problem.classes))
        counts = problem.counts.float()
        rank = (counts - counts.min()) / (counts.max() - counts.min()).clamp(min=1)
        self.register_buffer("smoothing", least + (most - least) * (pi / 2 * rank).sin())  # the concave form

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """Features, and linear heads to go on with."""
        return {"stage1": replace(options["base"], wants=("backbone", "linear_head"))}

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """10 epochs of 200, and labels as they are."""
        plain = {"mixup": 0.0, "cutmix": 0.0, "label_smoothing": 0.0}
        return base.with_(epochs=base.share(10, of=200), schedule="cosine", warmup=0.0, **plain)

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Features; its heads are nothing without the scales."""
        return ("backbone",)

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Features and heads of the base."""
        super().begin(parents, data)
        self.heads.load_state_dict(parents["stage1"].heads.state_dict())

    def classify(self, features: Tensor) -> Tensor:
        """[E, B, C], each class scaled."""
        return super().classify(features) * self.scale

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each head with smoothed labels."""
        wanted = smoothed(losses.as_shares(batch.target, len(self.counts)), self.smoothing)
        return {"ce": losses.total(losses.cross_entropy(logits, wanted) for logits in self.experts(batch.image))}


def smoothed(shares: Tensor, smoothing: Tensor) -> Tensor:
    """[B, C] label shares of which each class gives its smoothing [C] to all others alike."""
    given = shares * smoothing
    return shares - given + (given.sum(1, keepdim=True) - given) / (len(smoothing) - 1)

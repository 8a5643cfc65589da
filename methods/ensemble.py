"""An ensemble of independent networks: the control for what several experts gain by being several."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor, nn

from ltbench import Method, Prediction, Problem, Recipe, Ref, build, freeze, register


@register("ensemble")
class Ensemble(Method):
    """The mean logits of independent runs that differ in their seed; trains nothing itself."""

    paper = "arXiv:1612.01474"
    shown = ("size",)

    def __init__(
        self, problem: Problem, *, base: Ref = Ref("ce"), size: Annotated[int, Interval(ge=1, le=20)] = 3
    ) -> None:
        super().__init__(problem)
        self.networks: Any = freeze(nn.ModuleList(build(problem, base) for _ in range(size)))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """Runs of their own at seed offsets 1000, 2000, ..., so that none is another row's. Raises ValueError.

        Two ensembles of one base have members in common. Offsets add up, so that an ensemble may hold no other: member
        2 of its first one would be member 1 of its second.
        """
        if cls._within(options["base"]):
            raise ValueError("base: an ensemble may hold no other, at any depth: they would share networks")
        return {f"member{i + 1}": replace(options["base"], seed=1000 * (i + 1)) for i in range(options["size"])}

    @classmethod
    def _within(cls, ref: Ref) -> bool:
        """Whether a method, or one that its options name, is an ensemble."""
        return ref.method == cls.name or any(cls._within(o) for o in ref.options.values() if isinstance(o, Ref))

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """Nothing is trained."""
        return base.with_(epochs=0)

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Take all members."""
        for i, network in enumerate(self.networks):
            network.load_state_dict(parents[f"member{i + 1}"].state_dict())

    def predict(self, image: Tensor) -> Prediction:
        """The mean, and the members beside it."""
        members = torch.stack([network.predict(image).logits for network in self.networks])
        return Prediction(members.mean(0), members=members)

    def dense(self, image: Tensor) -> Prediction:
        """The same of members that skip nothing."""
        return Prediction(torch.stack([network.dense(image).logits for network in self.networks]).mean(0))

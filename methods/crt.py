"""Classifier re-training, the first of the decoupling methods."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ltbench import (
    Batch,
    Classifier,
    Clock,
    Method,
    Problem,
    Recipe,
    Ref,
    Stream,
    build,
    by_class,
    freeze,
    losses,
    make_heads,
    register,
)


@register("crt")
class CRT(Classifier):
    """Fresh linear heads, trained class-balanced on the frozen features of another run."""

    paper = "arXiv:1910.09217"

    def __init__(self, problem: Problem, *, base: Ref = Ref("ce")) -> None:
        super().__init__(problem)
        # The published code lets BatchNorm statistics drift towards class-balanced images in this stage, unlike the
        # paper, which keeps the representation fixed; we follow the paper.
        self.base = freeze(build(problem, base))
        self.heads = make_heads("linear", self.base.heads[0].dim, problem.classes, experts=len(self.base.heads))
        del self.base.heads

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """The run whose features it takes."""
        return {"stage1": replace(options["base"], wants=("backbone",))}

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What it has itself."""
        return ("backbone", "linear_head")

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """30 epochs of 200; BagofTricks-LT's CIFAR schedule, the papers give none."""
        return base.with_(
            epochs=base.share(30, of=200), schedule="steps", steps=(1 / 3, 2 / 3), gamma=0.1, warmup=1 / 6
        )

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Take all but the heads."""
        features = {k: v for k, v in parents["stage1"].state_dict().items() if not k.startswith("heads.")}
        self.base.load_state_dict(features)

    def streams(self) -> tuple[Stream, ...]:
        """Every class as often as any other."""
        return (by_class,)

    def features(self, image: Tensor) -> Tensor:
        """[E, B, D] of the base."""
        return self.base.features(image)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of each head by itself."""
        return {"ce": losses.total(losses.cross_entropy(logits, batch.target) for logits in self.experts(batch.image))}

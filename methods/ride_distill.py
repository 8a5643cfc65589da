"""RIDE's optional distillation from a RIDE with more experts."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from ltbench import Batch, Clock, Problem, Ref, losses, register

from .ride import RIDE, Share


@register("ride_distill")
class RIDEDistill(RIDE):
    """RIDE that also follows the mean prediction of a RIDE with more experts.

    teacher: the finished run that is followed, any method; temperature and strength of the distillation loss; repeat:
    count the whole loss once per expert, as the published code. The others as in ride, spread being ride's default
    where it is none.
    """

    paper = "arXiv:2010.01809"

    def __init__(
        self,
        problem: Problem,
        *,
        experts: Annotated[int, Interval(ge=1, le=6)] = 3,
        teacher: Ref = Ref("ride", {"experts": 6}),
        temperature: Annotated[float, Gt(0)] = 1.5,
        strength: Annotated[float, Ge(0)] = 1.0,
        repeat: bool = False,
        diversity: float = -0.45,
        width: Annotated[float, Interval(gt=0, le=1)] = 0.75,
        spread: Share | None = None,
    ) -> None:
        further: Any = {} if spread is None else {"spread": spread}
        super().__init__(problem, experts=experts, diversity=diversity, width=width, **further)
        self.temperature, self.strength = temperature, strength
        self.times = experts if repeat else 1

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """The teacher. Raises ValueError where an option would change nothing."""
        cls.refuse_idle(options, ("diversity", "spread", "repeat"), options.get("experts") != 1, "one expert")
        return {"teacher": options["teacher"]}

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What a RIDE with cosine heads offers."""
        return "backbone", "experts"

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """RIDE's loss and the divergence from the teacher.

        The published code repeats both for every expert, as `repeat` does, which multiplies the rate by their number;
        it then warms up over 20 epochs of 200, not 5. It leaves the teacher in training mode, so that it drifts; here
        the teacher is in eval mode.
        """
        experts = self.experts(batch.image)
        with torch.no_grad():
            goal = self.parents["teacher"].predict(batch.image).logits
        follow = losses.divergence(experts.mean(0), goal, self.temperature)
        terms = self.terms(t, experts, batch.target) | {"distill": self.strength * self.temperature**2 * follow}
        return {name: self.times * term for name, term in terms.items()}

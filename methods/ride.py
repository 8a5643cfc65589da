"""RIDE: routing diverse distribution-aware experts, stage one."""

from collections.abc import Mapping
from inspect import signature
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from ltbench import Batch, Classifier, Clock, HeadKind, Problem, longtail, losses, make_heads, register

Share = Annotated[float, Interval(ge=0, le=1)]


@register("ride")
class RIDE(Classifier):
    """Several experts on one trunk, pushed apart from their mean, averaged at test.

    loss: what each expert is trained by, with head cosine (which ldam needs) or linear; gamma is focal's.
    diversity: the weight of the divergence from the mean, negative to push apart. width: the share of their channels
    that the experts keep. joint: train the mean's logits instead of each expert's own; diversity belongs to 0 then,
    since nothing else would hold the single experts. spread: how far the temperatures of rare classes fall below 1
    late in the run; drw_start: where that and re-weighting begin. max_margin, scale, beta: LDAM's, as in ldam_drw.
    """

    paper = "arXiv:2010.01809"
    shown = ("experts",)

    def __init__(
        self,
        problem: Problem,
        *,
        experts: Annotated[int, Interval(ge=1, le=6)] = 3,
        loss: Literal["ldam", "ce", "focal"] = "ldam",
        head: HeadKind = "cosine",
        diversity: float = -0.45,
        width: Annotated[float, Interval(gt=0, le=1)] = 0.75,
        joint: bool = False,
        gamma: Annotated[float, Ge(0)] = 1.0,
        spread: Share = 0.05,
        drw_start: Share = 0.8,
        max_margin: Annotated[float, Gt(0)] = 0.5,
        scale: Annotated[float, Gt(0)] = 30.0,
        beta: Annotated[float, Interval(gt=0, lt=1)] = 0.9999,
    ) -> None:
        super().__init__(problem)
        self.trunk, self.branches, dim = problem.backbone().split(experts, last="stages", width=width)
        self.heads = make_heads(head, dim, problem.classes, experts=experts, scale=scale)
        self.base_loss, self.gamma, self.scale, self.joint = loss, gamma, scale, joint
        self.diversity, self.drw_start = diversity, drw_start
        self.register_buffer("margins", longtail.ldam_margins(problem.counts, max_margin))
        self.register_buffer("weights", longtail.effective_number_weights(problem.counts, beta))
        self.register_buffer("temperatures", longtail.tail_temperatures(problem.counts, spread))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing. Raises ValueError where options do not go together, or one would change nothing."""
        loss, head = options.get("loss"), options.get("head")  # none: a derived class has no such option
        if loss == "ldam" and head == "linear":
            raise ValueError("loss ldam needs head cosine, got head linear (or take loss ce or focal)")
        cls.refuse_idle(options, ("gamma",), loss in (None, "focal"), f"loss {loss}")
        cls.refuse_idle(options, ("max_margin", "beta"), loss in (None, "ldam"), f"loss {loss}")
        cls.refuse_idle(options, ("scale",), head in (None, "cosine"), f"head {head}")
        cls.refuse_idle(options, ("joint", "diversity", "spread"), options.get("experts") != 1, "one expert")
        return {}

    @classmethod
    def refuse_idle(cls, options: Mapping[str, Any], names: tuple[str, ...], used: bool, beside: str) -> None:
        """Raises ValueError where one of these options has been given, and they are not used."""
        given = [name for name in names if name in options]
        for name in given if not used else ():
            if options[name] != signature(cls).parameters[name].default:
                raise ValueError(f"{name} changes nothing beside {beside}")

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Experts that can be run one by one; linear heads only where it has them."""
        linear = options.get("head") == "linear"
        return ("backbone", "experts", "linear_head") if linear else ("backbone", "experts")

    def features(self, image: Tensor) -> Tensor:
        """[E, B, D]; the trunk runs once."""
        shared = self.trunk(image)
        return torch.stack([branch(shared) for branch in self.branches])

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """The sum over experts of their own losses, and of their divergence from the mean."""
        return self.terms(t, self.experts(batch.image), batch.target)

    def terms(self, t: Clock, experts: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The loss for logits [E, B, C]."""
        late, mean = t.after(self.drw_start), experts.mean(0)
        # In the published code a diversity of exactly 0 silently trains the mean's logits jointly; here that is asked
        # for with joint=true, and diversity=0 keeps the individual losses.
        judged = [mean] * len(experts) if self.joint else experts
        terms: dict[str, Tensor] = {
            self.base_loss: losses.total(self.individual(logits, target, late) for logits in judged)
        }
        if len(experts) > 1:
            # Eq. 5, with the published code's mean in place of the paper's average over pairs, gradient stopped, and
            # its factor of the squared temperature, as in distillation.
            heat = self.temperatures if late else torch.ones_like(self.temperatures)
            apart = losses.total(losses.divergence(logits, mean, heat) for logits in experts)
            terms["diversity"] = self.diversity * heat.mean() ** 2 * apart
        return terms

    def individual(self, logits: Tensor, target: Tensor, late: bool) -> Tensor:
        """One expert's classification loss, re-weighted late in the run where it is LDAM, as published."""
        if self.base_loss == "ldam":
            return losses.ldam(logits, target, self.margins, self.scale, self.weights if late else None)
        return (
            losses.focal(logits, target, self.gamma)
            if self.base_loss == "focal"
            else losses.cross_entropy(logits, target)
        )

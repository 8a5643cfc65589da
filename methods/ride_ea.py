"""RIDE's second stage: expert assignment, which routes images to more experts only where that may help."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ltbench import Batch, Clock, Method, Prediction, Problem, Recipe, Ref, Stream, build, by_class, freeze, register


@register("ride_ea")
class RIDEEA(Method):
    """Routers on a finished RIDE: ask the next expert only where it may correct those before it.

    base: the RIDE. top: how many of the largest mean logits a router sees. pos_weight: how much more it costs to stop
    early in vain than to go on in vain. threshold: the ask, from 0 to 1, above which the next expert is run.
    """

    paper = "arXiv:2010.01809"

    def __init__(
        self,
        problem: Problem,
        *,
        base: Ref = Ref("ride"),
        top: Annotated[int, Ge(1)] = 30,
        pos_weight: Annotated[float, Gt(0)] = 100.0,
        threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5,
    ) -> None:
        super().__init__(problem)
        self.ride = freeze(build(problem, base))
        positions, dim = len(self.ride.heads) - 1, self.ride.heads[0].dim
        self.top, self.threshold = min(top, problem.classes), threshold
        self.hidden = nn.ModuleList(nn.Linear(dim, 16) for _ in range(positions))
        self.ask = nn.Linear(16 + self.top, 1)  # shared by all positions, as published
        self.register_buffer("pos_weight", torch.tensor(pos_weight))

    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """The finished RIDE, distilled or not."""
        if options["base"].options.get("experts") == 1:
            raise ValueError("base has a single expert: there is nothing to route")
        return {"ride": replace(options["base"], wants=("experts",))}

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """5 epochs of 200 at a small rate, in large batches, with the weight decay and momentum that the authors have
        on all data.

        With SGD, which the authors of RIDE on Swin found better here than AdamW, and on images that are not mixed,
        since a router learns whether an expert is right.
        """
        parts = min(1 << (base.accumulate - 1).bit_length(), 512)  # as the suite asks for, or the next that divides 512
        return base.with_(
            epochs=base.share(5, of=200), lr=0.01, min_lr=0.0, batch_size=512, accumulate=parts,
            schedule="cosine", warmup=0.0, optimizer="sgd", momentum=0.9, nesterov=True, weight_decay=5e-4,
            clip=None, ema=None, mixup=0.0, cutmix=0.0, label_smoothing=0.0,
        )  # fmt: skip

    def begin(self, parents: Mapping[str, Method], data: object) -> None:
        """Take the experts."""
        self.ride.load_state_dict(parents["ride"].state_dict())

    def streams(self) -> tuple[Stream, ...]:
        """Every class as often as any other."""
        return (by_class,)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Router i should ask for more where experts 1..i are wrong and some longer row of experts is right."""
        sums, asked = zip(*self.walk(batch.image), strict=True)
        right = torch.stack([total.argmax(1) == batch.label for total in sums])  # [E, B]
        later = torch.stack([right[i + 1 :].any(0) for i in range(len(right) - 1)])
        want = (~right[:-1] & later).float()
        asks = torch.stack(asked[:-1])
        return {"route": F.binary_cross_entropy_with_logits(asks, want, pos_weight=self.pos_weight)}

    def walk(self, image: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """After each expert, on all images: summed logits [B, C], and the router's ask [B], None after the last."""
        shared, total = self.ride.trunk(image), torch.zeros(())
        for i in range(len(self.ride.heads)):
            feature = self.ride.branches[i](shared)
            total = self.ride.heads[i](feature) + (total if i else 0)
            yield total, self.router(i, feature, total / (i + 1)) if i < len(self.hidden) else None

    def router(self, i: int, feature: Tensor, logits: Tensor) -> Tensor:
        """[B] router i's ask for the next expert, from the last feature [B, D] and the mean logits so far [B, C]."""
        seen = F.relu(self.hidden[i](F.normalize(feature.float(), dim=1)))
        return self.ask(torch.cat([logits.topk(self.top, dim=1).values, seen], dim=1))[:, 0].float()

    def predict(self, image: Tensor) -> Prediction:
        """The mean of the experts that were asked; the others are not run."""
        shared, going = self.ride.trunk(image), torch.arange(len(image), device=image.device)
        total = torch.zeros(len(image), len(self.counts), device=image.device)
        used = torch.zeros(len(image), device=image.device)
        for i in range(len(self.ride.heads)):
            feature = self.ride.branches[i](shared[going])
            total[going] += self.ride.heads[i](feature)
            used[going] += 1
            if i < len(self.hidden):
                going = going[self.router(i, feature, total[going] / (i + 1)).sigmoid() > self.threshold]
            if not len(going):
                break
        return Prediction(total / used[:, None], {"experts_used": used})

    def dense(self, image: Tensor) -> Prediction:
        """All experts on all images."""
        *_, (total, _) = self.walk(image)
        return Prediction(total / len(self.ride.heads))

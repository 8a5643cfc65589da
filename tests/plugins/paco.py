"""Parametric contrastive learning: a slow copy of the network, and a queue of what it has seen."""

from copy import deepcopy
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from ltbench import Batch, Classifier, Clock, Problem, Stream, freeze, gather, longtail, losses, make_heads, register


@register("paco")
class PaCo(Classifier):
    """Supervised contrast with past keys, among which the classes' logits stand as keys that count for more.

    alpha: what a key of the same class counts beside the class itself; temperature: of keys; momentum: of the slow
    copy; queue: keys that are kept, of this size. The slow copy counts among the table's parameters.
    """

    paper = "arXiv:2107.12028"

    def __init__(
        self,
        problem: Problem,
        *,
        alpha: Annotated[float, Ge(0)] = 0.01,
        temperature: Annotated[float, Gt(0)] = 0.05,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
        queue: Annotated[int, Ge(1)] = 1024,
        size: Annotated[int, Ge(1)] = 32,
    ) -> None:
        super().__init__(problem)
        self.backbone = problem.backbone()
        dim = self.backbone.dim
        self.heads = make_heads("linear", dim, problem.classes)
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, size))
        self.slow = freeze(nn.Sequential(deepcopy(self.backbone), deepcopy(self.project)), statistics=False)
        self.alpha, self.temperature, self.momentum = alpha, temperature, momentum
        self.register_buffer("log_prior", longtail.log_prior(problem.counts))
        self.register_buffer("keys", torch.zeros(queue, size))
        self.register_buffer("owners", torch.full((queue,), -1))  # -1: nothing is there yet
        self.register_buffer("oldest", torch.zeros((), dtype=torch.long))

    def streams(self) -> tuple[Stream, ...]:
        """One view for the network, one for its slow copy."""
        return (Stream(views=2),)

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over classes, raised by their log prior, and keys at once.

        The published code compares each image with the others of its batch, too, not with keys alone.
        """
        feature = self.backbone(batch.image[0])
        with torch.no_grad():
            key = F.normalize(self.slow(batch.image[1]).float())
        keys, owners = torch.cat([key, self.keys]), torch.cat([batch.label, self.owners])
        alike = self.similar(self.project(feature), keys).masked_fill(owners < 0, -torch.inf)
        log_p = torch.cat([self.heads[0](feature) + self.log_prior, alike], dim=1).log_softmax(1)
        wanted = torch.cat(
            [losses.as_shares(batch.target, len(self.counts)), self.alpha * (batch.label[:, None] == owners)], dim=1
        )
        self.remember(gather(key), gather(batch.label))
        return {"paco": -(wanted * log_p.masked_fill(wanted == 0, 0)).sum(1).div(wanted.sum(1)).mean()}

    def similar(self, query: Tensor, keys: Tensor) -> Tensor:
        """[B, K] cosines of [B, D] and keys [K, D], over temperature; in fp32 whatever the recipe's precision."""
        with torch.autocast(query.device.type, enabled=False):
            return F.normalize(query.float()) @ keys.T / self.temperature

    def remember(self, key: Tensor, owner: Tensor) -> None:
        """Write keys [B, D] of classes [B] over the oldest, of all processes into each one's queue."""
        key, owner = key[: len(self.keys)], owner[: len(self.keys)]
        place = (self.oldest + torch.arange(len(key), device=key.device)) % len(self.keys)
        self.keys.index_copy_(0, place, key)
        self.owners.index_copy_(0, place, owner)
        self.oldest.add_(len(key)).remainder_(len(self.keys))

    def after_step(self, t: Clock) -> None:
        """The slow copy follows."""
        for slow, fast in zip(
            self.slow.parameters(), [*self.backbone.parameters(), *self.project.parameters()], strict=True
        ):
            slow.lerp_(fast, 1 - self.momentum)

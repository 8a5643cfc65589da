"""One optimizer step, from what is drawn to the updated weights; nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from .data.streams import Data, Drawn
from .errors import LtbenchError
from .method import Batch, Clock, Method
from .mixing import mixed
from .recipe import Recipe


class Outcome(NamedTuple):
    """What a step leaves to be read later."""

    terms: dict[str, Tensor]  # the loss's named terms, scalars in fp32, without gradients
    bad: Tensor  # scalar: 1 where the loss or a gradient was not finite and the update was left out, else 0


class Micro(NamedTuple):
    """One micro-batch of a step."""

    draws: tuple[Drawn, ...]  # one for each stream
    mixes: tuple[Tensor, ...]  # [PARTS] one for each stream: see mixing.py; none where nothing is mixed
    weight: float  # of its mean loss: W times its share of the images of the step over all processes


class Step(Protocol):
    """What trains on one step's micro-batches: eagerly, or as a captured graph."""

    def __call__(self, t: Clock, parts: Sequence[Micro]) -> Outcome:
        """Loss, gradient, update."""


@dataclass
class Eager:
    """The step itself, operation after operation."""

    method: Method
    recipe: Recipe
    model: Any  # the method as accelerate prepared it: a call is its loss()
    optimizer: torch.optim.Optimizer
    stepper: Any  # the optimizer as accelerate prepared it
    data: Data
    accelerator: Accelerator
    _names: list[str] = field(default_factory=list)  # of the terms, where several processes add them up
    _epoch: int = -1  # in which they were compared

    def __call__(self, t: Clock, parts: Sequence[Micro]) -> Outcome:
        """Augment, mix, loss, gradient, update."""
        terms: dict[str, Tensor] = {}
        for i, part in enumerate(parts):
            # processes add up their gradients once, with those of the last micro-batch
            with self.accelerator.no_sync(self.model) if i + 1 < len(parts) else nullcontext():
                for name, term in self._gradients(t, part).items():
                    terms[name] = terms[name] + term if name in terms else term
        bad = self._not_finite(torch.stack(list(terms.values())).sum())
        # fused optimizers leave the weights alone where found_inf is 1
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.stepper.step()
        self.stepper.zero_grad()
        with torch.no_grad():
            self.method.after_step(t)
        return Outcome(self._over_processes(terms, t), bad)

    def batches(self, part: Micro) -> list[Batch]:
        """What the loss gets: one batch for each stream."""
        plain = [self.data.augmented(draw) for draw in part.draws]
        if not part.mixes:
            return plain
        classes = len(self.method.counts)
        return [mixed(batch, mix, self.recipe, classes) for batch, mix in zip(plain, part.mixes, strict=True)]

    def _gradients(self, t: Clock, part: Micro) -> dict[str, Tensor]:
        """Add the micro-batch's gradients to those that are there; its terms, weighted."""
        terms: dict[str, Tensor] = self.model(t, *self.batches(part))
        total = torch.stack(list(terms.values())).sum()
        if not total.requires_grad:
            raise LtbenchError(f"{type(self.method).__name__}.loss() gives terms that reach no parameter that trains")
        self.accelerator.backward(total if part.weight == 1 else total * part.weight)
        kept = {name: term.detach().float() for name, term in terms.items()}
        return kept if part.weight == 1 else {name: term * part.weight for name, term in kept.items()}

    def _not_finite(self, total: Tensor) -> Tensor:
        """1.0 where the loss or a gradient, on any process, is not finite, else 0.0; on the device.

        Where the recipe clips gradients, they are shortened to its norm.
        """
        trained = [p for p in self.method.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None], foreach=True)
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(trained, self.recipe.clip, norm, foreach=True)
        bad = (~(torch.isfinite(norm) & torch.isfinite(total))).to(torch.float32)  # as fused optimizers take it
        if self.accelerator.num_processes > 1:
            torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MAX)
        return bad

    def _over_processes(self, terms: dict[str, Tensor], t: Clock) -> dict[str, Tensor]:
        """The terms' means over all processes, so that each process has the sums that a checkpoint keeps."""
        world = self.accelerator.num_processes
        if world == 1:
            return terms
        names = sorted(terms)
        self._check_names(names, t)
        means = torch.stack([terms[name] for name in names]) / world
        torch.distributed.all_reduce(means)
        return dict(zip(names, means.unbind(), strict=True))

    def _check_names(self, names: list[str], t: Clock) -> None:
        """Raises LtbenchError where processes would add up terms of other names, and perhaps wait for ever.

        They compare them in an epoch's first step: what is read off the clock changes between epochs.
        """
        everyone = [self._names, names] if t.epoch == self._epoch else gather_object([names])
        if any(other != everyone[0] for other in everyone):
            said = " and ".join(dict.fromkeys(", ".join(each) for each in everyone))
            raise LtbenchError(
                f"{type(self.method).__name__}.loss() gives the terms {said}: with several processes their names must "
                "be the same at every step of an epoch"
            )
        self._names, self._epoch = names, t.epoch

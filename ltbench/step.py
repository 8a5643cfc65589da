"""One optimizer step, from what is drawn to the updated weights; nothing in it waits for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from .data.streams import Data, Drawn
from .method import Clock, Method


class Outcome(NamedTuple):
    """What a step leaves to be read later."""

    terms: dict[str, Tensor]  # the loss's named terms, scalars in fp32, without gradients
    bad: Tensor  # scalar: 1 where the loss or a gradient was not finite and the update was left out, else 0


class Step(Protocol):
    """What trains on one draw per stream: eagerly, or as a captured graph."""

    def __call__(self, t: Clock, draws: Sequence[Drawn]) -> Outcome:
        """Loss, gradient, update."""


@dataclass
class Eager:
    """The step itself, operation after operation."""

    method: Method
    model: Any  # the method as accelerate prepared it: a call is its loss()
    optimizer: torch.optim.Optimizer
    stepper: Any  # the optimizer as accelerate prepared it
    data: Data
    accelerator: Accelerator

    def __call__(self, t: Clock, draws: Sequence[Drawn]) -> Outcome:
        """Augment, loss, gradient, update."""
        terms: dict[str, Tensor] = self.model(t, *(self.data.augmented(draw) for draw in draws))
        total = torch.stack(list(terms.values())).sum()
        self.accelerator.backward(total)
        bad = self._not_finite(total)
        # fused SGD leaves the weights alone where found_inf is 1
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]
        self.stepper.step()
        self.stepper.zero_grad()
        with torch.no_grad():
            self.method.after_step(t)
        return Outcome({name: term.detach().float() for name, term in terms.items()}, bad)

    def _not_finite(self, total: Tensor) -> Tensor:
        """1.0 where the loss or a gradient, on any process, is not finite, else 0.0; on the device."""
        grads = [p.grad for p in self.method.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads, foreach=True)
        bad = (~(torch.isfinite(norm) & torch.isfinite(total.detach()))).to(torch.float32)  # as fused SGD takes it
        if self.accelerator.num_processes > 1:
            torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MAX)
        return bad

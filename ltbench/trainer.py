"""The only training loop. It knows no method by name: streams in, named loss terms out, one optimizer step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from .data.draws import seed_of
from .data.streams import Data, Share
from .errors import LtbenchError
from .graph import Graphed, Tape, stream_of
from .method import Clock, Method
from .recipe import Recipe
from .step import Eager, Outcome, Step


class DivergedError(Exception):
    """The loss or its gradient was not finite; that update, like all after it in its epoch, was masked or is void."""


class Interrupted(Exception):
    """The run was asked to stop, and did between two steps."""


@dataclass
class Progress:
    """Where a run stands between two steps: with the weights and the optimizer, all that a resumed run needs."""

    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)  # term -> its sum over this epoch's steps, on the device
    bad: int = -1  # the first step of this epoch whose loss or gradient was not finite
    history: list[dict[str, Any]] = field(default_factory=list)  # {epoch, lr, terms} of each finished epoch
    seconds: float = 0.0  # spent training, over all processes that carried this run


@dataclass
class Fit:
    """One run in training."""

    method: Method
    recipe: Recipe
    data: Data
    accelerator: Accelerator
    seed: int
    progress: Progress = field(default_factory=Progress)
    optimizer_state: dict[str, Tensor] | None = None  # from a checkpoint
    tape: Tape | None = None  # records the step where it can; None: every step is taken eagerly
    note: Callable[[str], None] = lambda text: None  # hears once why a step cannot be recorded
    after_step: Callable[[Fit], None] = lambda fit: None  # may save, may raise Interrupted
    after_epoch: Callable[[dict[str, Any], int, float], None] = lambda row, images, seconds: None

    def run(self) -> None:
        """Train from where `progress` stands to the end. Raises DivergedError at the end of the epoch it happens in."""
        if self.recipe.epochs == 0:
            return
        share = Share(self.accelerator.process_index, self.accelerator.num_processes)
        if self.recipe.batch_size % share.world:
            raise LtbenchError(
                f"recipe.batch_size {self.recipe.batch_size} cannot be divided by {share.world} processes"
            )
        per_epoch = self.data.steps(self.recipe, share.world)
        steps = per_epoch * self.recipe.epochs
        self.optimizer = make_optimizer(self.method, self.recipe, self.accelerator.device)
        if self.optimizer_state is not None:
            load_optimizer(self.optimizer, self.method, self.optimizer_state)
        model, stepper = self.accelerator.prepare(self.method, self.optimizer)
        self.rate: Tensor = self.optimizer.param_groups[0]["lr"]  # prepare() has copied the one that was given
        self._bad = torch.tensor(float(self.progress.bad), device=self.accelerator.device)
        eager = Eager(self.method, model, self.optimizer, stepper, self.data, self.accelerator)
        step: Step = Graphed(eager, self.tape, self.note) if self.tape else eager
        with stream_of(self.tape):
            for epoch in range(self.progress.step // per_epoch, self.recipe.epochs):
                self._epoch(step, epoch, per_epoch, steps, share)

    def _epoch(self, step: Step, epoch: int, per_epoch: int, steps: int, share: Share) -> None:
        begun, first = time.perf_counter(), self.progress.step % per_epoch
        self._counted = begun
        now = Clock(epoch, self.recipe.epochs, epoch * per_epoch, steps)
        self.rate.fill_(lr := self.recipe.lr_at(now))
        self.method.train()
        streams = [
            self.data.epoch(stream, now, self.seed, number, self.recipe, share)
            for number, stream in enumerate(self.method.streams())
        ]
        for k in range(first, per_epoch):
            t = Clock(epoch, self.recipe.epochs, epoch * per_epoch + k, steps)
            # whatever the loss draws is a function of where it stands, so a resumed run draws the same
            torch.manual_seed(seed_of(self.seed, "step", t.step, 0, share.rank))
            self._add(step(t, [stream.draw(k) for stream in streams]), t)
            self.progress.step += 1
            if k + 1 < per_epoch:  # after the last one the epoch is closed first
                self.after_step(self)
        self._close_epoch(epoch, lr, per_epoch)
        spent = time.perf_counter() - begun
        self._count_time()
        images = (len(self.data) - first * self.recipe.batch_size) * len(streams)
        self.after_epoch(self.progress.history[-1], images, spent)
        self.after_step(self)

    def _add(self, outcome: Outcome, t: Clock) -> None:
        """Add a step's terms to the epoch's sums, on the device."""
        for name, term in outcome.terms.items():
            before = self.progress.sums.get(name)
            # cloned: the next replay of a recorded step overwrites its outcome
            self.progress.sums[name] = term.clone() if before is None else before + term
        self._bad.masked_fill_((self._bad < 0) & (outcome.bad > 0), float(t.step))

    def _close_epoch(self, epoch: int, lr: float, per_epoch: int) -> None:
        """Read the epoch's sums off the device: the one wait of an epoch."""
        names = list(self.progress.sums)
        if self.accelerator.num_processes > 1:
            for name in names:
                torch.distributed.all_reduce(self.progress.sums[name])
                self.progress.sums[name] /= self.accelerator.num_processes
        values = dict(zip(names, torch.stack([self.progress.sums[n] for n in names]).tolist(), strict=True))
        bad = int(self._bad)
        if bad >= 0:
            named = [name for name, value in values.items() if not torch.isfinite(torch.tensor(value))]
            what = f"term {', '.join(named)}" if named else "the gradient"
            raise DivergedError(f"{what} was not finite at step {bad} (epoch {epoch})")
        terms = {name: value / per_epoch for name, value in values.items()}
        self.progress.history.append({"epoch": epoch, "lr": lr, "terms": terms})
        self.progress.sums = {}

    def _count_time(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self._counted
        self._counted = now

    def snapshot(self) -> dict[str, Tensor]:
        """All tensors that a checkpoint holds, by name."""
        tensors = {f"method.{name}": value for name, value in self.method.state_dict().items()}
        tensors |= {
            f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer, self.method).items()
        }
        tensors |= {f"sums.{name}": value for name, value in self.progress.sums.items()}
        self.progress.bad = int(self._bad)
        self._count_time()
        return tensors


def make_optimizer(method: Method, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Fused SGD over the parameters that train; its rate is a scalar tensor that the loop refills each epoch."""
    parameters = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        parameters, lr=torch.zeros((), device=device), momentum=recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay, fused=True,
    )  # fmt: skip
    for p in parameters:
        # Zeros are what SGD starts from anyway; made here, they are there to be saved and survive a masked first step.
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


def optimizer_tensors(optimizer: torch.optim.Optimizer, method: Method) -> dict[str, Tensor]:
    """The optimizer's state by <parameter's name>.<what it is>."""
    named = {id(p): name for name, p in method.named_parameters()}
    return {f"{named[id(p)]}.{key}": value for p, state in optimizer.state.items() for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, method: Method, tensors: dict[str, Tensor]) -> None:
    """Put tensors by optimizer_tensors()' names back into a fresh optimizer. Raises KeyError where one is missing."""
    for name, value in optimizer_tensors(optimizer, method).items():
        value.copy_(tensors[name])

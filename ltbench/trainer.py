"""The only training loop. It knows no method by name: streams in, named loss terms out, one optimizer step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from . import mixing
from .averaging import Average
from .data.seeds import seed_of
from .data.streams import Data, Drawn, Share
from .errors import LtbenchError
from .graph import Graphed, Tape, stream_of
from .method import Clock, Method
from .optimizer import load_optimizer, make_optimizer, optimizer_tensors
from .recipe import Recipe
from .step import Eager, Micro, Outcome, Step


class DivergedError(Exception):
    """The loss or its gradient was not finite; that update, like all after it in its epoch, was masked or is void."""


class Interrupted(Exception):
    """The run was asked to stop, and did between two steps."""


class LostError(Interrupted):
    """Another runner has taken the run over, as it may from one that was halted or cut off for long: hands off."""


@dataclass
class Progress:
    """Where a run stands between two steps: with the weights and the optimizer, all that a resumed run needs."""

    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)  # term -> its sum over this epoch's steps, on the device
    bad: int = -1  # the first step of this epoch whose loss or gradient was not finite
    history: list[dict[str, Any]] = field(default_factory=list)  # {epoch, lr, terms} of each finished epoch
    seconds: float = 0.0  # spent training, over all processes that carried this run
    origins: list[dict[str, Any]] = field(default_factory=list)  # {first, ...}: where the steps from first on were made


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
    average_state: dict[str, Tensor] | None = None  # from a checkpoint, where the recipe averages weights
    tape: Tape | None = None  # records the step where it can; None: every step is taken eagerly
    note: Callable[[str], None] = lambda text: None  # hears once why a step cannot be recorded
    after_step: Callable[[Fit], None] = lambda fit: None  # may save, may raise Interrupted
    after_epoch: Callable[[dict[str, Any], int, float], None] = lambda row, images, seconds: None

    def run(self) -> None:
        """Train from where `progress` stands to the end. Raises DivergedError at the end of the epoch it happens in."""
        if self.recipe.epochs == 0:
            return
        self.share = Share(self.accelerator.process_index, self.accelerator.num_processes)
        check_divisible(self.recipe, self.share.world)
        per_epoch = self.data.steps(self.recipe)
        self.optimizer = make_optimizer(self.method, self.recipe, self.accelerator.device)
        if self.optimizer_state is not None:
            load_optimizer(self.optimizer, self.method, self.optimizer_state)
        model, stepper = self.accelerator.prepare(self.method, self.optimizer)
        # prepare() has copied the one that was given
        self.rates: list[Tensor] = [group["lr"] for group in self.optimizer.param_groups]
        self.average = Average(self.method, self.recipe.ema) if self.recipe.ema else None
        if self.average and self.average_state is not None:
            self.average.load(self.average_state)
        self._bad = torch.tensor(float(self.progress.bad), device=self.accelerator.device)
        eager = Eager(self.method, self.recipe, model, self.optimizer, stepper, self.data, self.accelerator)
        step: Step = Graphed(eager, self.tape, self.note) if self.tape else eager
        with stream_of(self.tape):
            for epoch in range(self.progress.step // per_epoch, self.recipe.epochs):
                self._epoch(step, epoch, per_epoch)
            if self.average:
                self.average.settle()
        if self.share.world > 1:  # each process has seen its own part of the last batch
            for buffer in self.method.buffers():
                torch.distributed.broadcast(buffer, 0)

    def _epoch(self, step: Step, epoch: int, per_epoch: int) -> None:
        begun, first = time.perf_counter(), self.progress.step % per_epoch
        self._counted = begun
        steps = per_epoch * self.recipe.epochs
        now = Clock(epoch, self.recipe.epochs, epoch * per_epoch, steps)
        lr = self.recipe.lr_at(now)
        for rate in self.rates:
            rate.fill_(lr)
        self.method.train()
        streams = [
            self.data.epoch(stream, now, self.seed, number, self.recipe, self.share)
            for number, stream in enumerate(self.method.streams())
        ]
        mixes = self._mixes(now.step, per_epoch, len(streams))
        for k in range(first, per_epoch):
            t = Clock(epoch, self.recipe.epochs, epoch * per_epoch + k, steps)
            # Whatever the loss draws is a function of where it stands, so a resumed run draws the same. The
            # micro-batches of a step draw one after the other, as they would in the replay of a recorded step.
            torch.manual_seed(seed_of(self.seed, "step", t.step, 0, self.share.rank))
            draws = [stream.draw(k) for stream in streams]
            self._add(step(t, self._micros(k, draws, [mix[k] for mix in mixes])), t)
            if self.average:
                self.average.update(t.step)
            self.progress.step += 1
            if k + 1 < per_epoch:  # after the last one the epoch is closed first
                self.after_step(self)
        self._close_epoch(epoch, lr, per_epoch)
        spent = time.perf_counter() - begun
        self._count_time()
        images = (len(self.data) - first * self.recipe.batch_size) * len(streams)  # of all processes
        self.after_epoch(self.progress.history[-1], images, spent)
        self.after_step(self)

    def _mixes(self, first: int, steps: int, streams: int) -> list[Tensor]:
        """How the epoch's batches are mixed: for each stream [steps, micro-batches, PARTS]; none where nothing is."""
        if not self.recipe.mixes:
            return []
        place = (first, steps, self.share.rank, self.accelerator.device)
        return [mixing.epoch(self.recipe, self.seed, number, *place) for number in range(streams)]

    def _micros(self, k: int, draws: list[Drawn], mixes: list[Tensor]) -> list[Micro]:
        """The micro-batches of this process's part of step k of an epoch; a short batch may have fewer of them.

        Not so with several processes, whose losses may ask each other for something: one without an image goes along
        with the part's first, which counts for nothing.
        """
        whole = min(self.recipe.batch_size, len(self.data) - k * self.recipe.batch_size)
        first, last = self.share.of(whole)
        micros = []
        for i in range(self.recipe.accumulate):
            begin, end = Share(i, self.recipe.accumulate).of(last - first)
            weight = (end - begin) * self.share.world / whole
            if weight or self.share.world > 1:
                part = tuple(draw.part(begin, end) if weight else draw.part(0, 1) for draw in draws)
                micros.append(Micro(part, tuple(mix[i] for mix in mixes), weight))
        return micros

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
        tensors |= {f"average.{name}": value for name, value in (self.average.held if self.average else {}).items()}
        tensors |= {f"sums.{name}": value for name, value in self.progress.sums.items()}
        self.progress.bad = int(self._bad)
        self._count_time()
        return tensors


def check_divisible(recipe: Recipe, world: int) -> None:
    """Raises LtbenchError where a batch cannot be cut into equal parts for all processes and micro-batches."""
    if recipe.batch_size % world:
        raise LtbenchError(f"recipe.batch_size {recipe.batch_size} cannot be divided by {world} processes")
    if recipe.batch_size // world % recipe.accumulate:
        raise LtbenchError(
            f"recipe.batch_size {recipe.batch_size} cannot be divided by {world} processes, each of "
            f"accumulate {recipe.accumulate} micro-batches"
        )

"""The step as a CUDA graph: recorded once, replayed until the clock would tell the loss something else.

A graph repeats the kernels of one step on the same memory, without Python in between. What the loss has read off the
clock is baked into it; so the clock of the recorded step notes what is read, and the step is recorded anew as soon as
one of these questions has another answer: never for plain cross-entropy, once for deferred re-weighting, each epoch
for BBN. The random draws of a step differ from replay to replay, since torch's generator is part of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any, Protocol, cast

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from . import capturable
from .method import Clock
from .step import Eager, Micro, Outcome

Work = Callable[[], Outcome]


class Watch:
    """A clock that notes which questions it was asked, and what it answered."""

    def __init__(self, t: Clock) -> None:
        self._t = t
        self.answers: dict[tuple[str, float | None], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return self.answers.setdefault((name, None), getattr(self._t, name))

    def after(self, share: float) -> bool:
        """As Clock.after."""
        return cast(bool, self.answers.setdefault(("after", share), self._t.after(share)))

    def holds(self, t: Clock) -> bool:
        """Whether t would answer the same questions alike."""
        return all(
            (getattr(t, name) if share is None else t.after(share)) == answer
            for (name, share), answer in self.answers.items()
        )


class Tape(Protocol):
    """Records work once, to be repeated on the same memory."""

    def record(self, work: Work) -> Work:
        """Record the work, without doing it; the call that repeats it. Raises RuntimeError where that cannot be."""

    def stream(self) -> AbstractContextManager[Any]:
        """Within this, all work goes where recordings can be made of it."""


class CudaTape:
    """CUDA graphs, on a stream of their own: torch records none on the default one."""

    def __init__(self) -> None:
        self._stream = _side_stream(torch.cuda.current_device())

    def record(self, work: Work) -> Work:
        """As Tape; an operation that waits for the device raises."""
        graph = torch.cuda.CUDAGraph()
        # thread_local: other threads of this process may allocate meanwhile
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            outcome = work()

        def replay() -> Outcome:
            graph.replay()
            return outcome

        return replay

    @contextmanager
    def stream(self) -> Iterator[None]:
        """As Tape; what follows waits for that work, on the device."""
        outer = torch.cuda.current_stream()
        self._stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outer.wait_stream(self._stream)


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """One for all runs of a process: cuBLAS keeps a workspace, of 32 MiB on Hopper, for each stream it has seen."""
    return torch.cuda.Stream(device)


def make_tape(accelerator: Accelerator) -> Tape | None:
    """CUDA's where one process trains on one GPU, else None: then steps are taken eagerly."""
    alone_on_cuda = accelerator.device.type == "cuda" and accelerator.num_processes == 1
    return CudaTape() if alone_on_cuda else None


def stream_of(tape: Tape | None) -> AbstractContextManager[Any]:
    """The tape's stream, if there is a tape."""
    return tape.stream() if tape else nullcontext()


def _is_full(error: BaseException | None) -> bool:
    """Whether memory ran out, or that came first: leaving a recording may raise once more."""
    return error is not None and (isinstance(error, torch.OutOfMemoryError) or _is_full(error.__context__))


class Graphed:
    """A step that is recorded where it can be, and the eager one where it cannot."""

    def __init__(self, eager: Eager, tape: Tape, note: Callable[[str], None]) -> None:
        self._eager, self._tape, self._note = eager, tape, note
        self._possible: bool | None = None  # None: not known yet
        self._form: list[Any] | None = None
        self._images = 0  # of a step of that form
        self._watch: Watch | None = None
        self._phase: dict[float | None, Any] = {}  # the yes/no questions, and their answers, of the last check
        self._held: Sequence[Micro] = ()
        self._replay: Work | None = None
        self._full = -1  # the last epoch in which there was no memory to record
        self.recordings = 0

    def __call__(self, t: Clock, parts: Sequence[Micro]) -> Outcome:
        """Loss, gradient, update, by replay where the recording still holds."""
        form = [x.shape if isinstance(x, Tensor) else x for x in tree_leaves(parts)]
        images = sum(part.draws[0].size for part in parts)
        if images > self._images:  # a run may go on at the short last step of an epoch
            self._form, self._images, self._watch = form, images, None
        hopeless = self._possible is False or t.epoch == self._full
        if hopeless or form != self._form:  # the last batch of an epoch may be short
            return self._eager(t, parts)
        if self._watch is None or not self._watch.holds(t):
            # Done once eagerly: it shows what is read off the clock, and makes what a recording may not make.
            self._watch, self._replay = Watch(t), None
            outcome = self._eager(cast(Clock, self._watch), parts)
            self._possible = self._can_be_recorded(t, parts[0])
            return outcome
        if self._replay is None:
            self._held = tree_map_only(Tensor, torch.clone, parts)
            try:
                self._replay = self._tape.record(lambda: self._eager(cast(Clock, self._watch), self._held))
                self.recordings += 1
            except RuntimeError as error:
                if _is_full(error):  # for now: runs beside this one may fill the device
                    self._full = t.epoch
                    return self._eager_after_all(t, parts)
                return self._give_up(str(error).partition("\n")[0], t, parts)
        for held, new in zip(tree_leaves(self._held), tree_leaves(parts), strict=True):
            if isinstance(held, Tensor):
                held.copy_(new)
        return self._replay()

    def _can_be_recorded(self, t: Clock, part: Micro) -> bool:
        assert self._watch is not None
        if ("step", None) in self._watch.answers:
            self._eagerly("its loss reads the step, which never stays")
            return False
        phase = {share: answer for (name, share), answer in self._watch.answers.items() if name == "after"}
        if self._possible and phase == self._phase:  # told already, by the first step of this phase
            return True
        self._phase = phase
        reason = capturable.why_not(self._eager.method, t, self._eager.batches(part))
        if reason:
            self._eagerly(reason)
        return not reason

    def _give_up(self, reason: str, t: Clock, parts: Sequence[Micro]) -> Outcome:
        self._possible = False
        self._eagerly(reason)
        return self._eager_after_all(t, parts)

    def _eager_after_all(self, t: Clock, parts: Sequence[Micro]) -> Outcome:
        self._eager.stepper.zero_grad()  # what a recording that broke off has left there was never computed
        return self._eager(t, parts)

    def _eagerly(self, reason: str) -> None:
        self._note(f"steps are taken eagerly, not as a CUDA graph: {reason}")

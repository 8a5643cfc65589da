"""The method interface: the page to read first.

A method is one class: it builds its network, turns a batch into named loss terms, and predicts. It never sees the
loop, the optimizer, the files or the test set. Shapes, here and in every docstring of ltbench: B images of a batch,
C classes, D features, E experts, V views of one image, N training images, W processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self, TypeVar, get_args

import accelerate.utils
import torch
from torch import Tensor, nn

from .errors import LtbenchError

if TYPE_CHECKING:
    from .backbones import Backbone
    from .recipe import Recipe

M = TypeVar("M", bound=nn.Module)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Batch(NamedTuple):
    """What one stream gives in one step."""

    image: Tensor  # [B, 3, H, W]; [V, B, 3, H, W] where the stream has V > 1 views
    label: Tensor  # [B] int64; where the recipe mixes images, of the image itself
    target: Tensor  # what losses take: the label, or [B, C] where the recipe mixes images


@dataclass(frozen=True)
class Clock:
    """Where the run stands, all counts from 0. Schedules are functions of it; only `step` moves within an epoch."""

    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def progress(self) -> float:
        """Share of the epochs that are over, from 0 to just under 1."""
        return self.epoch / self.epochs

    def after(self, share: float) -> bool:
        """Whether that share of the run is over: after(0.8) holds from epoch 160 of 200 on."""
        return self.progress >= share


class Prediction(NamedTuple):
    """What a method says of a batch of test images."""

    logits: Tensor  # [B, C]
    per_image: Mapping[str, Tensor] = _NOTHING  # name -> [B]; the record and a figure have the means
    members: Tensor | None = None  # [E, B, C]: single experts, shown beside their mean


@dataclass(frozen=True)
class Problem:
    """What a method is built for."""

    counts: Tensor  # [C] training images per class
    image_size: int  # pixels a side
    backbone: Callable[[], Backbone]  # a fresh one at each call

    @property
    def classes(self) -> int:
        """C."""
        return len(self.counts)


@dataclass(frozen=True)
class ProblemSpec:
    """What is known of a problem before anything is built; `Method.skip` is asked with it."""

    data: str
    counts: tuple[int, ...]
    image_size: int
    backbone: str


Part = Literal["all", "fit"]  # the images that a run is trained on


@dataclass(frozen=True)
class Ref:
    """Another run on the same data and backbone.

    seed is an offset to the asking run's seed (an ensemble takes 1000, 2000, ...); part="fit" trains without the
    images that `data.split(0.1)` holds out; wants names what the other method must offer.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    part: Part = "all"
    wants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError where there is no such part."""
        if self.part not in get_args(Part):
            raise ValueError(f"the part of a Ref is 'all' or 'fit', got {self.part!r}")


@dataclass(frozen=True)
class Stream:
    """How one training stream draws its N images an epoch.

    class_odds: (counts [C], clock) -> [C] odds of each class, images of a class being equally likely; None takes
    every image once an epoch. views: how many differently augmented copies of each image a batch holds.
    """

    class_odds: Callable[[Tensor, Clock], Tensor] | None = None
    views: int = 1


by_image = Stream()
by_class = Stream(lambda counts, t: torch.ones_like(counts))
by_rarity = Stream(lambda counts, t: counts.max() / counts)


class TrainingData(Protocol):
    """The training images as `Method.begin` may see them; the test set cannot be reached from here."""

    @property
    def counts(self) -> Tensor:
        """[C] images of each class."""

    def once(self, batch_size: int = 128) -> Iterator[Batch]:
        """Each image once, in a fixed order, prepared as at test."""

    def split(self, share: float = 0.1) -> tuple[TrainingData, TrainingData]:
        """(fit, held): of each class that share, rounded up, is held out; a class of one image stays in fit."""


class Method(nn.Module):
    """Base of all methods. Options are the keyword-only arguments of `__init__`: names, types, limits, defaults."""

    name: ClassVar[str] = ""  # set by register()
    paper: ClassVar[str] = ""
    version: ClassVar[int] = 1  # raised when the numbers of this method change
    shown: ClassVar[tuple[str, ...]] = ()  # options that stand in the row's label even at their defaults

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.register_buffer("counts", problem.counts.float().clone())  # its own, whatever writes into it
        # plain dicts are no modules: a parent is never saved, counted, broadcast or optimised
        self.parents: dict[str, Method] = {}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Modules and buffers, which nn.Module's own hint calls Tensor | Module."""

    # Planning: asked with all options, before anything is built.
    @classmethod
    def needs(cls, options: Mapping[str, Any]) -> dict[str, Ref]:
        """role -> the finished run this one starts from. Raises ValueError for options that do not go together."""
        return {}

    @classmethod
    def offers(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What a child may want of this method: "backbone", "linear_head", "experts"."""
        return ()

    @classmethod
    def recipe(cls, base: Recipe, options: Mapping[str, Any]) -> Recipe:
        """The suite's recipe, with what a second stage needs of its own; epochs=0 trains nothing."""
        return base

    @classmethod
    def skip(cls, problem: ProblemSpec, options: Mapping[str, Any]) -> str:
        """A reason not to run here, shown in plan and table; "" to run."""
        return ""

    def begin(self, parents: Mapping[str, Method], data: TrainingData) -> None:
        """Take what is needed of the parents and the training images, into weights or buffers.

        Called before the first step, and again on resume before the checkpoint is loaded. Parents are finished, in
        eval mode, without gradients.
        """

    # Training.
    def streams(self) -> tuple[Stream, ...]:
        """What each step draws; `loss` gets one batch per stream."""
        return (by_image,)

    def loss(self, t: Clock, *batches: Batch) -> dict[str, Tensor]:
        """Named scalar terms; the trainer adds them up and logs each. Changes no attribute, rebinds no buffer.

        It may write into buffers in place. An epoch's last batch, or a micro-batch, may be one image. With several
        processes the names are the same at every step of an epoch.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no loss(); a method that trains nothing has epochs=0")

    def after_step(self, t: Clock) -> None:
        """Projections and moving averages, without gradients, alike on all processes."""

    # Evaluation.
    def predict(self, image: Tensor) -> Prediction:
        """What this method says of each image of [B, 3, H, W] by itself; changes no state, draws nothing.

        Test images come class after class: whoever looks at a whole batch reads labels off it.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no predict()")

    def dense(self, image: Tensor) -> Prediction:
        """predict() without skipping any part of the network, for counting multiply-adds."""
        return self.predict(image)

    def forward(self, t: Clock, *batches: Batch) -> dict[str, Tensor]:
        """loss(), so that DDP, autocast and graph capture see one call.

        Raises LtbenchError where it gives anything but named scalars.
        """
        terms = self.loss(t, *batches)
        if fault := _fault(terms):
            whose = self.name or type(self).__name__
            raise LtbenchError(f"{whose}.loss() must return a dict of named scalar terms, got {fault}")
        return terms

    def train(self, mode: bool = True) -> Self:
        """As nn.Module's, but what is frozen stays in eval mode."""
        super().train(mode)
        for module in self.modules():
            if getattr(module, "frozen", False):
                module.training = False
        return self


def _fault(terms: Any) -> str:
    """What a loss has given in place of named scalars, "" where it has not; no value is read off the device."""
    if isinstance(terms, Tensor):
        return "Tensor"  # fake ones, too
    if not isinstance(terms, dict):
        return "None" if terms is None else type(terms).__name__
    for name, term in terms.items():
        if not isinstance(name, str):
            return f"the name {name!r}"
        if not isinstance(term, Tensor):
            return f"{type(term).__name__} as {name!r}"
        if term.ndim:
            return f"a tensor of shape {list(term.shape)} as {name!r}"
    return "" if terms else "an empty dict"


def freeze(module: M, *, statistics: bool = True) -> M:
    """No gradients for the module; its BatchNorm statistics and dropout rest too, unless statistics=False."""
    module.requires_grad_(False)
    for part in module.modules():
        part.frozen = statistics  # type: ignore[assignment]  # a mark that Method.train() reads
        part.training = part.training and not statistics  # begin() may run it before anybody calls that
    return module


def build(problem: Problem, ref: Ref) -> Method:
    """The method that ref names, untrained: a method inside a method (an ensemble, a second stage of any base)."""
    from .registry import get, resolve  # not at the top: the trainer, which imports this page, knows no registry

    return get(ref.method)(problem, **resolve(ref.method, ref.options))


def gather(x: Tensor) -> Tensor:
    """[W * B, ...]: the x [B, ...] of all processes, in rank order; x itself where there is one.

    In an epoch's last step B may differ by process.
    """
    sizes: list[int] = accelerate.utils.gather_object([len(x)])
    if len(sizes) == 1:
        return x
    parts = accelerate.utils.gather(accelerate.utils.pad_across_processes(x)).split(max(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

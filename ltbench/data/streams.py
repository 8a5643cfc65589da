"""What all labelled images have in common, in memory or in files: the face that trainer and evaluator see.

One epoch of a stream is an order of rows, drawn here, and a batch for each step; which part of a batch is whose.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from ..method import Batch, Clock, Stream
from .seeds import generator

if TYPE_CHECKING:
    from ..recipe import Recipe


class Norm(NamedTuple):
    """Mean and standard deviation of each channel, of pixel values from 0 to 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def scaling(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(scale, offset), each [3, 1, 1]: uint8 pixels times scale plus offset have mean 0 and deviation 1."""
        scale = torch.tensor(self.std, device=device).mul(255).reciprocal()
        return scale.view(3, 1, 1), -(torch.tensor(self.mean, device=device) * 255 * scale).view(3, 1, 1)


class Share(NamedTuple):
    """Which part of every batch is this process's."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> tuple[int, int]:
        """(first, last) of this part of `count` images in order; parts are equal, or differ by one."""
        return count * self.rank // self.world, count * (self.rank + 1) // self.world

    def part(self, k: int, batch_size: int, images: int) -> slice:
        """This process's positions in the epoch's order at step k.

        Where a short last batch has none for it, the first one: the trainer counts that for nothing.
        """
        start = k * batch_size
        first, last = self.of(min(batch_size, images - start))
        return slice(start + first, start + last) if last > first else slice(start, start + 1)


class Drawn(Protocol):
    """What one stream gives to one step, before the device has finished it: a named tuple of tensors."""

    @property
    def size(self) -> int:
        """B, the images."""

    def part(self, first: int, last: int) -> Self:
        """The images first to last - 1 of these."""

    def __iter__(self) -> Iterator[Tensor]:
        """Its tensors."""


class Draws(Protocol):
    """What one stream draws in one epoch."""

    def draw(self, k: int) -> Drawn:
        """What this process's part of the batch of step k of the epoch is made of, on the data's device."""


class Data(ABC):
    """Labelled images, wherever they lie. label: [N] int64, on the device that batches are made on."""

    size: int  # pixels a side

    def __init__(self, label: Tensor, classes: int, norm: Norm) -> None:
        self.label, self.classes, self.norm = label, classes, norm
        self._counts = torch.bincount(label, minlength=classes).float()
        self._scale, self._offset = norm.scaling(label.device)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def counts(self) -> Tensor:
        """[C] images of each class: a copy, since data are shared by runs and a method may write into what it gets."""
        return self._counts.clone()

    def normalise(self, pixels: Tensor) -> Tensor:
        """[..., 3, H, W] fp32, of mean 0 and deviation 1, from uint8."""
        return pixels.float().mul_(self._scale).add_(self._offset)

    def once(self, batch_size: int = 128) -> Iterator[Batch]:
        """Each image once, in order, as at test: upright and uncropped. Raises what batches() does."""
        return self.batches(torch.arange(len(self)).split(batch_size))

    def split(self, share: float = 0.1) -> tuple[Self, Self]:
        """(fit, held): of each class its last `share`, rounded up, is held out; a class of one image stays in fit."""
        held = held_out(self.label, self.classes, share)
        return self.subset(~held), self.subset(held)

    def steps(self, recipe: Recipe) -> int:
        """Steps an epoch; the last one may be short."""
        return math.ceil(len(self) / recipe.batch_size)

    @abstractmethod
    def to(self, device: torch.device, workers: int | None = None) -> Self:
        """These images on that device; workers: processes that read files, None for as many as suit."""

    @abstractmethod
    def batches(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """A batch of each of these rows, as at test. Raises LtbenchError naming the file that cannot be read."""

    @abstractmethod
    def subset(self, chosen: Tensor) -> Self:
        """The images that a mask [N] chooses."""

    @abstractmethod
    def epoch(self, stream: Stream, t: Clock, seed: int, number: int, recipe: Recipe, share: Share = Share()) -> Draws:
        """What that stream, the method's number-th, draws in t's epoch."""

    @abstractmethod
    def augmented(self, draw: Any) -> Batch:
        """The images of what epoch() draws, each view augmented. Nothing here waits for the device."""


def order(data: Data, stream: Stream, t: Clock, seed: int, number: int) -> Tensor:
    """[N] the rows that a stream draws in one epoch, in order: f(seed, stream number, epoch)."""
    random = generator(seed, "order", number, t.epoch)
    if stream.class_odds is None:
        return torch.randperm(len(data), generator=random)
    counts = data.counts.cpu()
    # a class without images can be drawn by none of its images: its odds fall to the others
    odds = stream.class_odds(counts.clamp(min=1), t) / counts.clamp(min=1)
    return torch.multinomial(odds[data.label.cpu()], len(data), replacement=True, generator=random)


def held_out(label: Tensor, classes: int, share: float) -> Tensor:
    """[N] bool: of each class its last `share`, rounded up; a class of one image keeps it."""
    labels = label.cpu()
    counts = torch.bincount(labels, minlength=classes)
    out = torch.minimum((counts.double() * share).ceil().long(), counts - 1).clamp(min=0)
    by_class = labels.argsort(stable=True)
    kept = (counts.cumsum(0) - out)[labels[by_class]]  # where in that order the held-out images of the class begin
    held = torch.zeros(len(labels), dtype=torch.bool)
    held[by_class] = torch.arange(len(labels)) >= kept
    return held

"""Images held in memory as one uint8 tensor: streams of indices, augmented a batch at a time; no worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ..method import Batch, Clock, Stream
from . import augment
from .streams import Data, Norm, Share, order

if TYPE_CHECKING:
    from ..recipe import Recipe


class Draw(NamedTuple):
    """The rows of one batch and how each of their views is augmented, on the data's device."""

    rows: Tensor  # [B]
    turn: Tensor  # [V, B] as augment.Augmentation
    shift: Tensor  # [V, B]

    @property
    def size(self) -> int:
        """B."""
        return len(self.rows)

    def part(self, first: int, last: int) -> Draw:
        """The images first to last - 1 of these."""
        return Draw(self.rows[first:last], self.turn[:, first:last], self.shift[:, first:last])


class Images(Data):
    """Labelled images on one device. image: [N, H, W, 3] uint8, square; label: [N] int64."""

    def __init__(self, image: Tensor, label: Tensor, classes: int, norm: Norm) -> None:
        super().__init__(label, classes, norm)
        self.image, self.size = image, image.shape[1]
        self._padded: Tensor | None = None
        self._table: Tensor | None = None
        self._rotated = False

    def to(self, device: torch.device, workers: int | None = None) -> Images:
        """These images on that device. No workers are needed."""
        return Images(self.image.to(device), self.label.to(device), self.classes, self.norm)

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """A batch of each of these rows, as at test."""
        return map(self.batch, rows)

    def batch(self, rows: Tensor) -> Batch:
        """Images `rows` [B], as at test."""
        rows = rows.to(self.label.device)
        label = self.label[rows]
        return Batch(self.normalise(self.image[rows].permute(0, 3, 1, 2)), label, label)

    def augmented(self, draw: Draw) -> Batch:
        """The images that a draw names, each view augmented as drawn. Nothing here waits for the device."""
        views = [
            augment.take(self.padded, draw.rows, turn, shift, self.table, self.size)
            for turn, shift in zip(draw.turn, draw.shift, strict=True)
        ]
        image = self.normalise(views[0] if len(views) == 1 else torch.stack(views))
        label = self.label[draw.rows]
        return Batch(image, label, label)

    def subset(self, chosen: Tensor) -> Images:
        """The images that a mask [N] chooses."""
        chosen = chosen.to(self.label.device)
        return Images(self.image[chosen], self.label[chosen], self.classes, self.norm)

    @property
    def padded(self) -> Tensor:
        """The images with a black border, made once, for the augmenting gather."""
        if self._padded is None:
            self._padded = augment.pad(self.image)
        return self._padded

    @property
    def table(self) -> Tensor:
        """The augmenting gather's table, on the images' device: of angles only once they are asked for."""
        if self._table is None:
            self._table = augment.gather_table(self.size, self._rotated).to(self.label.device)
        return self._table

    def ask_for(self, words: tuple[str, ...]) -> None:
        """Have the table that such an augmentation needs."""
        if "rotate15" in words and not self._rotated:
            self._rotated, self._table = True, None

    def epoch(self, stream: Stream, t: Clock, seed: int, number: int, recipe: Recipe, share: Share = Share()) -> Epoch:
        """What that stream, the method's number-th, draws in t's epoch."""
        return Epoch(self, stream, t, seed, number, recipe, share)


class Epoch:
    """What one stream draws in one epoch: N images, a batch for each step, any of them without those before it.

    The order is f(seed, stream number, epoch); the augmentation is f(seed, stream number, epoch, position, view), so
    that an image drawn twice in an epoch is augmented in two ways.
    """

    def __init__(
        self, data: Images, stream: Stream, t: Clock, seed: int, number: int, recipe: Recipe, share: Share = Share()
    ) -> None:
        self.data, self.batch_size, self.share = data, recipe.batch_size, share
        device = data.label.device
        data.ask_for(recipe.augment)
        self.rows = order(data, stream, t, seed, number).to(device)
        place = (seed, "augment", number, t.epoch)
        draws = augment.draw(recipe.augment, stream.views, len(data), data.size, place)
        self.turn, self.shift = draws.turn.to(device), draws.shift.to(device)

    def draw(self, k: int) -> Draw:
        """What this process's part of the batch of step k of the epoch is made of."""
        at = self.share.part(k, self.batch_size, len(self.data))
        return Draw(self.rows[at], self.turn[:, at], self.shift[:, at])

    def batch(self, k: int) -> Batch:
        """This process's part of the batch of step k of the epoch."""
        return self.data.augmented(self.draw(k))

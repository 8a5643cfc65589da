"""Images in files: read, decoded and augmented by worker processes while the device trains.

The draws of each view of each image are a function of (run seed, stream, epoch, position in the epoch's order, view),
so neither the number of workers nor where a resumed run begins has a say in them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..cores import cores
from ..errors import LtbenchError, told
from ..method import Batch, Clock, Stream
from . import transforms
from .decode import rgb
from .memory import Images
from .seeds import seed_of
from .streams import Data, Norm, Share, order
from .transforms import Look, Transform

if TYPE_CHECKING:
    from ..recipe import Recipe

SMALL = 2000  # fewer images than these are read without worker processes
MOST_WORKERS = 4  # by default
# forked where that is safe: a run's own process is spawned, and would spawn them, to import torch anew at each epoch
START = "fork" if sys.platform == "linux" else None


class Loaded(NamedTuple):
    """The augmented images of one batch, on the data's device."""

    image: Tensor  # [V, B, 3, H, W] uint8, channels last in memory
    label: Tensor  # [B] int64

    @property
    def size(self) -> int:
        """B."""
        return len(self.label)

    def part(self, first: int, last: int) -> Loaded:
        """The images first to last - 1 of these."""
        return Loaded(self.image[:, first:last], self.label[first:last])


@dataclass(frozen=True)
class Place:
    """Where the pictures of a set lie, and how they come out of their files."""

    root: Path
    paths: np.ndarray  # [N] str, relative to root
    look: Look
    norm: Norm


class Files(Data):
    """Labelled images in files. label: [N] int64; workers: processes that read them, None for as many as suit."""

    def __init__(self, place: Place, label: Tensor, classes: int, workers: int | None = None) -> None:
        super().__init__(label, classes, place.norm)
        self.place, self.size = place, place.look.size
        self.workers = suitable_workers(len(label)) if workers is None else workers

    def to(self, device: torch.device, workers: int | None = None) -> Files:
        """These images on that device, once they are read."""
        return Files(self.place, self.label.to(device), self.classes, workers)

    def seen(self, look: Look) -> Files:
        """These images, looked at otherwise."""
        place = Place(self.place.root, self.place.paths, look, self.place.norm)
        return Files(place, self.label, self.classes, self.workers)

    def batches(self, rows: Iterable[Tensor]) -> Iterator[Batch]:
        """A batch of each of these rows, as at test. Raises LtbenchError naming the file that cannot be read."""
        for pixels, batch in self._as_at_test(rows):
            label = self.label[batch.to(self.label.device)]
            yield Batch(self.normalise(self._on_device(pixels)[0]), label, label)

    def decoded(self) -> Images:
        """All of these, as at test, in memory."""
        image = torch.empty(len(self), self.size, self.size, 3, dtype=torch.uint8)
        for pixels, rows in self._as_at_test(torch.arange(len(self)).split(128)):
            image[rows] = pixels[0]
        return Images(image, self.label.cpu(), self.classes, self.place.norm)

    def _as_at_test(self, rows: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels [1, B, H, W, 3], rows [B]) of each batch."""
        wanted = [batch.cpu() for batch in rows]
        if not wanted:  # of several processes, one may have none of a small test set
            return iter(())
        ends = np.cumsum([len(batch) for batch in wanted]).tolist()
        parts = [slice(end - len(batch), end) for end, batch in zip(ends, wanted, strict=True)]
        reading = Reading(self.place, torch.cat(wanted).numpy(), parts, transforms.at_test(self.place.look))
        return zip(reading.items(0, self.workers, self.label.device), wanted, strict=True)

    def subset(self, chosen: Tensor) -> Files:
        """The images that a mask [N] chooses."""
        place = Place(self.place.root, self.place.paths[chosen.numpy()], self.place.look, self.place.norm)
        return Files(place, self.label[chosen.to(self.label.device)], self.classes, self.workers)

    def epoch(
        self, stream: Stream, t: Clock, seed: int, number: int, recipe: Recipe, share: Share = Share()
    ) -> FileEpoch:
        """What that stream, the method's number-th, draws in t's epoch."""
        return FileEpoch(self, stream, t, seed, number, recipe, share)

    def augmented(self, draw: Loaded) -> Batch:
        """The images of a draw, which the workers have augmented. Nothing here waits for the device."""
        image = draw.image[0] if len(draw.image) == 1 else draw.image
        return Batch(self.normalise(image), draw.label, draw.label)

    def _on_device(self, pixels: Tensor) -> Tensor:
        """[V, B, 3, H, W] on the device, from [V, B, H, W, 3]."""
        return pixels.to(self.label.device, non_blocking=True).permute(0, 1, 4, 2, 3)


class FileEpoch:
    """What one stream draws in one epoch. Batches are read ahead, in order, from the first that is asked for on."""

    def __init__(
        self, data: Files, stream: Stream, t: Clock, seed: int, number: int, recipe: Recipe, share: Share = Share()
    ) -> None:
        self.data = data
        self.rows = order(data, stream, t, seed, number)
        self.parts = [share.part(k, recipe.batch_size, len(data)) for k in range(data.steps(recipe))]
        self.label = data.label[self.rows.to(data.label.device)]
        self._reading = Reading(
            data.place, self.rows.numpy(), self.parts, transforms.in_training(data.place.look),
            stream.views, (seed, "augment", number, t.epoch),
        )  # fmt: skip
        self._next = -1
        self._items: Iterator[Tensor] = iter(())

    def draw(self, k: int) -> Loaded:
        """This process's part of the batch of step k of the epoch. Raises LtbenchError where a file cannot be read."""
        if k != self._next:
            self._items = self._reading.items(k, self.data.workers, self.data.label.device)
        self._next = k + 1
        return Loaded(self.data._on_device(next(self._items)), self.label[self.parts[k]])

    def batch(self, k: int) -> Batch:
        """This process's part of the batch of step k of the epoch."""
        return self.data.augmented(self.draw(k))


@dataclass(frozen=True)
class Reading(Dataset["Tensor | LtbenchError"]):
    """Batches to be read: item k holds the pictures at parts[k] of rows."""

    place: Place
    rows: np.ndarray  # [N] of place.paths, in the order in which they are wanted
    parts: list[slice]
    transform: Transform
    views: int = 1
    seeds: tuple[object, ...] | None = None  # where the draws of all this stand; None: the transform draws nothing

    def items(self, first: int, workers: int, device: torch.device) -> Iterator[Tensor]:
        """The pixels of each batch from `first` on. Raises LtbenchError naming the file that cannot be read."""
        workers = min(workers, len(self.parts) - first)
        loader = DataLoader(
            self, batch_size=None, sampler=range(first, len(self.parts)),
            num_workers=workers, multiprocessing_context=START if workers else None,
            pin_memory=device.type == "cuda", generator=torch.Generator(),  # else it would draw from the global one
            worker_init_fn=_heed_parent_alone,
        )  # fmt: skip
        for item in _started(loader):  # held by nobody else, so that its readers end with this
            if isinstance(item, LtbenchError):
                raise item
            yield item

    def __getitem__(self, k: int) -> Tensor | LtbenchError:
        """[V, B, H, W, 3] uint8; what goes wrong is handed over, since raised in a worker it would lose its form."""
        at, size = self.parts[k], self.place.look.size
        pixels = np.empty((self.views, at.stop - at.start, size, size, 3), dtype=np.uint8)
        try:
            for position in range(at.start, at.stop):
                picture = open_picture(self.place.root / self.place.paths[self.rows[position]])
                for view in range(self.views):
                    pixels[view, position - at.start] = np.asarray(self._transformed(picture, position, view))
        except LtbenchError as error:
            return error
        return torch.from_numpy(pixels)

    def __len__(self) -> int:
        return len(self.parts)

    def _transformed(self, picture: Image.Image, position: int, view: int) -> Image.Image:
        if self.seeds is None:
            return self.transform(picture)
        random = torch.default_generator  # what the transforms draw from; without workers it is this process's own
        before = random.get_state()
        random.manual_seed(seed_of(*self.seeds, position, view))
        try:
            return self.transform(picture)
        finally:
            random.set_state(before)


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """Its readers are born with SIGTERM held, until they see to it themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heed_parent_alone(number: int) -> None:
    """In a process that reads: of SIGTERM, which a scheduler sends to all, only its parent's ends it.

    Its parent takes the signal for a wish to stop at the next step, for which it needs its readers.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def open_picture(path: Path) -> Image.Image:
    """A picture in RGB, whole. Raises LtbenchError where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which change no pixel
            with Image.open(path) as picture:
                return rgb(picture)
    except Exception as error:  # a damaged picture fails in many ways
        fault = "no such image" if isinstance(error, FileNotFoundError) else f"not a whole image: {_said(error)}"
        raise LtbenchError(f"{path}: {fault}") from None


def _said(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known kind of picture"
    return error.strerror if isinstance(error, OSError) and error.strerror else told(error)


def suitable_workers(images: int) -> int:
    """How many processes read a set of so many images, unless --workers says so: none for a small one."""
    return 0 if images < SMALL else min(MOST_WORKERS, cores())

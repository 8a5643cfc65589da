"""The datasets, the streams that draw from them, the batched augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from ..errors import LtbenchError
from ..longtail import profile_counts
from . import cifar, glyphs, pack
from .memory import Images, Norm
from .source import Source
from .spec import DataSpec
from .subset import longtail_rows, pixel_fingerprint, row_fingerprint

_CIFAR_NORM = Norm((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))  # RIDE uses CIFAR-10's for both
_SETS: dict[str, tuple[Callable[[Path], Source], Norm]] = {
    "cifar10_lt": (partial(cifar.load, classes=10), _CIFAR_NORM),
    "cifar100_lt": (partial(cifar.load, classes=100), _CIFAR_NORM),
    "glyphs_lt": (glyphs.load, Norm((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))),
}


@dataclass(frozen=True)
class Dataset:
    """A long-tailed training set and its balanced test set, in memory. Test images stand in class order."""

    spec: DataSpec
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # training images per class
    groups: tuple[int, int]  # many > groups[0] >= medium >= groups[1] > few
    train: Images
    test: Images
    fingerprints: dict[str, str]  # sha256 of the chosen rows, of the training pixels, of the test pixels

    def to(self, device: torch.device) -> Dataset:
        """This dataset on that device."""
        on_device = (self.train.to(device), self.test.to(device))
        return Dataset(self.spec, self.classes, self.counts, self.groups, *on_device, self.fingerprints)


@lru_cache(maxsize=4)
def open_dataset(spec: DataSpec, folder: Path) -> Dataset:
    """The dataset on the CPU, read once a process. Raises LtbenchError where it is absent or cannot be cut so.

    A pack of it in the folder is taken before all else.
    """
    norm = _SETS[spec.name][1]
    packed = pack.path_of(folder, spec.name)
    pool = pack.read(packed) if packed.is_file() else source_of(spec.name, folder)
    counts, rows = cut(spec, pool)
    if pool.absent is not None and pool.absent[rows].any():
        raise LtbenchError(
            f"{packed}: {int(pool.absent[rows].sum())} training images of {spec.label} are not in this pack; "
            "make one from this suite with `ltbench data pack`"
        )
    by_class = np.argsort(pool.test_label, kind="stable")
    images = {"train": pool.train_image[rows], "test": pool.test_image}
    return Dataset(
        spec=spec,
        classes=pool.classes,
        counts=tuple(counts),
        groups=pool.groups,
        train=_images(images["train"], pool.train_label[rows], len(counts), norm),
        test=_images(pool.test_image[by_class], pool.test_label[by_class], len(counts), norm),
        fingerprints={"rows": row_fingerprint(rows)} | {part: pixel_fingerprint(x) for part, x in images.items()},
    )


def source_of(name: str, folder: Path) -> Source:
    """The balanced pool that a dataset is cut from. Raises LtbenchError where it cannot be had."""
    return _SETS[name][0](folder)


def cut(spec: DataSpec, pool: Source) -> tuple[list[int], np.ndarray]:
    """(training images per class, the pool's rows [N]) of the long tail. Raises LtbenchError where it cannot be cut."""
    largest = int(np.bincount(pool.train_label).min())
    if spec.head and spec.head > largest:
        raise LtbenchError(f"data.head is {spec.head}: {spec.name} has {largest} images a class")
    try:
        counts = profile_counts(spec.head or largest, len(pool.classes), spec.imbalance, spec.profile)
    except ValueError as error:
        raise LtbenchError(f"data: {error}") from None
    return counts, longtail_rows(pool.train_label, counts)


def rows_of(specs: Iterable[DataSpec], pool: Source) -> np.ndarray:
    """[N] the pool's rows that any of these need, each once, ascending. Raises LtbenchError as cut()."""
    return np.unique(np.concatenate([cut(spec, pool)[1] for spec in specs]))


def _images(image: np.ndarray, label: np.ndarray, classes: int, norm: Norm) -> Images:
    return Images(torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(label), classes, norm)

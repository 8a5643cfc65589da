"""The datasets, the streams that draw from them, the batched augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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
from .subset import longtail_rows, nearest_groups, pixel_fingerprint, row_fingerprint

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
    pool: tuple[int, ...]  # images per class that these were chosen from

    def to(self, device: torch.device) -> Dataset:
        """This dataset on that device."""
        return replace(self, train=self.train.to(device), test=self.test.to(device))


@lru_cache(maxsize=4)
def open_dataset(spec: DataSpec, folder: Path) -> Dataset:
    """The dataset on the CPU, read once a process. Raises LtbenchError where it is absent or cannot be cut so.

    A pack of it in the folder is taken before all else.
    """
    if spec.draws is not None:
        raise ValueError(f"{spec.label} is several training sets: open each of spec.each()")
    norm = _SETS[spec.name][1]
    pool, test, test_print = (_opened_pool if spec.draw is None else _held_pool)(spec.name, folder)
    counts, rows = cut(spec, pool)
    if pool.absent is not None and pool.absent[rows].any():
        raise LtbenchError(
            f"{pack.path_of(folder, spec.name)}: {int(pool.absent[rows].sum())} training images of {spec.label} are "
            "not in this pack; make one from this suite with `ltbench data pack`"
        )
    image = pool.train_image[rows]
    return Dataset(
        spec=spec,
        classes=pool.classes,
        counts=tuple(counts),
        groups=pool.groups if spec.draw is None else nearest_groups(counts, _canonical(spec, pool), pool.groups),
        train=_images(image, pool.train_label[rows], len(counts), norm),
        test=test,
        fingerprints={"rows": row_fingerprint(rows), "train": pixel_fingerprint(image), "test": test_print},
        pool=tuple(np.bincount(pool.train_label, minlength=len(counts)).tolist()),
    )


def _opened_pool(name: str, folder: Path) -> tuple[Source, Images, str]:
    """(the pool, its test images in class order, their fingerprint)."""
    packed = pack.path_of(folder, name)
    pool = pack.read(packed) if packed.is_file() else source_of(name, folder)
    by_class = np.argsort(pool.test_label, kind="stable")
    test = _images(pool.test_image[by_class], pool.test_label[by_class], len(pool.classes), _SETS[name][1])
    return pool, test, pixel_fingerprint(pool.test_image)


_held_pool = lru_cache(maxsize=1)(_opened_pool)  # the draws of one pool, one after the other


def source_of(name: str, folder: Path) -> Source:
    """The balanced pool that a dataset is cut from. Raises LtbenchError where it cannot be had."""
    return _SETS[name][0](folder)


def cut(spec: DataSpec, pool: Source) -> tuple[list[int], np.ndarray]:
    """(training images per class, the pool's rows [N]) of the long tail. Raises LtbenchError where it cannot be cut."""
    largest = _largest(pool)
    if spec.head and spec.head > largest:
        raise LtbenchError(f"data.head is {spec.head}: {spec.name} has {largest} images a class")
    if spec.draw is not None and (spec.head or largest) > largest // 2:
        raise LtbenchError(
            f"data.head is {spec.head or f'not given, so {largest}'}: with draws at most {largest // 2}, half of the "
            f"{largest} images a class of {spec.name}, so that the largest classes differ from draw to draw"
        )
    try:
        counts = profile_counts(spec.head or largest, len(pool.classes), spec.imbalance, spec.profile)
    except ValueError as error:
        raise LtbenchError(f"data: {error}") from None
    return counts, longtail_rows(pool.train_label, counts, spec.draw or 0)


def _largest(pool: Source) -> int:
    """Images a class, as many as all classes have."""
    return int(np.bincount(pool.train_label).min())


def _canonical(spec: DataSpec, pool: Source) -> list[int]:
    """Images per class of the subset whose largest class is whole: its groups are those of all smaller draws."""
    return profile_counts(_largest(pool), len(pool.classes), spec.imbalance, spec.profile)


def rows_of(specs: Iterable[DataSpec], pool: Source) -> np.ndarray:
    """[N] the pool's rows that any of these need, each once, ascending. Raises LtbenchError as cut()."""
    return np.unique(np.concatenate([cut(part, pool)[1] for spec in specs for part in spec.each()]))


def _images(image: np.ndarray, label: np.ndarray, classes: int, norm: Norm) -> Images:
    return Images(torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(label), classes, norm)

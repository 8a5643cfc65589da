"""A suite's `data` -> a Dataset: images found, cut to their long tail, fingerprinted, in memory or left in files."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import KeyFaultError, LtbenchError
from ..longtail import profile_counts
from . import augment, cifar, glyphs, listed, pack
from . import folder as own_folder
from .catalogue import FACTS
from .files import Files, Place
from .memory import Images
from .source import Listed, Source
from .spec import DataSpec
from .streams import Norm
from .subset import list_fingerprint, longtail_rows, nearest_groups, pixel_fingerprint, row_fingerprint
from .transforms import ANYWHERE, Look

_CIFAR_NORM = Norm((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))  # RIDE uses CIFAR-10's for both
_SETS: dict[str, tuple[Callable[[Path], Source], Norm]] = {
    "cifar10_lt": (partial(cifar.load, classes=10), _CIFAR_NORM),
    "cifar100_lt": (partial(cifar.load, classes=100), _CIFAR_NORM),
    "glyphs_lt": (glyphs.load, Norm((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))),
}
FILE_SIZE = 224  # pixels a side, where a recipe gives no image_size
MEMORY = 2**30  # bytes: sets of files that take less, decoded, are held in memory if their augmentation allows it


class Packed(NamedTuple):
    """Pixels of a pack, as its recipe looked at them."""

    path: Path
    train: np.ndarray  # [N, H, W, 3] uint8
    test: np.ndarray  # [M, H, W, 3] uint8


@dataclass(frozen=True)
class Dataset:
    """A long-tailed training set and its test set, in memory or in files. Test images stand in class order."""

    spec: DataSpec
    classes: tuple[str, ...]
    counts: tuple[int, ...]  # training images per class
    groups: tuple[int, int]  # many > groups[0] >= medium >= groups[1] > few
    train: Images | Files
    test: Images | Files
    # sha256 of the chosen rows, of the training pixels, of the test pixels; in files: of "path label" lines each time,
    # with the files' sizes behind them in train and test of a folder of one's own
    fingerprints: dict[str, str]
    pool: tuple[int, ...]  # images per class that these were chosen from
    packed: Packed | None = None  # the pixels of what would lie in files, but came in a pack

    @property
    def root(self) -> Path | None:
        """The folder of the images, where they are in files."""
        return self.train.place.root if isinstance(self.train, Files) else None

    def to(self, device: torch.device, workers: int | None = None) -> Dataset:
        """This dataset on that device; workers: processes that read files, None for as many as suit."""
        return replace(self, train=self.train.to(device, workers), test=self.test.to(device, workers))

    def held_in_memory(self, look: Look | None) -> bool:
        """Whether its images, looked at so, are held in memory: always, or decoded once because they are small."""
        return look is None or self.packed is not None or fits_memory(len(self.train) + len(self.test), look)

    def seen(self, look: Look | None, workers: int | None = None) -> Dataset:
        """This dataset as a recipe looks at it: see look_of(). Small ones are decoded here.

        Raises LtbenchError naming the file that cannot be read.
        """
        if look is None:
            return self
        assert isinstance(self.train, Files) and isinstance(self.test, Files)
        if self.packed:
            return self._unpacked(self.packed, look)
        cpu = torch.device("cpu")
        train, test = (part.seen(look).to(cpu, workers) for part in (self.train, self.test))
        if self.held_in_memory(look):
            return replace(self, train=train.decoded(), test=test.decoded())
        return replace(self, train=train, test=test)

    def _unpacked(self, packed: Packed, look: Look) -> Dataset:
        size = packed.test.shape[1]
        if look.size != size or not look.fits_memory:
            raise LtbenchError(
                f"{packed.path}: holds whole images of {size}x{size} pixels; the recipe asks for "
                f"{look.size}x{look.size} and augment {', '.join(look.augment)}: make a pack of this suite anew, "
                "or take it away, so that the files are read"
            )
        train, test = (
            Images(torch.from_numpy(image), part.label, part.classes, part.place.norm)  # type: ignore[union-attr]
            for image, part in ((packed.train, self.train), (packed.test, self.test))
        )
        return replace(self, train=train, test=test)


def fits_memory(images: int, look: Look) -> bool:
    """Whether so many images, decoded once, are held in memory."""
    return look.fits_memory and augment.bytes_of(images, look.size, look.augment) <= MEMORY


@lru_cache(maxsize=4)
def open_dataset(spec: DataSpec, folder: Path) -> Dataset:
    """The dataset on the CPU, read once a process; of one in files the lists are read, and no image.

    A pack of it in the folder is taken before all else. Raises LtbenchError where it is absent or cannot be cut so.
    """
    if spec.draws is not None:
        raise ValueError(f"{spec.label} is several training sets: open each of spec.each()")
    return _open_files(spec, folder) if spec.in_files else _open_pool(spec, folder)


def _open_pool(spec: DataSpec, folder: Path) -> Dataset:
    pool, test, test_print = (_opened_pool if spec.draw is None else _held_pool)(spec.name, folder)
    counts, rows = cut(spec, pool)
    _check_present(pool, rows, pack.path_of(folder, spec.name), spec)
    if len(counts) < len(pool.classes):
        chosen = int((test.label < len(counts)).sum())  # test images stand in class order
        test = Images(test.image[:chosen], test.label[:chosen], len(counts), test.norm)
        test_print = pixel_fingerprint(test.image.numpy())
    image = pool.train_image[rows]
    return Dataset(
        spec=spec,
        classes=pool.classes[: len(counts)],
        counts=tuple(counts),
        groups=pool.groups if spec.draw is None else nearest_groups(counts, _canonical(spec, pool), pool.groups),
        train=_images(image, pool.train_label[rows], len(counts), test.norm),
        test=test,
        fingerprints={"rows": row_fingerprint(rows), "train": pixel_fingerprint(image), "test": test_print},
        pool=tuple(np.bincount(pool.train_label).tolist()[: len(counts)]),
    )


def _open_files(spec: DataSpec, folder: Path) -> Dataset:
    path = pack.path_of(folder, spec.set_name)
    pool = _held_pack(path) if path.is_file() else None
    found = listed_of(spec, folder) if pool is None else _listed_in(pool, path, spec)
    rows = rows_of_files([spec], found)
    classes = _classes(spec, len(found.classes))
    tested = np.argsort(found.test_label, kind="stable")
    tested = tested[found.test_label[tested] < classes]
    if pool is not None:
        _check_present(pool, rows, path, spec)
    train = _files(found, found.train_path[rows], found.train_label[rows], classes)
    test = _files(found, found.test_path[tested], found.test_label[tested], classes)
    prints = [list_fingerprint(part.place.paths, part.label.numpy()) for part in (train, test)]
    chosen = prints[0]
    if spec.name == "folder":  # other images may go by the same names
        sizes = _sizes(found) if pool is None or pool.sizes is None else pool.sizes
        mine = [size[at] for size, at in zip(sizes, (rows, tested), strict=True)]
        for part, size in zip((train, test), mine, strict=True):
            _check_there(part, size)
        prints = [
            list_fingerprint(part.place.paths, part.label.numpy(), size)
            for part, size in zip((train, test), mine, strict=True)
        ]
    return Dataset(
        spec=spec,
        classes=found.classes[:classes],
        counts=tuple(np.bincount(found.train_label[rows], minlength=classes).tolist()),
        groups=found.groups,
        train=train,
        test=test,
        fingerprints={"rows": chosen, "train": prints[0], "test": prints[1]},
        pool=tuple(np.bincount(found.train_label).tolist()[:classes]),
        packed=None if pool is None else Packed(path, pool.train_image[rows], pool.test_image[tested]),
    )


_held_pack = lru_cache(maxsize=1)(pack.read)


def _sizes(found: Listed) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of the files, [N] and [M]."""
    return own_folder.sizes(found.root, found.train_path), own_folder.sizes(found.root, found.test_path)


def _check_there(part: Files, sizes: np.ndarray) -> None:
    """Raises LtbenchError where files of these sizes in bytes [N] are missing, which is -1."""
    missing = np.flatnonzero(sizes < 0)
    if len(missing):
        first = part.place.root / str(part.place.paths[missing[0]])
        raise LtbenchError(
            f"{first}: there is no such file ({len(missing)} of {len(sizes)} images are missing; "
            "`ltbench data verify SUITE` says which)"
        )


def listed_of(spec: DataSpec, folder: Path) -> Listed:
    """The files of a set, none of them opened. Raises LtbenchError where they cannot be had."""
    return own_folder.load(folder, spec.root) if spec.name == "folder" else listed.load(spec.name, folder, spec.root)


def _listed_in(pool: Source, path: Path, spec: DataSpec) -> Listed:
    """The files that a pack was made from."""
    if pool.paths is None:
        raise LtbenchError(
            f"{path}: names no files, so it is none of {spec.label}; make it anew with `ltbench data pack`"
        )
    if spec.name == "folder" and (pool.sizes is None or pool.root != spec.root):
        was = "has not the sizes of its files" if pool.sizes is None else f"was made of data.root {pool.root}"
        raise LtbenchError(f"{path}: {was}, so it is not {spec.root}; make it anew with `ltbench data pack`")
    train, test = pool.paths
    facts = FACTS.get(spec.name, FACTS["imagenet_lt"])
    return Listed(
        path, train, pool.train_label, test, pool.test_label, pool.classes, pool.groups, facts.mean, facts.std
    )


def rows_of_files(specs: Iterable[DataSpec], found: Listed) -> np.ndarray:
    """[N] the training files that these need, each once; of one spec in its order. Raises LtbenchError as cut()."""
    chosen = []
    for spec in specs:
        classes = _classes(spec, len(found.classes))
        rows = np.flatnonzero(found.train_label < classes)
        if spec.imbalance is not None:
            rows = rows[_cut_files(spec, found.train_label[rows], found.classes[:classes])]
        chosen.append(rows)
    return chosen[0] if len(chosen) == 1 else np.unique(np.concatenate(chosen))


def decoded(specs: Iterable[DataSpec], folder: Path, look: Look) -> tuple[Source, np.ndarray]:
    """(a set of files, decoded once as a recipe looks at it; the rows [N] of the training images that these need).

    Raises LtbenchError where it cannot be had, does not fit in memory, or the recipe needs its files.
    """
    specs = list(specs)
    found = listed_of(specs[0], folder)
    rows = np.unique(rows_of_files(specs, found))
    images = len(rows) + len(found.test_path)
    if not look.fits_memory:
        raise LtbenchError(
            f"{specs[0].label}: recipe.augment {', '.join(look.augment)} needs the files themselves: only sets whose "
            f"images are decoded once ({', '.join(ANYWHERE)}) go into a pack"
        )
    if not fits_memory(images, look):
        raise LtbenchError(
            f"{specs[0].label}: {images} images of {look.size}x{look.size} pixels are too many for a pack, which is "
            f"held in memory: at most {MEMORY / 2**30:g} GiB, with what it takes to augment them"
        )
    classes = len(found.classes)
    train = _files(found, found.train_path[rows], found.train_label[rows], classes).seen(look).decoded()
    test = _files(found, found.test_path, found.test_label, classes).seen(look).decoded()
    image = np.zeros((len(found.train_label), look.size, look.size, 3), dtype=np.uint8)
    image[rows] = train.image.numpy()
    source = Source(
        image, found.train_label, test.image.numpy(), found.test_label, found.classes, found.groups,
        paths=(found.train_path, found.test_path),
        sizes=_sizes(found) if specs[0].name == "folder" else None,
        root=specs[0].root,
    )  # fmt: skip
    return source, rows


def _check_present(pool: Source, rows: np.ndarray, path: Path, spec: DataSpec) -> None:
    """Raises LtbenchError where a pack lacks some of these training images."""
    if pool.absent is not None and pool.absent[rows].any():
        raise LtbenchError(
            f"{path}: {int(pool.absent[rows].sum())} training images of {spec.label} are "
            "not in this pack; make one from this suite with `ltbench data pack`"
        )


def _files(found: Listed, path: np.ndarray, label: np.ndarray, classes: int) -> Files:
    place = Place(found.root, path, Look(FILE_SIZE, ()), Norm(found.mean, found.std))
    return Files(place, torch.from_numpy(label), classes)


def _classes(spec: DataSpec, there: int) -> int:
    """How many classes are kept. Raises LtbenchError where there are not so many."""
    if spec.classes and spec.classes > there:
        raise KeyFaultError("classes", f"{spec.label} has {there}, got {spec.classes}")
    return spec.classes or there


def _cut_files(spec: DataSpec, label: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """[N] rows of a profile over the classes in label order; without a head, the largest that their images allow."""
    there = np.bincount(label, minlength=len(names))

    def counts_of(head: int) -> list[int]:
        assert spec.imbalance is not None
        try:
            return profile_counts(head, len(names), spec.imbalance, spec.profile)
        except ValueError as error:
            raise KeyFaultError("imbalance", str(error)) from None

    def too_large(head: int) -> bool:
        return bool((np.array(counts_of(head)) > there).any())

    assert spec.imbalance is not None
    least, most = math.ceil(spec.imbalance), int(there.max())  # fewer would leave the last class without an image
    if least > most:
        said = f"the largest class of {spec.label} has {most} images, got {spec.imbalance:g}"
        raise KeyFaultError("imbalance", said)
    if spec.head and spec.head < least:
        raise KeyFaultError(
            "head",
            f"with an imbalance of {spec.imbalance:g} at least {least}, so that the smallest class has an image, "
            f"got {spec.head}",
        )
    head = spec.head or least - 1 + bisect_left(range(least, most + 1), True, key=too_large)
    if head < least or too_large(head):
        short = int(np.flatnonzero(np.array(counts_of(max(head, least))) > there)[0])
        raise LtbenchError(
            f"class {names[short]!r} has {there[short]} images, {counts_of(max(head, least))[short]} are asked "
            "for; the profile falls over the classes in label order: lower imbalance or head"
        )
    return longtail_rows(label, counts_of(head))


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
        raise KeyFaultError("head", f"{spec.name} has {largest} images a class, got {spec.head}")
    if spec.draw is not None and (spec.head or largest) > largest // 2:
        raise KeyFaultError(
            "head",
            f"with draws at most {largest // 2}, half of the {largest} images a class of {spec.name}, so that the "
            f"largest classes differ from draw to draw, got {spec.head or f'none, so {largest}'}",
        )
    try:
        counts = _profile(spec, pool, spec.head or largest)
    except ValueError as error:
        raise KeyFaultError("imbalance", str(error)) from None
    return counts, longtail_rows(pool.train_label, counts, spec.draw or 0)


def _largest(pool: Source) -> int:
    """Images a class, as many as all classes have."""
    return int(np.bincount(pool.train_label).min())


def _canonical(spec: DataSpec, pool: Source) -> list[int]:
    """Images per class of the subset whose largest class is whole: its groups are those of all smaller draws."""
    return _profile(spec, pool, _largest(pool))


def _profile(spec: DataSpec, pool: Source, head: int) -> list[int]:
    assert spec.imbalance is not None  # of all that is cut from a pool
    return profile_counts(head, _classes(spec, len(pool.classes)), spec.imbalance, spec.profile)


def rows_of(specs: Iterable[DataSpec], pool: Source) -> np.ndarray:
    """[N] the pool's rows that any of these need, each once, ascending. Raises LtbenchError as cut()."""
    return np.unique(np.concatenate([cut(part, pool)[1] for spec in specs for part in spec.each()]))


def _images(image: np.ndarray, label: np.ndarray, classes: int, norm: Norm) -> Images:
    return Images(torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(label), classes, norm)

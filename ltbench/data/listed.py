"""ImageNet-LT, iNaturalist 2018 and Places-LT: the field's lists, found and read; no image is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import LtbenchError
from . import lists
from .catalogue import FACTS, GROUPS, Facts, Layout, folders
from .source import Listed


def load(name: str, data: Path, root: str | None) -> Listed:
    """The lists of a dataset of the field. data: the data folder. Raises LtbenchError that says what is missing.

    Where it has several layouts, the one is taken whose folders lie below the root; else the one whose lists are there.
    """
    facts = FACTS[name]
    images, places = folders(name, data, root)
    layouts = sorted(facts.layouts, key=lambda layout: layout is not facts.layout(images))
    found = [(lists.find(each.train.names, places), lists.find(each.test.names, places)) for each in layouts]
    both = next(((train, test) for train, test in found if train and test), None)
    if both is None:
        raise LtbenchError(_missing(facts, layouts[0], found[0], images, places))
    train, test = (lists.read(path) for path in both)
    _check(train, test)
    return Listed(
        images, _array(train.paths), train.labels, _array(test.paths), test.labels,
        _class_names(train), GROUPS, facts.mean, facts.std,
    )  # fmt: skip


def _array(paths: tuple[str, ...]) -> np.ndarray:
    return np.array(paths, dtype=object)


def _missing(
    facts: Facts, layout: Layout, found: tuple[Path | None, Path | None], images: Path, places: tuple[Path, ...]
) -> str:
    """Which lists and archives to get, from where, and where to put them."""
    lacking = [part.name for part, path in zip((layout.train, layout.test), found, strict=True) if path is None]
    archives = "\n".join(
        f"  {archive.name}{f' (md5 {archive.md5})' if archive.md5 else ''}, unpacked {archive.unpack}"
        for archive in layout.archives
    )
    return (
        f"{facts.title}: {' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not to be found.\n"
        f"Get the lists from {facts.lists_page}\n"
        f"and put them, as they are or gzipped, into one of {', '.join(map(str, places))}.\n"
        f"The images, from {facts.page}, belong into {images}:\n{archives}\n"
        "Another place for the images is given as data.root, another data folder with --data DIR or $LTBENCH_DATA."
    )


def _check(train: lists.Listing, test: lists.Listing) -> None:
    """Raises LtbenchError where the labels are not those of one set of classes."""
    counts = np.bincount(train.labels)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise LtbenchError(
            f"{train.path}: labels run to {len(counts) - 1}, but {empty[0]}{more} have no image: is the list cut?"
        )
    beyond = np.flatnonzero(test.labels >= len(counts))
    if len(beyond):
        row = int(beyond[0])
        raise LtbenchError(
            f"{test.path}:{row + 1}: label {test.labels[row]}: {train.path} has labels from 0 to {len(counts) - 1}"
        )


def _class_names(train: lists.Listing) -> tuple[str, ...]:
    """The folders of the classes' images, where each has one of its own; else their numbers."""
    _, first = np.unique(train.labels, return_index=True)
    names = tuple(train.paths[row].rpartition("/")[0].rpartition("/")[2] for row in first.tolist())
    return names if len(set(names)) == len(names) and all(names) else tuple(map(str, range(len(names))))

"""Small made images in files: trees that follow the rows of the field's lists, and folders of one's own.

A class shows in the colour of the picture and in the place of a bright square, so that a small network learns it.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ltbench.data import lists as reader
from ltbench.data.catalogue import FACTS

FREQUENCIES = {
    "imagenet_lt": "ImageNet_LT_cls_freq.json",
    "inat18": "iNaturalist18_cls_freq.json",
    "places_lt": "Places_LT_cls_freq.json",
}
SUFFIX = {"imagenet_lt": "JPEG", "inat18": "jpg"}


def picture(label: int, classes: int, number: int, size: int) -> Image.Image:
    """A picture of size x (size + 8) pixels or so, of its class; the number makes it its own."""
    dice = np.random.default_rng([label, number])
    wide, high = (size + 8, size) if number % 2 else (size, size + 8)
    colour = np.array(colorsys.hsv_to_rgb(label / classes, 0.8, 0.6))
    pixels = np.tile(colour, (high, wide, 1)) + 0.1 * dice.standard_normal((high, wide, 3))
    side, place = max(2, size // 4), label % 9
    top, left = (place // 3) * (high - side) // 2, (place % 3) * (wide - side) // 2
    pixels[top : top + side, left : left + side] = 1
    return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))


def write(root: Path, rows: Sequence[tuple[str, int]], size: int, first: int = 0) -> None:
    """The pictures of "path label" rows, numbered from `first` on: another number is another picture."""
    classes = max(label for _, label in rows) + 1
    for number, (path, label) in enumerate(rows, first):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(label, classes, number, size).save(root / path)


def own(root: Path, train: Sequence[int], tested: int = 4, size: int = 24) -> Path:
    """A folder of one's own: train/ and test/ with a folder per class, of so many images each."""
    names = [f"class{c:02}" for c in range(len(train))]
    for part, counts in (("train", train), ("test", [tested] * len(train))):
        rows = [(f"{part}/{names[c]}/{i:03}.png", c) for c, count in enumerate(counts) for i in range(count)]
        write(root, rows, size, first=0 if part == "train" else sum(train))
    return root


def published(lists: Path, name: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """(train, test) rows of a dataset of the field: as its lists have them, or where the train list is not to be had,
    as many rows a class as were published, in folders as the real ones.
    """
    layout = FACTS[name].layouts[0]
    test = _rows(lists, layout.test.name)
    if reader.find(layout.train.names, [lists]):
        return _rows(lists, layout.train.name), test
    counts = json.loads((lists / FREQUENCIES[name]).read_text())
    folder = {label: path.rpartition("/")[0] for path, label in reversed(test)}
    train = [
        (f"train/{folder[c].partition('/')[2]}/made_{i}.{SUFFIX[name]}" if name == "imagenet_lt"
         else f"{folder[c]}/made_{i}.{SUFFIX[name]}", c)
        for c, count in enumerate(counts) for i in range(count)
    ]  # fmt: skip
    return train, test


def _rows(lists: Path, name: str) -> list[tuple[str, int]]:
    path = reader.find([name], [lists])
    assert path is not None, name
    found = reader.read(path)
    return list(zip(found.paths, found.labels.tolist(), strict=True))


def write_lists(name: str, rows: tuple[list[tuple[str, int]], list[tuple[str, int]]], folder: Path) -> None:
    """(train, test) rows as the lists of a dataset of the field."""
    folder.mkdir(parents=True, exist_ok=True)
    layout = FACTS[name].layouts[0]
    for facts, part in zip((layout.train, layout.test), rows, strict=True):
        (folder / facts.name).write_text("".join(f"{path} {label}\n" for path, label in part))


def tree(
    lists: Path, name: str, data: Path, *, classes: int = 20, most: int = 20, tested: int = 2, size: int = 40
) -> Path:
    """Lists and images of a dataset of the field below data/name, cut to so many classes; labels are dense.

    The classes are spread evenly from the largest to the smallest. most: training images of the largest; the others
    have as many as the square root of their share of it says, one at least. Returns the root of the images.
    """
    train, test = published(lists, name)
    counts = np.bincount([label for _, label in train])
    ranked = np.argsort(-counts, kind="stable")
    chosen = ranked[np.linspace(0, len(counts) - 1, classes).round().astype(int)].tolist()
    kept = {c: max(1, round(most * (counts[c] / counts[chosen[0]]) ** 0.5)) for c in chosen}
    dense = {c: number for number, c in enumerate(sorted(chosen))}
    rows = (_first(train, kept, dense), _first(test, dict.fromkeys(chosen, tested), dense))
    write_lists(name, rows, data / name)
    write(data / name, rows[0], size)
    write(data / name, rows[1], size, first=len(rows[0]))
    return data / name


def _first(rows: list[tuple[str, int]], kept: dict[int, int], dense: dict[int, int]) -> list[tuple[str, int]]:
    """The first kept[c] rows of each class c, with its dense label."""
    left, found = dict(kept), []
    for path, label in rows:
        if left.get(label, 0):
            left[label] -= 1
            found.append((path, dense[label]))
    return found

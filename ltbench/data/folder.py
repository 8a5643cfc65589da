"""Images of one's own: a folder per class, two "path label" lists, or a CSV; no image is opened.

root/train/<class>/*.jpg and root/test/<class>/*.jpg, or root/train.txt and root/test.txt with paths from root on, or
root/data.csv with the columns path, label and split (train or test). Labels of lists and CSV may be names of classes;
classes are numbered in the order of their names, or of their numbers where all labels are whole numbers.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from posixpath import normpath

import numpy as np

from ..errors import LtbenchError, told
from .catalogue import FACTS, GROUPS
from .source import Listed
from .spec import expanded

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
COLUMNS = ("path", "label", "split")
PARTS = ("train", "test")
CSV, LISTS, TREE = "data.csv", "train.txt and test.txt", "train/ and test/"
WAYS = (
    "root/train/<class>/*.jpg and root/test/<class>/*.jpg, or root/train.txt and root/test.txt of lines 'path label', "
    "or root/data.csv with the columns path,label,split"
)
Rows = dict[str, list[tuple[str, str]]]  # part -> (path, class) of each image


def load(data: Path, root: str | None) -> Listed:
    """The images below root, relative to the data folder. Raises LtbenchError that says what is wrong with them."""
    place = data / (expanded(root, "data.root") if root else "folder")
    if not place.is_dir():
        raise LtbenchError(
            f"data.root: there is no folder {place}; it must hold {WAYS}. Give the folder that it lies in with "
            "--data DIR or $LTBENCH_DATA"
        )
    try:
        rows, where = _rows(place)
    except OSError as error:
        raise LtbenchError(told(error)) from None
    classes = _in_order({name for _, name in rows["train"]})
    _check(rows, where, classes)
    number = {name: c for c, name in enumerate(classes)}
    paths = {part: np.array([path for path, _ in rows[part]], dtype=object) for part in PARTS}
    labels = {part: np.array([number[name] for _, name in rows[part]], dtype=np.int64) for part in PARTS}
    norm = FACTS["imagenet_lt"]
    return Listed(
        place, paths["train"], labels["train"], paths["test"], labels["test"], classes, GROUPS, norm.mean, norm.std
    )


def sizes(root: Path, paths: Iterable[str]) -> np.ndarray:
    """[N] int64 bytes of each of these files below root, -1 where there is none."""
    return np.fromiter((_size(os.path.join(root, path)) for path in paths), np.int64)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _way(place: Path) -> str | None:
    """In which of the three ways the images are named: lists and a CSV may name images that lie in train/ and test/."""
    ways = {
        CSV: (place / CSV).is_file(),
        LISTS: any((place / f"{part}.txt").is_file() for part in PARTS),
        TREE: any((place / part).is_dir() for part in PARTS),
    }
    if ways[CSV] and ways[LISTS]:
        raise LtbenchError(f"{place}: holds data.csv and train.txt or test.txt; which of them counts?")
    return next((name for name, there in ways.items() if there), None)


def _rows(place: Path) -> tuple[Rows, dict[str, Path]]:
    """(the images of each part, where each part is written down)."""
    way = _way(place)
    if way is None:
        raise LtbenchError(f"{place}: no images are named here; it must hold {WAYS}")
    if way == CSV:
        return _csv(place / CSV), dict.fromkeys(PARTS, place / CSV)
    suffix, read = (".txt", _list) if way == LISTS else ("", _tree)
    where = {part: place / f"{part}{suffix}" for part in PARTS}
    for part, path in where.items():
        if not path.exists():
            raise LtbenchError(f"{path}: missing, so there is no {part} part; {place} must hold {WAYS}")
    return {part: list(read(path)) for part, path in where.items()}, where


def _tree(folder: Path) -> Iterator[tuple[str, str]]:
    """The images in the folders of the classes, sorted. Raises LtbenchError for a class without images."""
    root = folder.parent
    above = (_mark(root), _mark(folder))
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or not entry.is_dir():
            continue
        images = sorted(filter(_is_image, _files(entry.path, above)))
        if not images:
            raise LtbenchError(f"{entry.path}: a class without images (images end in {', '.join(SUFFIXES)})")
        yield from ((os.path.relpath(image, root).replace(os.sep, "/"), entry.name) for image in images)


def left_out(root: Path) -> list[str]:
    """The files below root/train and root/test that are no images by their ending, or lie in no class's folder.

    Hidden ones aside; none where lists or a CSV name the images.
    """
    if _way(root) != TREE:
        return []
    found = []
    for part in PARTS:
        for file in _files(str(root / part), (_mark(root),)):
            path = os.path.relpath(file, root).replace(os.sep, "/")
            if not _is_image(file) or path.count("/") == 1:
                found.append(path)
    return sorted(found)


def _is_image(path: str) -> bool:
    return path.lower().endswith(SUFFIXES)


def _files(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """The files in a folder and in those below it, links to folders being followed; none hidden. Raises OSError.

    above: the marks of the folders that hold it; a link back to one of them is passed over.
    """
    mark = _mark(folder)
    if mark in above:
        return
    with os.scandir(folder) as entries:
        inside = list(entries)
    for entry in inside:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files(entry.path, (*above, mark))
        else:
            yield entry.path


def _mark(folder: str | Path) -> tuple[int, int]:
    """What a folder is known by, whichever link led there."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _list(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(map(str.strip, io.StringIO(_text(path), newline=None)), 1):
        # a name of a class may hold spaces behind a tab
        image, _, name = line.rpartition("\t" if "\t" in line else " ")
        if not line:
            continue
        if not image.strip():
            raise LtbenchError(f"{path}:{number}: {line[:200]!r}: a row is 'path label'")
        yield _row(path, number, image.strip(), name.strip())


def _csv(path: Path) -> Rows:
    rows: Rows = {part: [] for part in PARTS}
    for line, row in _csv_rows(path):
        image, name, part = ((row[column] or "").strip() for column in COLUMNS)
        if part not in PARTS:
            raise LtbenchError(f"{path}:{line}: split {part!r}: must be train or test")
        if not image or not name:
            raise LtbenchError(f"{path}:{line}: no {'label' if image else 'path'}")
        rows[part].append(_row(path, line, image, name))
    return rows


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    """(the line that it begins on, row) of each row. Raises LtbenchError for a quote that is not closed."""
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    line = 1
    try:
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            said = f"the columns must be {','.join(COLUMNS)}, got {','.join(reader.fieldnames or ())[:200]!r}"
            raise LtbenchError(f"{path}:1: no column {', '.join(lacking)}: {said}")
        line = reader.line_num + 1
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise LtbenchError(f"{path}:{line}: {error}: is a quote not closed?") from None


def _row(path: Path, number: int, image: str, name: str) -> tuple[str, str]:
    if os.path.isabs(image):
        raise LtbenchError(f"{path}:{number}: path {image[:200]!r}: must be relative to {path.parent}")
    if ".." in image.split("/") or "\0" in image:
        raise LtbenchError(f"{path}:{number}: path {image[:200]!r}: must lie below {path.parent}")
    return image, name


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LtbenchError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    """By number where all names are whole numbers, else by name."""
    known = list(names)
    numbers = all(name.isascii() and name.isdigit() for name in known)
    return tuple(sorted(known, key=lambda name: (int(name), name) if numbers else (0, name)))


def _check(rows: Rows, where: dict[str, Path], classes: tuple[str, ...]) -> None:
    """Raises LtbenchError where the two parts do not make a problem."""
    for part in PARTS:
        if not rows[part]:
            raise LtbenchError(f"{where[part]}: no {part} images")
    if len(classes) < 2:
        raise LtbenchError(f"{where['train']}: one class alone, {classes[0]!r}; a problem has at least two")
    trained = {normpath(image) for image, _ in rows["train"]}
    both = sorted(image for image, _ in rows["test"] if normpath(image) in trained)
    if both:
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise LtbenchError(f"{where['test']}: {both[0]!r}{more} is in train too: a test image may not be trained on")
    for part in PARTS:
        _check_labels(rows[part], where[part])
    strange = _in_order({name for _, name in rows["test"]} - set(classes))
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise LtbenchError(f"{where['test']}: class {strange[0]!r}{more} is in test, but not in train")
    untested = _in_order(set(classes) - {name for _, name in rows["test"]})
    if untested:
        more = f" and {len(untested) - 1} more" if len(untested) > 1 else ""
        raise LtbenchError(f"{where['test']}: no test image of class {untested[0]!r}{more}")


def _check_labels(rows: Iterable[tuple[str, str]], where: Path) -> None:
    """Raises LtbenchError where one image is of two classes."""
    known: dict[str, str] = {}
    for image, name in rows:
        other = known.setdefault(normpath(image), name)
        if other != name:
            raise LtbenchError(f"{where}: {image!r} is of class {other!r} and of {name!r}; an image has one class")

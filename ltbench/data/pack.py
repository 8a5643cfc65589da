"""A pack: one file with the training images that a suite needs and the test set, for a machine without a network.

A zip of the pool's labels, the numbers of the rows that are there, their pixels in columns of images as lossless WebP,
and the sha256 of all pixels. Rows are numbered as in the whole pool, so that a tail is cut from a pack as from it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..atomic import whole
from ..errors import LtbenchError
from .source import Source
from .subset import pixel_fingerprint

FORMAT = 1
PARTS = ("train", "test")
COLUMN = 100  # images in one WebP, one below the other; fewer where they would be higher than it allows
HIGHEST = 16383  # pixels
DAMAGE = (
    OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError, zipfile.BadZipFile,
    Image.DecompressionBombError,
)  # fmt: skip
LARGEST = 1024  # pixels a side
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip's dates: same images, same bytes


def path_of(folder: Path, name: str) -> Path:
    """Where the pack of a set is looked for; see DataSpec.set_name."""
    return folder / f"{name}.pack"


def write(source: Source, rows: np.ndarray, path: Path, tell: Callable[..., None] = lambda completed: None) -> None:
    """Write the pool's labels, its training images `rows` [N] and all its test images. Raises OSError.

    tell(completed=share) hears now and then which share is done.
    """
    rows = np.unique(rows).astype("<i4")
    pixels = {"train": source.train_image[rows], "test": source.test_image}
    meta = {
        "format": FORMAT,
        "classes": source.classes,
        "groups": source.groups,
        "size": source.test_image.shape[1],
        "sha256": {part: pixel_fingerprint(image) for part, image in pixels.items()},
    }
    if source.sizes is not None:
        meta |= {
            "root": source.root,
            "sizes": {part: size.tolist() for part, size in zip(PARTS, source.sizes, strict=True)},
        }
    with whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        _add(archive, "meta.json", json.dumps(meta, indent=1, ensure_ascii=False).encode())
        for key, array in _arrays(source, rows).items():
            _add(archive, f"{key}.npy", _npy(array), zipfile.ZIP_DEFLATED)
        for part, paths in zip(PARTS, source.paths or (), strict=False):
            _add(archive, _paths_name(part), json.dumps(paths.tolist()).encode(), zipfile.ZIP_DEFLATED)
        _add_pixels(archive, pixels, tell)


def _arrays(source: Source, rows: np.ndarray) -> dict[str, np.ndarray]:
    labels = {"train_label": source.train_label, "test_label": source.test_label}
    return {"rows": rows} | {key: label.astype("<i4") for key, label in labels.items()}


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes, how: int = zipfile.ZIP_STORED) -> None:
    archive.writestr(zipfile.ZipInfo(name, EPOCH), content, how)


def _add_pixels(archive: zipfile.ZipFile, pixels: dict[str, np.ndarray], tell: Callable[..., None]) -> None:
    total, done = sum(len(image) for image in pixels.values()), 0
    for part, image in pixels.items():
        for number, column in enumerate(_columns(len(image), image.shape[1])):
            out = io.BytesIO()
            flat = image[column].reshape(-1, *image.shape[2:])
            # exact: pixels under full transparency too; method 4 is within 1 % of 6 here, and 50 times as fast
            Image.fromarray(flat).save(out, "WEBP", lossless=True, exact=True, method=4)
            _add(archive, _column_name(part, number), out.getvalue())
            done += len(image[column])
            tell(completed=done / total)


def _columns(count: int, size: int) -> Iterable[slice]:
    step = min(COLUMN, HIGHEST // size)
    return (slice(first, first + step) for first in range(0, count, step))


def _paths_name(part: str) -> str:
    return f"{part}_path.json"


def _column_name(part: str, number: int) -> str:
    return f"{part}/{number:05}.webp"


def read(path: Path) -> Source:
    """The pool of a pack; training images that it lacks are black and marked absent. Raises LtbenchError if damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except DAMAGE as error:
        raise LtbenchError(f"{path}: not a whole pack: {error}; make it anew with `ltbench data pack`") from None


def _read(archive: zipfile.ZipFile) -> Source:
    meta: dict[str, Any] = json.loads(archive.read("meta.json"))
    if meta["format"] != FORMAT:
        raise ValueError(f"format {meta['format']!r}; this ltbench reads {FORMAT}")
    names = ("rows", "train_label", "test_label")
    rows, train_label, test_label = (_load(archive, name) for name in names)
    size = int(meta["size"])
    _check(size, len(meta["classes"]), rows, {"training": train_label, "test": test_label})
    pixels = {
        part: _pixels(archive, part, count, size) for part, count in (("train", len(rows)), ("test", len(test_label)))
    }
    for part, image in pixels.items():
        if pixel_fingerprint(image) != meta["sha256"][part]:
            raise ValueError(f"its {part} pixels contradict their sha256")
    absent = np.ones(len(train_label), dtype=bool)
    absent[rows] = False
    train_image = np.zeros((len(train_label), size, size, 3), dtype=np.uint8)
    train_image[rows] = pixels["train"]
    many, few = meta["groups"]
    counts = len(train_label), len(test_label)
    return Source(
        train_image, train_label, pixels["test"], test_label, tuple(meta["classes"]), (int(many), int(few)), absent,
        _paths(archive, counts), _sizes(meta, counts), meta.get("root"),
    )  # fmt: skip


def _paths(archive: zipfile.ZipFile, counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The files that the images were packed from, where they were files."""
    if _paths_name("train") not in archive.namelist():
        return None
    train, test = (json.loads(archive.read(_paths_name(part))) for part in PARTS)
    for found, count in zip((train, test), counts, strict=True):
        if len(found) != count or not all(isinstance(path, str) for path in found):
            raise ValueError("its files are not named one by one")
    return np.array(train, dtype=object), np.array(test, dtype=object)


def _sizes(meta: dict[str, Any], counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The bytes of those files, where they were a folder of one's own."""
    if "sizes" not in meta:
        return None
    train, test = (np.array(meta["sizes"][part], dtype=np.int64) for part in PARTS)
    if (train.shape, test.shape) != ((counts[0],), (counts[1],)):
        raise ValueError("its files' sizes are not given one by one")
    return train, test


def _check(size: int, classes: int, rows: np.ndarray, labels: dict[str, np.ndarray]) -> None:
    """Raises ValueError where these numbers cannot be those of a pool."""
    if not 1 <= size <= LARGEST:
        raise ValueError(f"images of {size} pixels a side")
    for part, label in labels.items():
        if not np.array_equal(np.unique(label), np.arange(classes)):
            raise ValueError(f"its {part} labels are not those of {classes} classes")
    if (np.diff(rows, prepend=-1) < 1).any() or (rows >= len(labels["training"])).any():
        raise ValueError("its rows are not some of the pool's, each once, in order")


def _load(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    found = np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise ValueError(f"{name} is no list of whole numbers")
    return found.astype(np.int64)


def _pixels(archive: zipfile.ZipFile, part: str, count: int, size: int) -> np.ndarray:
    """[count, size, size, 3] uint8."""
    image = np.empty((count, size, size, 3), dtype=np.uint8)
    for number, column in enumerate(_columns(count, size)):
        with Image.open(io.BytesIO(archive.read(_column_name(part, number))), formats=["WEBP"]) as picture:
            image[column] = np.asarray(picture.convert("RGB")).reshape(image[column].shape)
    return image

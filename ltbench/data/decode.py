"""Every image opened to its last pixel, by all cores; what was found whole is remembered, so that a second look is
quick and a killed one goes on. Imports no torch."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..cores import cores
from ..errors import told

Tell = Callable[[int], None]  # hears how many more images are done
REMEMBERED = ".ltbench-decoded"  # a file of fixed-size entries: KEY bytes of (path, size, time), the content's sha256
_KEY, _SHA256 = 16, 32
_LOOKED = 2  # raised where images that were found whole must be looked at again: those of 32 bits, from 2 on
_AT_ONCE = 256  # images between two writes of what is remembered


class Bad(NamedTuple):
    """A file that is no whole image."""

    kind: str
    path: str  # as in the list
    said: str


class Stamp(NamedTuple):
    """What tells that a file is still the same."""

    size: int
    time: int  # of the last change, nanoseconds


@dataclass
class Found:
    """What the files of a list are like from outside."""

    there: dict[str, Stamp] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)


def look(root: Path, paths: Iterable[str], tell: Tell = lambda done: None) -> Found:
    """Which of these paths below root are there. Raises nothing: an empty file or a folder is bad."""
    files = Found()
    for path in paths:
        tell(1)
        try:
            found = os.stat(root / path)
        except (FileNotFoundError, NotADirectoryError):
            files.missing.append(path)
        except OSError as error:
            files.bad.append(Bad("unreadable file", path, error.strerror or str(error)))
        else:
            if not stat.S_ISREG(found.st_mode):
                files.bad.append(Bad("unreadable file", path, "not a file"))
            elif not found.st_size:
                files.bad.append(Bad("truncated image", path, "an empty file"))
            else:
                files.there[path] = Stamp(found.st_size, found.st_mtime_ns)
    return files


def decode(
    root: Path, files: Mapping[str, Stamp], memory: Sequence[Path] = (), tell: Tell = lambda done: None
) -> tuple[dict[str, bytes], list[Bad]]:
    """(sha256 of each whole image's file by path, the others).

    memory: the folders in which this is remembered, first the one to write to. A damaged image is not remembered, so
    that it is opened again the next time. Raises nothing for a memory that cannot be read or written.
    """
    known = _recall(memory)
    keys = {path: _key(path, stamp) for path, stamp in files.items()}
    whole = {path: known[key] for path, key in keys.items() if key in known}
    tell(len(whole))
    bad: list[Bad] = []
    todo = [path for path in files if path not in whole]
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # of odd metadata; the pixels are what counts
        for first in range(0, len(todo), _AT_ONCE):
            some, new = todo[first : first + _AT_ONCE], []
            for path, found in zip(some, pool.map(lambda path: _open(root, path), some), strict=True):
                tell(1)
                if isinstance(found, Bad):
                    bad.append(found)
                else:
                    whole[path] = found
                    new.append(keys[path] + found)
            _remember(memory, new)
    return whole, bad


def rgb(picture: Image.Image) -> Image.Image:
    """The picture in RGB, 8 bits a channel; of 16 bits grey the upper 8. How it is to be turned (EXIF) has no say.

    Raises ValueError for whole numbers of 32 bits and for floats, whose white is not known.
    """
    if picture.mode in ("I", "F"):
        raise ValueError(f"mode {picture.mode}: write it as 8 bits a channel")
    if picture.mode.startswith("I;16"):  # Pillow would cut off all that is above 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture.convert("RGB")


def _open(root: Path, path: str) -> bytes | Bad:
    """The sha256 of a file that is a whole image."""
    try:
        content = (root / path).read_bytes()
    except OSError as error:
        return Bad("unreadable file", path, error.strerror or str(error))
    try:
        with Image.open(io.BytesIO(content)) as image:
            rgb(image)
    except UnidentifiedImageError:
        return Bad("not an image", path, "of no format that Pillow knows")
    except Exception as error:  # a codec may raise anything on bytes that are not its own
        return Bad("truncated image" if isinstance(error, OSError) else "damaged image", path, told(error))
    return hashlib.sha256(content).digest()


def _key(path: str, stamp: Stamp) -> bytes:
    told_by = os.fsencode(path) + f"\0{stamp.size}\0{stamp.time}\0{_LOOKED}".encode()
    return hashlib.blake2b(told_by, digest_size=_KEY).digest()


def _recall(memory: Sequence[Path]) -> dict[bytes, bytes]:
    """What is remembered; a torn last entry is not."""
    known: dict[bytes, bytes] = {}
    for folder in memory:
        with suppress(OSError):
            known |= _entries((folder / REMEMBERED).read_bytes())
    return known


def _entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    entry = _KEY + _SHA256
    for at in range(0, len(content) // entry * entry, entry):
        yield content[at : at + _KEY], content[at + _KEY : at + entry]


def _remember(memory: Sequence[Path], entries: Sequence[bytes]) -> None:
    if not memory or not entries:
        return
    with suppress(OSError):
        memory[0].mkdir(parents=True, exist_ok=True)
        with open(memory[0] / REMEMBERED, "ab") as file:
            torn = file.tell() % (_KEY + _SHA256)
            if torn:  # a killed writer's: cut off, so that entries stay in step
                file.truncate(file.tell() - torn)
            file.write(b"".join(entries))

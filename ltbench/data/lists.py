"""The field's lists: "path label" a line, as text or gzipped. Read strictly, and fast; imports no torch."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from ..errors import LtbenchError, told
from .subset import list_fingerprint

BOM = "byte order mark"
CRLF = "CRLF line ends"
HARMLESS = "read all the same, but other programs may stumble over it"
_MARK = b"\xef\xbb\xbf"
_STRANGE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\\]")  # in no path of a list
_LEAVES = re.compile(r"^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)")
_DIGITS = 6  # of a label: more is none, and would ask for gigabytes where classes are counted


@dataclass(frozen=True, eq=False)
class Listing:
    """The rows of a list file, in its order."""

    path: Path
    paths: tuple[str, ...]  # N, relative to the root of the images
    labels: np.ndarray  # [N] int64, none below 0
    sha256: str  # of the file's bytes; of a gzipped file: of the bytes inside
    plain_sha256: str  # of the same text without byte order mark and with \n line ends
    notes: tuple[str, ...] = ()  # BOM, CRLF: read all the same

    def __len__(self) -> int:
        return len(self.paths)


def read(path: Path) -> Listing:
    """The list in that file. Raises LtbenchError, with file and line, where a row is not "path label".

    Refused besides: a path that is absolute or leaves the root, a label that is no whole number from 0, text that is
    not UTF-8, a file without rows. A byte order mark and CRLF are read, and noted.
    """
    content = _content(path)
    plain = content.removeprefix(_MARK).replace(b"\r\n", b"\n")
    noted = notes(content)
    try:
        text = plain.decode("utf-8")
    except UnicodeDecodeError as error:
        line = plain[: error.start].count(b"\n") + 1
        raise LtbenchError(f"{path}:{line}: not UTF-8") from None
    lines = [line.rstrip() for line in text.rstrip().replace("\t", " ").split("\n")]
    if lines == [""]:
        raise LtbenchError(f"{path}: empty: a list has a line 'path label' for each image")
    paths = tuple([line.rpartition(" ")[0].rstrip() for line in lines])
    labels = [line.rpartition(" ")[2] for line in lines]
    if not _sound(paths, labels):
        raise _fault(path, lines)
    digest = hashlib.sha256(plain).hexdigest()
    return Listing(
        path=path,
        paths=paths,
        labels=np.fromiter(map(int, labels), np.int64, len(labels)),
        sha256=hashlib.sha256(content).hexdigest() if noted else digest,
        plain_sha256=digest,
        notes=noted,
    )


def notes(content: bytes) -> tuple[str, ...]:
    """What is odd about a text's bytes, though it can be read: BOM, CRLF."""
    return (BOM,) * content.startswith(_MARK) + (CRLF,) * (b"\r\n" in content)


def listing(path: Path, paths: Iterable[str], labels: np.ndarray) -> Listing:
    """The list that names these images [N] with these labels [N]. path: where that is written down."""
    names = tuple(paths)
    digest = list_fingerprint(names, labels)
    return Listing(path, names, labels, digest, digest)


def chosen(whole: Listing, rows: np.ndarray) -> Listing:
    """Those rows of a list, by a mask [N]."""
    return listing(whole.path, compress(whole.paths, rows.tolist()), whole.labels[rows])


def find(names: Iterable[str], folders: Sequence[Path]) -> Path | None:
    """The first of these files, as it is or gzipped, in the first folder that holds one; None without."""
    for name in names:
        for folder in folders:
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return path
    return None


def _content(path: Path) -> bytes:
    """The bytes of a file, unzipped where it is gzipped. Raises LtbenchError."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LtbenchError(f"{path}: not a whole gzip file: {error}") from None
    except OSError as error:
        raise LtbenchError(told(error)) from None


def _sound(paths: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether all rows are right: over the whole text at once, because there may be half a million."""
    names, digits = "\n".join(paths), "".join(labels)
    return (
        all(paths)
        and digits.isascii()
        and digits.isdigit()
        and max(map(len, labels)) <= _DIGITS
        and _STRANGE.search(names) is None
        and not any(path[0] == "/" for path in paths)
        and ((".." not in names and ":" not in names) or not any(map(_LEAVES.search, paths)))
    )


def _fault(path: Path, lines: Sequence[str]) -> LtbenchError:
    """What is wrong with the first bad row."""
    bad = [(number, said) for number, line in enumerate(lines, 1) if (said := _wrong(line))]
    number, said = bad[0]
    more = f" (and {len(bad) - 1} more such lines)" if len(bad) > 1 else ""
    return LtbenchError(f"{path}:{number}: {said}{more}")


def _wrong(line: str) -> str:
    """What is wrong with one row, or ""."""
    name, _, label = line.rpartition(" ")
    name = name.rstrip()
    if not line:
        return "an empty line; a row is 'path label'"
    if not name:
        return f"{label[:200]!r}: no label; a row is 'path label'"
    if not (label.isascii() and label.isdigit() and len(label) <= _DIGITS):
        return f"label {label[:200]!r}: must be a whole number from 0 to {10**_DIGITS - 1}"
    if _STRANGE.search(name):
        return f"path {name[:200]!r}: holds a backslash or a control character; folders are parted by /"
    return f"path {name[:200]!r}: must lie below the root of the images" if _LEAVES.search(name) else ""

"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file beside path, to be filled; then flushed to the disk and renamed. Raises OSError, leaving no stump."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(beside, "xb") as file:  # not tempfile's, which are private whatever the umask
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text to path, whole or not at all. Raises OSError, leaving no stump."""
    with whole(path) as file:
        file.write(text.encode())


def flush_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can flush a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""The manifest of a folder of files: whose they are, and the sha256 of each. Torch-free."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Set
from pathlib import Path

from .atomic import write_atomically

MANIFEST = "manifest.json"  # {"key": ..., "sha256": {file: hash}}; of a finished run "numbers", its record's
_FILE = re.compile(r"[a-z]+\.(safetensors|json)")
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)


class DamagedError(Exception):
    """A folder whose files are not those that its manifest names."""


def write(folder: Path, key: str, names: Iterable[str], numbers: str = "") -> None:
    """Write the manifest of these files of the run of that key, whose record has these numbers. Raises OSError."""
    hashes = {name: _sha256(folder / name) for name in names}
    told = {"numbers": numbers} if numbers else {}
    write_atomically(folder / MANIFEST, json.dumps({"key": key, **told, "sha256": hashes}))


def verify(
    folder: Path, key: str | None = None, names: Iterable[str] | None = None, numbers: Set[str] = frozenset()
) -> None:
    """Compare these files of a folder with its manifest; all that it names where none are given.

    Raises DamagedError where one differs, or the manifest is of another key, or of none of these numbers, or lacks one.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if key not in (None, manifest["key"]):
            raise DamagedError("its manifest is another run's")
        if numbers and "numbers" in manifest and manifest["numbers"] not in numbers:
            raise DamagedError("it is of a training whose numbers are not those of the record")
        hashes = dict(manifest["sha256"])
        for name in hashes if names is None else names:
            if not _FILE.fullmatch(name):  # no path out of the folder
                raise DamagedError("its manifest names strange files")
            if name not in hashes:
                raise DamagedError("its manifest lacks files")
            if _sha256(folder / name) != hashes[name]:
                raise DamagedError(f"{name} contradicts its sha256")
    except UNREADABLE as error:
        raise DamagedError(f"{type(error).__name__}: {error}") from None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

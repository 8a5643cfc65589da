"""`ltbench data prepare`: does what is left to do so that a run can begin, and writes down what it found."""

from __future__ import annotations

import json
from pathlib import Path

from ..atomic import write_atomically
from ..errors import LtbenchError
from .damage import FINGERPRINT, Begin, DataReport, Lists, check, fingerprint, silent
from .spec import DataSpec, state_folders
from .verify import from_files, gathered, out_of_place, verify

FORMAT = 1
SINCE = ("changed", "bad fingerprint")  # findings that a new fingerprint puts right


def prepare(spec: DataSpec, data: Path, begin: Begin = silent) -> DataReport:
    """What is found in a dataset once it is fetched, put in place, opened image by image and written down.

    CIFAR is fetched, the embedded set drawn. Of files: images that an archive left one folder too high are moved into
    their classes, every image is opened, and fingerprint.json written unless something is damaged. Raises LtbenchError
    where the data cannot be had, or their folder cannot be written to.
    """
    if not from_files(spec, data):
        from .dataset import open_dataset  # heavy

        for part in spec.each():
            open_dataset(part, data)
        return verify(spec, data)
    report, found = gathered(spec, data)
    moved = _put_in_place(found)
    hashes = check(found, report, True, begin)
    report.findings = [finding for finding in report.findings if finding.kind not in SINCE]
    report.checked += [f"{moved} images moved into the folders of their classes"] if moved else []
    if report.status == "damaged":
        return report
    path = state_folders(found.root)[0] / FINGERPRINT
    written = {"format": FORMAT, "name": spec.name, "classes": found.classes, "parts": fingerprint(found, hashes)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(written, indent=1) + "\n")
    except OSError as error:
        raise LtbenchError(f"{path}: cannot be written: {error.strerror or error}") from None
    report.checked.append(f"written: {path}")
    return report


def _put_in_place(data: Lists) -> int:
    """Move the files that lie one folder too high, and say how many. Raises LtbenchError."""
    moves = out_of_place(data)
    try:
        for there, path in moves:
            (data.root / path).parent.mkdir(parents=True, exist_ok=True)
            (data.root / there).rename(data.root / path)
    except OSError as error:
        raise LtbenchError(f"{data.root}: images cannot be moved into their classes: {error.strerror}") from None
    return len(moves)

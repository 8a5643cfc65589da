"""What can be wrong with a dataset that is made of lists of files: the lists, the files, the images. Imports no torch.

Damage is what makes a run fail, or its numbers those of other data; the rest is remarked upon.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import lists
from .catalogue import ListFacts
from .decode import Bad, Found, decode, look
from .lists import Listing
from .spec import state_folders

FIRST = 10  # files that are named
FINGERPRINT = "fingerprint.json"
Begin = Callable[[str, int], Callable[[int], None]]  # (what is done, how often) -> hears how much more of it is done


@dataclass(frozen=True)
class DataFinding:
    """One thing that is wrong, or worth a remark."""

    kind: str
    said: str
    damage: bool = True
    count: int = 1
    first: tuple[str, ...] = ()  # the first FIRST files concerned


@dataclass(frozen=True)
class Need:
    """A thing to get, or to do."""

    what: str
    source: str = ""
    place: str = ""  # the folder to put it into
    how: str = ""  # to unpack it
    md5: str = ""


@dataclass
class DataReport:
    """What was found in one dataset."""

    name: str
    root: Path
    parts: dict[str, dict[str, object]] = field(default_factory=dict)
    findings: list[DataFinding] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)  # what else was looked at

    @property
    def status(self) -> str:
        """clean, remarks or damaged."""
        if any(finding.damage for finding in self.findings):
            return "damaged"
        return "remarks" if self.findings else "clean"


@dataclass(frozen=True)
class Lists:
    """A dataset that is made of lists of files."""

    name: str
    root: Path
    parts: Mapping[str, Listing]  # train, val, test
    classes: int | None = None  # the first so many that these are cut to; None: all

    @property
    def paths(self) -> tuple[str, ...]:
        """All files, each once."""
        return tuple(dict.fromkeys(path for listing in self.parts.values() for path in listing.paths))


def silent(what: str, times: int) -> Callable[[int], None]:
    """A Begin that nobody hears."""
    return lambda done: None


# A dataset of lists


def check(data: Lists, report: DataReport, deep: bool, begin: Begin = silent) -> dict[str, bytes]:
    """Add to the report what is wrong with these files, and what has changed since `prepare`. deep: open every image.

    Returns the sha256 of each image that was opened and found whole, by path.
    """
    if not data.parts:
        return {}
    report.findings += shared_paths(data.parts)
    files = look(data.root, data.paths, begin(f"{data.name}: looking for files", len(data.paths)))
    hashes: dict[str, bytes] = {}
    if deep and files.there:
        tell = begin(f"{data.name}: opening images", len(files.there))
        hashes, bad = decode(data.root, files.there, state_folders(data.root), tell)
        files.bad += bad
        report.findings += shared_images(data.parts, hashes)
    report.checked += [_seen(len(data.paths), len(files.there), len(hashes) if deep else None)]
    report.findings += of_files(data.parts, files)
    report.findings += since(data, hashes)
    return hashes


def _seen(files: int, there: int, whole: int | None) -> str:
    opened = "images not opened (--decode does)" if whole is None else f"{whole} images opened and found whole"
    return f"{there} of {_files(files)} there, {opened}"


def summary(listing: Listing) -> dict[str, object]:
    """What a list holds, in numbers: rows, classes with any, rows of the largest and of the smallest of them."""
    counts = np.bincount(listing.labels)
    counts = counts[counts > 0]
    return {
        "list": str(listing.path), "rows": len(listing), "classes": len(counts), "most": int(counts.max()),
        "fewest": int(counts.min()), "sha256": listing.sha256,
    }  # fmt: skip


def of_list(part: str, listing: Listing, classes: int, facts: ListFacts | None) -> Iterator[DataFinding]:
    """What is wrong with one list."""
    for note in listing.notes:
        yield DataFinding(note, f"{listing.path.name}: {lists.HARMLESS}", damage=False)
    if facts and listing.plain_sha256 == facts.sha256:
        return
    counts = np.bincount(listing.labels, minlength=classes)
    if len(counts) > classes:
        rows = np.flatnonzero(listing.labels >= classes)
        first = tuple(f"{listing.paths[row]} {listing.labels[row]}" for row in rows[:FIRST])
        said = f"{listing.path.name}: labels must be below {classes}; not so in {_rows(len(rows))}"
        yield DataFinding("label out of range", said, count=len(rows), first=first)
    empty = np.flatnonzero(counts[:classes] == 0)
    if len(empty) > (classes - facts.classes if facts else 0):
        named = ", ".join(map(str, empty[:FIRST])) + (", ..." if len(empty) > FIRST else "")
        said = f"{listing.path.name}: {len(empty)} of {classes} classes have no image in {part}: {named}"
        yield DataFinding("empty class", said, count=len(empty), damage=part == "train" or facts is not None)
    twice = _twice(listing.paths)
    if twice:
        labels: dict[str, set[int]] = {path: set() for path in twice}
        for path, label in zip(listing.paths, listing.labels.tolist(), strict=True):
            if path in labels:
                labels[path].add(label)
        apart = sum(len(each) > 1 for each in labels.values())
        said = f"{listing.path.name}: names {_files(len(twice))} more than once"
        said += f", {apart} of them under several labels" if apart else ""
        yield DataFinding("duplicate", said, count=len(twice), first=tuple(twice[:FIRST]))
    if facts:
        yield from _against(facts, listing, counts)


def _against(facts: ListFacts, listing: Listing, counts: np.ndarray) -> Iterator[DataFinding]:
    """How a list differs from what is known of the official one."""
    if len(listing) != facts.rows:
        yield DataFinding("wrong count", f"{listing.path.name}: {len(listing)} rows, {facts.rows} in the official list")
    elif _counts_hash(counts) != facts.counts_sha256 != "":
        yield DataFinding(
            "wrong count", f"{listing.path.name}: its images per class are not those of the official list"
        )
    elif (counts.max(), counts[counts > 0].min()) != (facts.most, facts.fewest):
        there = f"{counts.max()} to {counts[counts > 0].min()}"
        said = f"{listing.path.name}: {there} images per class, {facts.most} to {facts.fewest} in the official list"
        yield DataFinding("wrong count", said)
    likely = ", which is likely, but not proven" if facts.likely else ""
    said = f"{listing.path.name}: sha256 {listing.plain_sha256[:16]}..., not the official list's {facts.sha256[:16]}..."
    yield DataFinding("wrong hash", said + likely, damage=not facts.likely)


def _counts_hash(counts: np.ndarray) -> str:
    return hashlib.sha256(counts.astype("<i4").tobytes()).hexdigest()


def _twice(paths: Sequence[str]) -> list[str]:
    """The paths that occur more than once, each once."""
    if len(set(paths)) == len(paths):
        return []
    seen: set[str] = set()
    return list(dict.fromkeys(path for path in paths if path in seen or seen.add(path)))  # type: ignore[func-returns-value]


def shared_paths(parts: Mapping[str, Listing]) -> Iterator[DataFinding]:
    """Files that stand in two lists."""
    for one, other in _pairs(parts):
        held = set(parts[one].paths)
        both = [path for path in dict.fromkeys(parts[other].paths) if path in held]
        if both:
            said = f"{_files(len(both))} {'stands' if len(both) == 1 else 'stand'} in {one} and in {other}"
            yield DataFinding("duplicate", said, count=len(both), first=tuple(both[:FIRST]))


def shared_images(parts: Mapping[str, Listing], hashes: Mapping[str, bytes]) -> Iterator[DataFinding]:
    """Files of other names in two lists, the same to the byte: a remark, as the official sets have some, too."""
    for one, other in _pairs(parts):
        held = {hashes[path]: path for path in reversed(parts[one].paths) if path in hashes}
        both = [
            (held[hashes[path]], path)
            for path in dict.fromkeys(parts[other].paths)
            if hashes.get(path) in held and held[hashes[path]] != path
        ]
        if both:
            first = tuple(f"{path} = {same}" for path, same in both[:FIRST])
            said = f"{_files(len(both))} of {other}: the same, to the byte, as one of {one}"
            yield DataFinding("duplicate", said, damage=False, count=len(both), first=first)


def _pairs(parts: Iterable[str]) -> list[tuple[str, str]]:
    names = list(parts)
    return [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]


def of_files(parts: Mapping[str, Listing], files: Found) -> Iterator[DataFinding]:
    """What is missing or bad, part by part."""
    missing, bad = set(files.missing), {fault.path: fault for fault in files.bad}
    for part, listing in parts.items():
        paths = dict.fromkeys(listing.paths)
        lost = [path for path in paths if path in missing]
        if lost:
            said = f"{part}: {len(lost)} of {_files(len(paths))} not there"
            yield DataFinding("missing file", said, count=len(lost), first=tuple(lost[:FIRST]))
        by_kind: dict[str, list[Bad]] = {}
        for path in paths:
            if path in bad:
                by_kind.setdefault(bad[path].kind, []).append(bad[path])
        for kind, faults in by_kind.items():
            first = tuple(f"{fault.path}: {fault.said}" for fault in faults[:FIRST])
            said = f"{part}: {len(faults)} of {_files(len(paths))}"
            yield DataFinding(kind, said, count=len(faults), first=first)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


# What `prepare` wrote


def fingerprint(data: Lists, hashes: Mapping[str, bytes]) -> dict[str, dict[str, object]]:
    """By part: rows, the list's sha256, and one over the sha256s of all images in the list's order."""
    parts: dict[str, dict[str, object]] = {}
    for part, listing in data.parts.items():
        parts[part] = {"rows": len(listing), "list": listing.plain_sha256}
        if all(path in hashes for path in listing.paths):
            parts[part]["images"] = hashlib.sha256(b"".join(map(hashes.__getitem__, listing.paths))).hexdigest()
    return parts


def since(data: Lists, hashes: Mapping[str, bytes]) -> Iterator[DataFinding]:
    """What has changed since `prepare` wrote the fingerprint; nothing where there is none, or one of another cut."""
    path = lists.find([FINGERPRINT], state_folders(data.root))
    if path is None:
        return
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        before = written["parts"]
        if written.get("classes") != data.classes:
            return
        now = fingerprint(data, hashes)
        for part in dict.fromkeys([*before, *now]):
            old, new = dict(before.get(part, {})), now.get(part, {})
            differ = [key for key in ("rows", "list", "images") if key in old and key in new and old[key] != new[key]]
            if not old or not new or differ:
                said = f"its {' and its '.join(differ)}" if differ else "the part itself"
                where = f"{path}: {part}: {said} changed since `ltbench data prepare` wrote this"
                yield DataFinding("changed", f"{where}; run it again if that was meant")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield DataFinding("bad fingerprint", f"{path}: not to be read ({error}); `ltbench data prepare` writes it anew")

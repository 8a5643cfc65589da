"""`ltbench data verify`: whether the data of a suite are there, whole, and the official ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ..errors import LtbenchError
from . import folder, lists, pack
from .catalogue import FACTS, Facts, Layout, folders
from .damage import Begin, Finding, Lists, Report, check, of_list, silent, summary
from .lists import Listing
from .spec import DataSpec

COLUMNS = ("list", "rows", "classes", "most", "fewest")  # of a part, as the text shows them


def distinct(specs: Iterable[DataSpec]) -> list[DataSpec]:
    """One spec of each set of files that these are cut from."""
    return list({(spec.name, spec.root, spec.classes): spec for spec in specs}.values())


def verify(spec: DataSpec, data: Path, deep: bool = False, begin: Begin = silent) -> Report:
    """What is found in a dataset. data: the data folder; deep: open every image.

    Raises nothing for what is wrong with the data.
    """
    if not spec.in_files:
        return _in_memory(spec.name, data)
    report, found = gathered(spec, data)
    check(found, report, deep, begin)
    if spec.name in FACTS and any(finding.kind == "missing file" for finding in report.findings):
        report.get += _archives(FACTS[spec.name], report.root)
        report.get += _advice(report)
    return report


# Lists of files


def gathered(spec: DataSpec, data: Path) -> tuple[Report, Lists]:
    """The lists that are there, and what is wrong with them and with those that are not."""
    root, places = folders(spec.name, data, spec.root)
    report = Report(spec.label, root)
    if spec.name == "folder":
        return report, Lists(spec.name, root, _own(spec, data, report))
    facts = FACTS[spec.name]
    layout, found = _layout(facts, root, places), {}
    for part, known in layout.parts.items():
        path = lists.find(known.names, places)
        if path is None and part != "val":  # which no run needs
            report.findings.append(Finding("missing list", f"{known.name}, which names the images of {part}"))
            report.get.append(f"{known.name} from {facts.lists_page}, into {data / 'lists'}")
        elif path and (listing := _read(path, report)):
            report.parts[part] = summary(listing)
            report.findings += of_list(part, listing, facts.classes, known)
            found[part] = _first(listing, spec.classes or facts.classes)
    for name, known in facts.shifted.items():
        path = lists.find(known.names, places)
        if path and (listing := _read(path, report)):
            report.parts[name] = summary(listing)
            report.findings += of_list(name, listing, facts.classes, known)
    return report, Lists(spec.name, root, found)


def _layout(facts: Facts, root: Path, places: tuple[Path, ...]) -> Layout:
    """The layout whose folders lie below root; without any the one whose lists are there."""
    if any((root / part).is_dir() for layout in facts.layouts for part in layout.folders):
        return facts.layout(root)
    there = (layout for layout in facts.layouts if lists.find(layout.train.names, places))
    return next(there, facts.layouts[0])


def _read(path: Path, report: Report) -> Listing | None:
    """The list, or None and a finding."""
    try:
        return lists.read(path)
    except LtbenchError as error:
        report.findings.append(Finding("bad list", str(error)))
        return None


def _first(listing: Listing, classes: int) -> Listing:
    """The rows of the first so many classes."""
    return listing if listing.labels.max() < classes else lists.chosen(listing, listing.labels < classes)


def _own(spec: DataSpec, data: Path, report: Report) -> dict[str, Listing]:
    """The parts of a folder of one's own; its reader is strict, so that one finding may be all there is."""
    for name in ("data.csv", "train.txt", "test.txt"):
        path = report.root / name
        if path.is_file():
            content = path.read_bytes()
            report.findings += [
                Finding(note, f"{path}: {lists.HARMLESS}", damage=False) for note in lists.notes(content)
            ]
    try:
        loaded = folder.load(data, spec.root)
    except LtbenchError as error:
        report.findings.append(Finding("bad list", str(error)))
        return {}
    parts = {"train": (loaded.train_path, loaded.train_label), "test": (loaded.test_path, loaded.test_label)}
    found = {part: lists.listing(_where(report.root, part), *rows) for part, rows in parts.items()}
    for part, rows in found.items():
        report.parts[part] = summary(rows)
        report.findings += of_list(part, rows, len(loaded.classes), None)
    return {part: _first(rows, spec.classes or len(loaded.classes)) for part, rows in found.items()}


def _where(root: Path, part: str) -> Path:
    """The file or folder that says which images a part of a folder of one's own has."""
    return next((path for path in (root / "data.csv", root / f"{part}.txt") if path.is_file()), root / part)


def _archives(facts: Facts, root: Path) -> Iterator[str]:
    """The archives of the images, and how to unpack them."""
    for number, layout in enumerate(facts.layouts):
        either = "or, if the lists are those with data_256/, " if number else ""
        for archive in layout.archives:
            md5 = f" (md5 {archive.md5})" if archive.md5 else ""
            yield f"{either}{archive.name}{md5} from {facts.page}; unpack it below {root}, {archive.unpack}"


def _advice(report: Report) -> Iterator[str]:
    """What is left to do where an archive is there, but not wholly unpacked."""
    lost = [path for finding in report.findings if finding.kind == "missing file" for path in finding.first]
    if high := out_of_place(report.root, lost):
        yield f"{high[0][0]} lies one folder too high: `ltbench data prepare` moves such images into their classes"
    packed = [tar for path in lost if (report.root / (tar := f"{path.rpartition('/')[0]}.tar")).is_file()]
    if packed:
        yield f"{packed[0]} is still packed: unpack it, and those beside it, each into a folder of its name"


def out_of_place(root: Path, paths: Iterable[str]) -> list[tuple[str, str]]:
    """(where it is, where it belongs) of each missing file that lies one folder too high, as some archives unpack."""
    found = []
    for path in paths:
        above, _, name = path.rpartition("/")
        high = f"{above.rpartition('/')[0]}/{name}"
        if "/" in above and not (root / path).exists() and (root / high).is_file():
            found.append((high, path))
    return found


# Datasets in memory


def _in_memory(name: str, data: Path) -> Report:
    """CIFAR's official files by their md5, a pack by its sha256; the characters are drawn by ltbench itself."""
    packed = pack.path_of(data, name)
    report = Report(name, packed if packed.is_file() else data)
    if packed.is_file():
        try:
            source = pack.read(packed)
            rows = len(source.train_label) - (0 if source.absent is None else int(np.count_nonzero(source.absent)))
            report.checked.append(f"a pack: {rows} training and {len(source.test_label)} test images, as packed")
        except LtbenchError as error:
            report.findings.append(Finding("damaged pack", str(error)))
    elif name.startswith("cifar"):
        _cifar(report, data, 10 if name.startswith("cifar10_") else 100)
    else:
        report.checked.append("drawn by ltbench itself: nothing to get, nothing that could be missing")
    return report


def _cifar(report: Report, data: Path, classes: int) -> None:
    from . import cifar

    state = cifar.state(data, classes)
    report.root = state.folder
    if state.absent:
        said = f"{len(state.absent)} of {len(state.official)} files are not there"
        report.findings.append(Finding("missing file", said, count=len(state.absent), first=state.absent))
        report.get.append(f"{state.archive}, unpacked in {data}")
        if not state.folder.is_dir():
            report.get.append("or let `ltbench data prepare` fetch it")
    if state.other:
        said = f"{len(state.other)} of {len(state.official)} files have another md5 than the official ones"
        report.findings.append(Finding("wrong hash", said, count=len(state.other), first=state.other))
        report.get.append(f"{state.archive}, unpacked in {data}")
    if not report.findings:
        report.checked.append(f"{len(state.official)} official files, md5 as published")


# What is shown


def item(report: Report) -> dict[str, Any]:
    """A report as plain data."""
    return {
        "name": report.name, "root": str(report.root), "status": report.status, "parts": report.parts,
        "findings": [asdict(finding) for finding in report.findings], "checked": report.checked, "get": report.get,
    }  # fmt: skip


def show(reports: Iterable[Report], console: Console) -> None:
    """Each dataset, what was looked at, and what is wrong with it, damage first."""
    for report in reports:
        colour = {"clean": "green", "remarks": "yellow", "damaged": "red"}[report.status]
        console.print(Text.assemble((report.name, "bold"), "  ", (report.status, colour)))
        console.print(Padding(Text(str(report.root), overflow="fold"), (0, 0, 0, 2)))
        if report.parts:
            console.print(Padding(_parts(report), (0, 0, 0, 2)))
        for line in report.checked:
            console.print(Padding(Text(line), (0, 0, 0, 2)))
        for finding in sorted(report.findings, key=lambda finding: not finding.damage):
            _show_finding(finding, console)
        if report.get:
            console.print(Padding(Text("what to get or do:", style="bold"), (0, 0, 0, 2)))
        for line in dict.fromkeys(report.get):
            console.print(Padding(Text(line, overflow="fold"), (0, 0, 0, 4)))


def _parts(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("part", *COLUMNS):
        right = column not in ("part", "list")
        table.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for part, about in report.parts.items():
        name = Path(str(about["list"])).name
        table.add_row(part, Text(name), *(str(about[column]) for column in COLUMNS[1:]))
    return table


def _show_finding(finding: Finding, console: Console) -> None:
    style = "red" if finding.damage else "yellow"
    mark = "damage" if finding.damage else "remark"
    line = Text.assemble((f"{mark}: {finding.kind}", style), f": {finding.said}", overflow="fold")
    console.print(Padding(line, (0, 0, 0, 2)))
    for path in finding.first:
        console.print(Padding(Text(path, overflow="fold"), (0, 0, 0, 6)))
    if finding.count > len(finding.first) > 0:
        console.print(Padding(Text(f"and {finding.count - len(finding.first)} more"), (0, 0, 0, 6)))

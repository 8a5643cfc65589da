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
from .damage import FIRST, Begin, DataFinding, DataReport, Lists, Need, check, of_list, silent, summary
from .lists import Listing
from .spec import DataSpec

COLUMNS = ("list", "rows", "classes", "most", "fewest")  # of a part, as the text shows them


def distinct(specs: Iterable[DataSpec]) -> list[DataSpec]:
    """One spec of each set of files that these are cut from."""
    return list({(spec.name, spec.root, spec.classes): spec for spec in specs}.values())


def verify(spec: DataSpec, data: Path, deep: bool = False, begin: Begin = silent) -> DataReport:
    """What is found in a dataset. data: the data folder; deep: open every image.

    Raises nothing for what is wrong with the data.
    """
    if not from_files(spec, data):
        return _in_memory(spec.set_name, data)
    report, found = gathered(spec, data)
    check(found, report, deep, begin)
    if spec.name in FACTS and (not found.parts or any(each.kind == "missing file" for each in report.findings)):
        report.needs += _archives(FACTS[spec.name], report.root)
        report.needs += _advice(report, found)
    return report


def from_files(spec: DataSpec, data: Path) -> bool:
    """Whether a run reads files: a pack is taken before all else."""
    return spec.in_files and not pack.path_of(data, spec.set_name).is_file()


# Lists of files


def gathered(spec: DataSpec, data: Path) -> tuple[DataReport, Lists]:
    """The lists that are there, and what is wrong with them and with those that are not."""
    root, places = folders(spec.name, data, spec.root)
    report = DataReport(spec.label, root)
    if spec.name == "folder":
        return report, Lists(spec.name, root, _own(spec, data, report), spec.classes)
    facts = FACTS[spec.name]
    layout, found = _layout(facts, root, places), {}
    for part, known in layout.parts.items():
        path = lists.find(known.names, places)
        if path is None and part != "val":  # which no run needs
            report.findings.append(DataFinding("missing list", f"{known.name}, which names the images of {part}"))
            report.needs.append(Need(known.name, facts.lists_page, str(data / "lists")))
        elif path and (listing := _read(path, report)):
            report.parts[part] = summary(listing)
            report.findings += of_list(part, listing, facts.classes, known)
            found[part] = _first(listing, spec.classes or facts.classes)
    for name, known in facts.shifted.items():
        path = lists.find(known.names, places)
        if path and (listing := _read(path, report)):
            report.parts[name] = summary(listing)
            report.findings += of_list(name, listing, facts.classes, known)
    return report, Lists(spec.name, root, found, spec.classes)


def _layout(facts: Facts, root: Path, places: tuple[Path, ...]) -> Layout:
    """The layout whose folders lie below root; without any the one whose lists are there."""
    if any((root / part).is_dir() for layout in facts.layouts for part in layout.folders):
        return facts.layout(root)
    there = (layout for layout in facts.layouts if lists.find(layout.train.names, places))
    return next(there, facts.layouts[0])


def _read(path: Path, report: DataReport) -> Listing | None:
    """The list, or None and a finding."""
    try:
        return lists.read(path)
    except LtbenchError as error:
        report.findings.append(DataFinding("bad list", str(error)))
        return None


def _first(listing: Listing, classes: int) -> Listing:
    """The rows of the first so many classes."""
    return listing if listing.labels.max() < classes else lists.chosen(listing, listing.labels < classes)


def _own(spec: DataSpec, data: Path, report: DataReport) -> dict[str, Listing]:
    """The parts of a folder of one's own; its reader is strict, so that one finding may be all there is."""
    for name in ("data.csv", "train.txt", "test.txt"):
        path = report.root / name
        if path.is_file():
            content = path.read_bytes()
            report.findings += [
                DataFinding(note, f"{path}: {lists.HARMLESS}", damage=False) for note in lists.notes(content)
            ]
    try:
        loaded = folder.load(data, spec.root)
    except LtbenchError as error:
        report.findings.append(DataFinding("bad list", str(error)))
        return {}
    parts = {"train": (loaded.train_path, loaded.train_label), "test": (loaded.test_path, loaded.test_label)}
    found = {part: lists.listing(_where(report.root, part), *rows) for part, rows in parts.items()}
    for part, rows in found.items():
        report.parts[part] = summary(rows)
        report.findings += of_list(part, rows, len(loaded.classes), None)
    if out := folder.left_out(report.root):
        said = f"end in none of {', '.join(folder.SUFFIXES)}, or lie in no class's folder"
        report.findings.append(DataFinding("left out", said, damage=False, count=len(out), first=tuple(out[:FIRST])))
    return {part: _first(rows, spec.classes or len(loaded.classes)) for part, rows in found.items()}


def _where(root: Path, part: str) -> Path:
    """The file or folder that says which images a part of a folder of one's own has."""
    return next((path for path in (root / "data.csv", root / f"{part}.txt") if path.is_file()), root / part)


def _archives(facts: Facts, root: Path) -> Iterator[Need]:
    """The archives of the images, and how to unpack them."""
    for number, layout in enumerate(facts.layouts):
        either = "or, for the lists with data_256/: " if number else ""
        for archive in layout.archives:
            yield Need(f"{either}{archive.name}", facts.page, str(root), f"unpacked {archive.unpack}", archive.md5)


def _advice(report: DataReport, data: Lists) -> Iterator[Need]:
    """What is left to do where an archive is there, but not wholly unpacked."""
    lost = [path for finding in report.findings if finding.kind == "missing file" for path in finding.first]
    if high := out_of_place(data):
        yield Need(
            f"{high[0][0]} lies one folder too high: `ltbench data prepare` moves such images into their classes"
        )
    packed = [tar for path in lost if (report.root / (tar := f"{path.rpartition('/')[0]}.tar")).is_file()]
    if packed:
        yield Need(f"{packed[0]} is still packed: unpack it, and those beside it, each into a folder of its name")


def out_of_place(data: Lists) -> list[tuple[str, str]]:
    """(where it is, where it belongs) of each missing file that lies one folder too high, as some archives unpack.

    None of a folder of one's own, which no archive brought; none that a list names there, or that two may be.
    """
    if data.name not in FACTS:
        return []
    claims: dict[str, list[str]] = {}
    for path in data.paths:
        above, _, name = path.rpartition("/")
        if "/" in above and not (data.root / path).exists():
            claims.setdefault(f"{above.rpartition('/')[0]}/{name}", []).append(path)
    for path in data.paths:
        claims.pop(path, None)
    return [(high, paths[0]) for high, paths in claims.items() if len(paths) == 1 and (data.root / high).is_file()]


# Datasets in memory


def _in_memory(name: str, data: Path) -> DataReport:
    """CIFAR's official files by their md5, a pack by its sha256; the characters are drawn by ltbench itself."""
    packed = pack.path_of(data, name)
    report = DataReport(name, packed if packed.is_file() else data)
    if packed.is_file():
        try:
            source = pack.read(packed)
            rows = len(source.train_label) - (0 if source.absent is None else int(np.count_nonzero(source.absent)))
            report.checked.append(f"a pack: {rows} training and {len(source.test_label)} test images, as packed")
        except LtbenchError as error:
            report.findings.append(DataFinding("damaged pack", str(error)))
    elif name.startswith("cifar"):
        _cifar(report, data, 10 if name.startswith("cifar10_") else 100)
    else:
        report.checked.append("drawn by ltbench itself: nothing to get, nothing that could be missing")
    return report


def _cifar(report: DataReport, data: Path, classes: int) -> None:
    from . import cifar  # brings torchvision

    state = cifar.state(data, classes)
    report.root = state.folder
    for kind, names, said in (
        ("missing file", state.absent, "are not there"),
        ("wrong hash", state.other, "have another md5 than the official ones"),
    ):
        if names:
            said = f"{len(names)} of {len(state.official)} official files {said}"
            report.findings.append(DataFinding(kind, said, count=len(names), first=names))
    if report.findings:
        report.needs.append(Need(state.url.rpartition("/")[2], state.url, str(data), "unpacked there", state.md5))
        if not state.folder.is_dir():
            report.needs.append(Need("or let `ltbench data prepare` fetch it"))
    else:
        report.checked.append(f"{len(state.official)} official files, md5 as published")


# What is shown


def item(report: DataReport) -> dict[str, Any]:
    """A report as plain data."""
    return {
        "name": report.name, "root": str(report.root), "status": report.status, "parts": report.parts,
        "findings": [asdict(finding) for finding in report.findings], "checked": report.checked,
        "needs": [asdict(need) for need in report.needs],
    }  # fmt: skip


def show(reports: Iterable[DataReport], console: Console) -> None:
    """Each dataset, what was looked at, and what is wrong with it, damage first."""
    for report in reports:
        colour = {"clean": "green", "remarks": "yellow", "damaged": "red"}[report.status]
        console.print(Text.assemble((report.name, "bold"), "  ", (report.status, colour)))
        for line in _places(report):
            _whole(console, line)
        if report.parts:
            console.print(Padding(_parts(report), (0, 0, 0, 2), expand=False))
        for line in report.checked:
            _whole(console, line)
        for finding in sorted(report.findings, key=lambda finding: not finding.damage):
            _show_finding(finding, console)
        if report.needs:
            console.print(Text("  to get, or to do:", style="bold"))
        for need in dict.fromkeys(report.needs):
            _folded(console, Text(f"{need.what}{f' (md5 {need.md5})' if need.md5 else ''}"), 4)
            if need.source:
                _folded(console, Text(f"from {need.source}"), 6)
            if need.place:
                _whole(console, f"into {need.place}", 6)
            if need.how:
                _folded(console, Text(need.how), 6)


def _whole(console: Console, text: str, indent: int = 2) -> None:
    """A line that is never broken, so that a path in it can be copied."""
    console.print(Text(" " * indent + text), soft_wrap=True)


def _folded(console: Console, text: Text, indent: int = 2) -> None:
    """Text in as many lines as it takes, all of them indented."""
    for line in text.wrap(console, max(20, console.width - indent)):
        line.rstrip()
        console.print(Text(" " * indent) + line, soft_wrap=True)


def _places(report: DataReport) -> Iterator[str]:
    """The folder of the data, and those of the lists where they are others."""
    yield str(report.root)
    of_lists = dict.fromkeys(Path(str(about["list"])).parent for about in report.parts.values())
    yield from (f"lists: {folder}" for folder in of_lists if folder != report.root)


def _parts(report: DataReport) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("part", *COLUMNS):
        right = column not in ("part", "list")
        table.add_column(column, justify="right" if right else "left", no_wrap=right, overflow="fold")
    for part, about in report.parts.items():
        name = Path(str(about["list"])).name
        table.add_row(part, Text(name), *(str(about[column]) for column in COLUMNS[1:]))
    return table


def _show_finding(finding: DataFinding, console: Console) -> None:
    mark, style = ("damage", "red") if finding.damage else ("remark", "yellow")
    _folded(console, Text.assemble((f"{mark}: {finding.kind}: ", style), finding.said))
    for path in finding.first:
        _whole(console, path, 6)
    if finding.count > len(finding.first) > 0:
        _whole(console, f"and {finding.count - len(finding.first)} more", 6)

"""The commands that look after the data on disk. Nothing is imported before it is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import LtbenchError
from .reading import FormatOption, console, one_of

if TYPE_CHECKING:
    from .data.damage import Begin, DataReport
    from .data.spec import DataSpec
    from .recipe import Recipe
    from .suite import Suite

SuiteArgument = Annotated[str, typer.Argument(metavar="SUITE", help="A suite file, or the name of a shipped suite.")]
DataOption = Annotated[str | None, typer.Option("--data", metavar="DIR", help="Where data lie (else $LTBENCH_DATA).")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value of the suite; KEY+=VALUE adds to a list (repeatable)."
    ),
]


def show(suite: SuiteArgument, data: DataOption = None, sets: SetOption = None, format: FormatOption = "text") -> None:
    """The datasets of a suite: images, classes, groups, fingerprint."""
    from . import listing
    from .data.spec import data_folder
    from .suite import read

    one_of("--format", format, ("text", "json"))
    items = listing.datasets_of(read(suite, sets or []), data_folder(data))
    if format == "json":
        print(json.dumps(items, indent=1))
    else:
        listing.show_datasets(items, console())


def verify(
    suite: SuiteArgument,
    data: DataOption = None,
    decode: Annotated[bool, typer.Option("--decode", help="Open every image; killed, it goes on from there.")] = False,
    sets: SetOption = None,
    format: FormatOption = "text",
) -> None:
    """Whether the data of a suite are there, whole and the official ones; which archives to get, and where to put them.

    Exit code 0 where nothing is damaged, else 2.
    """
    from .data import verify as verify_
    from .data.spec import data_folder

    folder = data_folder(data).resolve()
    _each(suite, sets, format, lambda spec, begin: verify_.verify(spec, folder, decode, begin))


def prepare(
    suite: SuiteArgument,
    data: DataOption = None,
    sets: SetOption = None,
    format: FormatOption = "text",
) -> None:
    """What is left to do before a run: fetch what can be, put images in place, open each, write fingerprint.json."""
    from .data import prepare as prepare_
    from .data.spec import data_folder

    folder = data_folder(data).resolve()
    _each(suite, sets, format, lambda spec, begin: prepare_.prepare(spec, folder, begin))


def pack(
    suite: SuiteArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the packs go; elsewhere, give it as --data.")],
    data: DataOption = None,
    sets: SetOption = None,
    format: FormatOption = "text",
) -> None:
    """Exactly the images that a suite needs, lossless, one file a dataset: for machines without a network."""
    from .data import pack as pack_
    from .data.spec import data_folder
    from .suite import read

    one_of("--format", format, ("text", "json"))
    parsed = read(suite, sets or [])
    if parsed.faults:
        raise LtbenchError("\n".join(parsed.faults))
    sets_of = {
        name: [spec for spec in parsed.data if spec.set_name == name]
        for name in dict.fromkeys(spec.set_name for spec in parsed.data)
    }
    for name, specs in sets_of.items():
        if len(roots := dict.fromkeys(str(spec.root or spec.name) for spec in specs)) > 1:
            raise LtbenchError(
                f"data.root: {' and '.join(roots)} would share one pack, {pack_.path_of(out, name).name}: give the "
                "folders other names, or pack them from two suites into two folders"
            )
    made = []
    for name, specs in sets_of.items():
        try:
            item = _pack(name, specs, parsed.recipe, data_folder(data), pack_.path_of(out, name))
        except LtbenchError:
            _blame(parsed, data_folder(data))
            raise
        made.append(item)
        if format == "text":
            size = item["bytes"] / 1e6
            print(f"{item['path']}: {item['train']} training and {item['test']} test images, {size:.1f} MB")
    if format == "json":
        print(json.dumps(made, indent=1, ensure_ascii=False))


def _blame(suite: Suite, folder: Path) -> None:
    """Raises LtbenchError that names where in the suite the data stand that cannot be opened; none where all can."""
    from .plan import datasets

    for index in range(len(suite.data)):
        list(datasets(suite, index, folder))


def _pack(name: str, specs: Sequence[DataSpec], recipe: Recipe, folder: Path, path: Path) -> dict[str, Any]:
    """Write the pack of what these need of one set; what it is, as plain data. Raises LtbenchError."""
    from rich.progress import Progress

    from .data import dataset
    from .data import pack as pack_
    from .data.transforms import look_of

    if specs[0].in_files:
        look = look_of(specs[0], dataset.FILE_SIZE, recipe)
        assert look is not None  # of files
        source, rows = dataset.decoded(specs, folder, look)
    else:
        source = dataset.source_of(name, folder)
        rows = dataset.rows_of(specs, source)
    err = console(stderr=True)
    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(f"packing {name}", total=1.0)
        try:
            pack_.write(source, rows, path, partial(progress.update, task))
        except OSError as error:
            raise LtbenchError(f"{path}: cannot be written: {error.strerror or error}") from None
    train, test, size = len(rows), len(source.test_label), path.stat().st_size
    return {"name": name, "path": str(path), "train": train, "test": test, "bytes": size}


def _each(suite: str, sets: list[str] | None, format: str, look: Callable[[DataSpec, Begin], DataReport]) -> None:
    """Look at each dataset of a suite, show what was found, and end with the exit code that goes with it."""
    from .data import verify as verify_
    from .suite import read

    one_of("--format", format, ("text", "json"))
    parsed = read(suite, sets or [])
    if parsed.faults:
        raise LtbenchError("\n".join(parsed.faults))
    try:
        with _progress() as begin:
            reports = [look(spec, begin) for spec in verify_.distinct(parsed.data)]
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    if format == "json":
        print(json.dumps([verify_.item(report) for report in reports], indent=1, ensure_ascii=False))
    else:
        verify_.show(reports, console())
    raise typer.Exit(2 if any(report.status == "damaged" for report in reports) else 0)


@contextmanager
def _progress() -> Iterator[Begin]:
    """A bar on stderr for each thing that takes long."""
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    err = console(stderr=True)
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:

        def begin(what: str, times: int) -> Callable[[int], None]:
            task, step, waiting = progress.add_task(what, total=times), max(1, times // 500), 0

            def tell(done: int) -> None:
                nonlocal waiting
                waiting += done
                if waiting >= step:  # drawing is dearer than looking
                    progress.advance(task, waiting)
                    waiting = 0

            return tell

        yield begin

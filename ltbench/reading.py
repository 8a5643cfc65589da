"""The commands that read records, and what they share with the others. Nothing is imported before it is needed."""

from __future__ import annotations

import gc
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .errors import LtbenchError, unknown

WIDE = 160  # characters a line in a file or a job's log, which have room for a table with all its columns

ResultsArgument = Annotated[Path, typer.Argument(metavar="RESULTS", help="results/, or one suite's folder in it.")]
RunsOption = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Checkpoints, weights, logits and logs.")]
FormatOption = Annotated[str, typer.Option("--format", metavar="text|json", help="How to print.")]
GroupsOption = Annotated[
    str | None, typer.Option("--groups", metavar="100,20", help="many > 100, few < 20 training images.")
]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", metavar="LABEL", help="Only this row (repeatable).")]
PluginOption = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE|MODULE", help="Methods of one's own (repeatable).")
]


def table(
    results: ResultsArgument,
    format: Annotated[
        str | None,
        typer.Option(metavar="text|md|latex|csv|json|html", help="How to print; default: as --out ends, else text."),
    ] = None,
    baseline: Annotated[str | None, typer.Option(metavar="LABEL", help="The row that gains are taken over.")] = None,
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Best first by this column.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
    only: OnlyOption = None,
    groups: GroupsOption = None,
    metric: Annotated[
        str, typer.Option(metavar="top1|balanced|worst|harmonic|macro_f1", help="What gains and bold are of.")
    ] = "top1",
    test_list: Annotated[
        str, typer.Option(metavar="NAME", help="A shifted test set: forward50 .. uniform .. backward50.")
    ] = "uniform",
    adjust: Annotated[
        str | None, typer.Option(metavar="TAU", help="Adjust stored logits; of several (0,0.5,1) the best: an oracle.")
    ] = None,
    runs: RunsOption = Path("runs"),
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead.")] = None,
) -> None:
    """The leaderboard of the records in a folder."""
    from . import tables, writers

    if format is None:
        format = writers.ENDINGS.get(out.suffix, "text") if out else "text"
    one_of("--format", format, writers.FORMATS)
    if out:
        _no_folder(out, "table.md")
    if columns is not None and format in ("json", "csv"):
        raise LtbenchError(f"--columns: {format} has all of them; choose among text, md, latex and html")
    options = tables.Options(
        None if baseline is None else _row(baseline, results), sort,
        () if columns is None else tuple(map(str.strip, columns.split(","))), _groups(groups), metric, test_list,
        _taus(adjust), runs, _rows(only, results),
    )  # fmt: skip
    board = tables.load(results, options)
    gc.freeze()  # all that was read lives to the end: the collector need not walk through it, not even then
    if format == "text":
        import io

        sink = io.StringIO() if out else None
        writers.show(board, console(file=sink) if sink else console(), options)
        text = sink.getvalue() if sink else ""
    else:
        text = writers.render(board, format, options)
    if out:
        _write(out, text)
    elif text:
        sys.stdout.write(text)
    _end(board.refused)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The label of a row, as the table shows it.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The label of another.")],
    results: ResultsArgument,
    groups: GroupsOption = None,
    format: FormatOption = "text",
) -> None:
    """Two rows head to head: the difference, how sure it is, and where it comes from."""
    from . import compare as comparing
    from .markup import plain, visible_json

    one_of("--format", format, ("text", "json"))
    found, refused, without = comparing.compare(results, _row(a, results), _row(b, results), _groups(groups))
    if format == "json":
        print(visible_json(found))
    else:
        print("\n\n".join("\n".join(map(plain, comparing.lines(one))) for one in found))
    for block in without:
        print(f"left out: {plain(block)}", file=sys.stderr)
    _end(refused)


def plot(
    results: ResultsArgument,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Write to DIR/<suite>/; of a suite of two backbones, DIR/<suite>-<backbone>/."
        ),
    ] = Path("figures"),
    format: Annotated[str, typer.Option(metavar="svg|png|pdf", help="The kind of file.")] = "svg",
    runs: RunsOption = Path("runs"),
    only: OnlyOption = None,
    groups: GroupsOption = None,
) -> None:
    """The figures of the records in a folder, as files."""
    from . import plots

    one_of("--format", format, plots.FORMATS)
    paths, refused = plots.write(results, out, format, runs, _rows(only, results), _groups(groups))
    for folder in dict.fromkeys(path.parent for path in paths):
        print(f"{folder}: {sum(path.parent == folder for path in paths)} figures")
    _end(refused)


def report(
    results: ResultsArgument,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page to write.")],
    runs: RunsOption = Path("runs"),
    only: OnlyOption = None,
    groups: GroupsOption = None,
) -> None:
    """Leaderboard, figures and runs as one self-contained HTML page."""
    from . import report as page

    _no_folder(out, "report.html")
    text, refused = page.render(results, runs, _rows(only, results), _groups(groups))
    _write(out, text)
    print(f"{out}: {len(text.encode()) / 1e6:.1f} MB")
    _end(refused)


def _no_folder(out: Path, name: str) -> None:
    """Raises LtbenchError where a file is to be written to what is a folder."""
    if out.is_dir():
        raise LtbenchError(f"--out {out}: a folder is there; name a file, such as {out / name}")


def _write(out: Path, text: str) -> None:
    """Write what a command makes. Raises LtbenchError that names the file that was asked for, not one beside it."""
    from .atomic import write_atomically

    try:
        write_atomically(out, text)
    except OSError as error:
        raise LtbenchError(f"--out {out}: cannot be written: {error.strerror or error}") from None


def analyze(
    results: ResultsArgument,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Figure and numbers go to DIR/<suite>/.")] = None,
    format: Annotated[str, typer.Option(metavar="text|md|latex|csv|json", help="How to print.")] = "text",
    runs: RunsOption = Path("runs"),
    baseline: Annotated[str | None, typer.Option(metavar="LABEL", help="The row to compare all others with.")] = None,
    groups: GroupsOption = None,
) -> None:
    """Bias, variance and hard negatives of each row, over its draws of the training set."""
    from . import analysis, analysis_writers

    one_of("--format", format, analysis_writers.FORMATS)
    found = analysis.analyze(results, runs, None if baseline is None else _row(baseline, results), _groups(groups))
    if out:
        for path in analysis_writers.write(found, out):
            print(path, file=sys.stderr)
    if format == "text":
        analysis_writers.show(found, console())
    else:
        sys.stdout.write(analysis_writers.render(found, format))
    _end(found.refused)


# What the commands share


def _row(text: str, results: Path) -> str:
    """The label of the row that a text names, as --only takes it; the text itself where there is none of that name."""
    from . import planfile

    there = planfile.row_labels(results)
    methods = {label.partition("(")[0].partition(" ")[0] for label in there}
    if text in there or (text.isidentifier() and text not in methods):
        return text
    from .labels import among  # it looks methods up, which takes torch

    return among(text, there)


def _rows(only: Sequence[str] | None, results: Path) -> tuple[str, ...]:
    """The labels of the rows that --only names."""
    return tuple(_row(text, results) for text in only or ())


def _end(refused: Sequence[str]) -> NoReturn:
    """Tell what was refused; exit code 1 where anything was."""
    for refusal in refused:
        print(f"refused: {refusal}", file=sys.stderr)
    raise typer.Exit(1 if refused else 0)


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises LtbenchError where the value is none of the allowed."""
    if value not in allowed:
        raise LtbenchError(f"{option}: {unknown('choice', value, allowed)}")


def load_plugins(plugins: list[str] | None) -> None:
    """Register the methods in these files and modules. Raises LtbenchError where one cannot be loaded."""
    if plugins:
        from . import registry

        for plugin in plugins:
            registry.load_plugin(plugin)


def _groups(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        many, few = (int(part) for part in text.split(","))
    except ValueError:
        raise LtbenchError(f"--groups {text}: write two numbers, as in 100,20") from None
    if min(many, few) < 0:
        raise LtbenchError(f"--groups {text}: write numbers of images, from 0 on")
    if many + 1 < few:
        raise LtbenchError(f"--groups {text}: many > {many} and few < {few} overlap: lower the second")
    return many, few


def _taus(text: str | None) -> tuple[float, ...]:
    try:
        taus = tuple(float(part) for part in text.split(",")) if text is not None else ()
    except ValueError:
        raise LtbenchError(f"--adjust {text}: write a number, or several with commas, as in 0,0.5,1") from None
    if not all(abs(tau) <= 1000 for tau in taus):  # nor NaN
        raise LtbenchError(f"--adjust {text}: tau must be a number from -1000 to 1000")
    return taus


def console(**options: Any) -> Any:
    """A rich console that ends where the reader of its output goes away, but only falls silent where that is stderr."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            if not self.stderr:
                raise BrokenPipeError  # main() answers it, as for every other output
            self.quiet = True  # nobody reads how the runs go on; they do

    if _width_is_free("file" in options, 2 if options.get("stderr") else 1):
        options["width"] = WIDE
    return PipedConsole(**options)


def _width_is_free(into_text: bool, stream: int) -> bool:
    """Whether nothing says how wide a line may be: neither $COLUMNS nor, for what goes into no file, a terminal."""
    if os.environ.get("COLUMNS", "").isdigit():
        return False
    with suppress(OSError):
        if into_text or stat.S_ISREG(os.fstat(stream).st_mode):
            return True
    for each in (0, 1, 2):
        with suppress(OSError):
            if os.get_terminal_size(each).columns:
                return False
    return True


def let_reader_go() -> None:
    """The reader of our output went away (`ltbench table | head`): no fault, and nobody left to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""The commands that read records, and what they share with the others. Nothing is imported before it is needed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import LtbenchError, unknown

ResultsArgument = Annotated[Path, typer.Argument(metavar="RESULTS", help="results/, or one suite's folder in it.")]
RunsOption = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Checkpoints, weights, logits and logs.")]
FormatOption = Annotated[str, typer.Option("--format", metavar="text|json", help="How to print.")]


def table(
    results: ResultsArgument,
    format: Annotated[str, typer.Option(metavar="text|md|latex|csv|json|html", help="How to print.")] = "text",
    baseline: Annotated[str | None, typer.Option(metavar="LABEL", help="The row that gains are taken over.")] = None,
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Best first by this column.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B", help="Only these columns.")] = None,
    groups: Annotated[str | None, typer.Option(metavar="100,20", help="many > 100, few < 20 training images.")] = None,
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

    one_of("--format", format, writers.FORMATS)
    if columns and format in ("json", "csv"):
        raise LtbenchError(f"--columns: {format} has all of them; choose among text, md, latex and html")
    options = tables.Options(
        baseline, sort, tuple(columns.split(",")) if columns else (), _groups(groups), metric, test_list,
        _taus(adjust), runs,
    )  # fmt: skip
    board = tables.load(results, options)
    if format == "text":
        import io

        sink = io.StringIO() if out else None
        writers.show(board, console(file=sink), options)
        text = sink.getvalue() if sink else ""
    else:
        text = writers.render(board, format, options)
    if out:
        from .record import write_atomically

        write_atomically(out, text)
    elif text:
        sys.stdout.write(text)
    for refusal in board.refused:
        print(f"refused: {refusal}", file=sys.stderr)
    raise typer.Exit(1 if board.refused else 0)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The label of a row, as the table shows it.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The label of another.")],
    results: ResultsArgument,
    format: FormatOption = "text",
) -> None:
    """Two rows head to head: the difference, how sure it is, and where it comes from."""
    from . import compare as comparing
    from .writers import plain

    one_of("--format", format, ("text", "json"))
    found = comparing.compare(results, a, b)
    if format == "json":
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for i, one in enumerate(found):
        print(*([""] if i else []), *map(plain, comparing.lines(one)), sep="\n")


def analyze(
    results: ResultsArgument,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the figures and analysis.csv there.")] = None,
    format: Annotated[str, typer.Option(metavar="text|md|latex|csv|json", help="How to print.")] = "text",
    runs: RunsOption = Path("runs"),
) -> None:
    """Bias, variance and hard negatives of each row, over its draws of the training set."""
    from . import analysis, analysis_writers

    one_of("--format", format, analysis_writers.FORMATS)
    found = analysis.analyze(results, runs)
    if out:
        from . import bias_variance_figure
        from .record import write_atomically

        write_atomically(out / "analysis.csv", analysis_writers.render(found, "csv"))
        for path in bias_variance_figure.write(found.blocks, out):
            print(path, file=sys.stderr)
    if format == "text":
        analysis_writers.show(found, console())
    else:
        sys.stdout.write(analysis_writers.render(found, format))
    for refusal in found.refused:
        print(f"refused: {refusal}", file=sys.stderr)
    raise typer.Exit(1 if found.refused else 0)


# What the commands share


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises LtbenchError where the value is none of the allowed."""
    if value not in allowed:
        raise LtbenchError(f"{option}: {unknown('choice', value, allowed)}")


def _groups(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        many, few = (int(part) for part in text.split(","))
    except ValueError:
        raise LtbenchError(f"--groups {text}: write two numbers, as in 100,20") from None
    if many < few:
        raise LtbenchError(f"--groups {text}: the first must not be less than the second")
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
    """A rich console that dies of a broken pipe like everybody else."""
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # main() answers it, as for every other output

    return PipedConsole(**options)

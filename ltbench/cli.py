"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from .data_commands import pack, prepare, verify
from .data_commands import show as data_show
from .errors import LtbenchError, told
from .reading import (
    FormatOption,
    PluginOption,
    ResultsArgument,
    RunsOption,
    analyze,
    compare,
    console,
    let_reader_go,
    load_plugins,
    one_of,
    plot,
    report,
    table,
)
from .running import plan_command, run
from .signals import end_when_preempted

app = typer.Typer(
    add_completion=True, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Is method A really better than B on long-tailed data? One trainer, one split, one table.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="The data of a suite.", rich_markup_mode=None)
app.add_typer(data_app, name="data")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"ltbench {version('ltbench')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What stands before the commands."""


def main() -> NoReturn:
    """The entry point: a user's mistake is one message and exit code 2, never a traceback."""
    _survive_plain_terminals()
    end_when_preempted()  # reading data and planning take a while
    try:
        app()
        sys.exit(0)
    except LtbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        let_reader_go()
        sys.exit(0)
    except OSError as error:
        print(f"error: {told(error)}", file=sys.stderr)
        sys.exit(2)


def _survive_plain_terminals() -> None:
    """Print +- and the like where the terminal knows no ±, instead of dying."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


app.command()(run)
app.command("plan")(plan_command)
app.command()(table)
app.command()(compare)
app.command()(analyze)
app.command()(plot)
app.command()(report)


@app.command("list")
def list_command(
    what: Annotated[str, typer.Argument(metavar="methods|datasets|backbones|suites")],
    format: FormatOption = "text",
    plugin: PluginOption = None,
) -> None:
    """What there is, by name."""
    from . import listing

    one_of("list", what, listing.KINDS)
    one_of("--format", format, ("text", "json"))
    load_plugins(plugin)
    items = listing.items(what)
    if format == "json":
        print(json.dumps(items, indent=1, ensure_ascii=False))
    else:
        listing.show(what, items, console())


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="METHOD|SUITE", help="A method's name, or a suite.")],
    plugin: PluginOption = None,
) -> None:
    """A method's options, or a suite with the recipe's defaults written out."""
    from . import listing

    load_plugins(plugin)
    listing.show_one(name, console())


@app.command()
def check(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A method's name or label.")],
    plugin: PluginOption = None,
) -> None:
    """The contract tests on anyone's method, on CPU, in seconds."""
    load_plugins(plugin)
    import torch

    from . import contract, labels

    torch.set_num_threads(1)  # the toy's layers are too small to share
    ref = labels.parse(method)
    failed = 0
    out = console()
    for result in contract.check(ref):
        failed += not result.passed
        mark = "FAIL" if not result.passed else "note" if result.detail else "ok  "
        line = f"{mark}  {result.name}{result.detail}"
        out.print(line, markup=False, highlight=False, soft_wrap=not out.is_terminal)
    raise typer.Exit(1 if failed else 0)


@app.command()
def doctor(
    results: ResultsArgument,
    runs: RunsOption = Path("runs"),
    fix: Annotated[bool, typer.Option("--fix", help="Put right what can be; nothing is lost by it.")] = False,
    plugin: PluginOption = None,
) -> None:
    """What is damaged, stale, foreign or left over in a folder of results and its runs, and what to do about it."""
    load_plugins(plugin)
    from . import doctor as doctor_

    if runs != Path("runs") and not runs.is_dir():
        print(f"--runs {runs}: there is no such folder; only records are looked at", file=sys.stderr)
    found = doctor_.in_order(doctor_.examine(results, runs))
    if fix:
        for here in found.values():
            for finding in here:
                if finding.fix:
                    finding.fix()
    for line in doctor_.report(found, fix):
        print(line)
    wrong = [finding for kind, here in found.items() if kind.wrong for finding in here]
    raise typer.Exit(1 if any(not (fix and finding.fix) for finding in wrong) else 0)


data_app.command("show")(data_show)
data_app.command()(verify)
data_app.command()(prepare)
data_app.command()(pack)

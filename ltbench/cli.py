"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .data_commands import DataOption, SetOption, SuiteArgument, pack, prepare, verify
from .errors import LtbenchError
from .reading import FormatOption, ResultsArgument, RunsOption, analyze, compare, plot, report, table
from .reading import console as _console
from .reading import one_of as _one_of

if TYPE_CHECKING:
    from .plan import Plan
    from .state import Settings

app = typer.Typer(
    add_completion=True, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Is method A really better than B on long-tailed data? One trainer, one split, one table.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="The data of a suite.", rich_markup_mode=None)
app.add_typer(data_app, name="data")

PluginOption = Annotated[
    list[str] | None, typer.Option("--plugin", metavar="FILE|MODULE", help="Methods of one's own.")
]
OnlyOption = Annotated[list[str] | None, typer.Option("--only", metavar="LABEL", help="Only this row (repeatable).")]
SeedsOption = Annotated[str | None, typer.Option("--seeds", metavar="0,1,2", help="Only these seeds.")]
ResultsOption = Annotated[Path, typer.Option("--results", metavar="DIR", help="Records go to DIR/<suite>/.")]


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
    try:
        app()
        sys.exit(0)
    except LtbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        _let_reader_go()
        sys.exit(0)
    except OSError as error:
        print(f"error: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


def _let_reader_go() -> None:
    """The reader of our output went away (`ltbench table | head`): no fault, and nobody left to tell."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _survive_plain_terminals() -> None:
    """Print +- and the like where the terminal knows no ±, instead of dying."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@app.command()
def run(
    suite: SuiteArgument,
    results: ResultsOption = Path("results"),
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at once; default: cores (CPU) or GPUs.")] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to train.")] = "auto",
    precision: Annotated[str | None, typer.Option(metavar="fp32|bf16", help="As --set recipe.precision=...")] = None,
    checkpoint: Annotated[float, typer.Option(min=0, help="Seconds between checkpoints; 0: every step.")] = 60.0,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that read image files beside each run; changes no number.")
    ] = None,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    sets: SetOption = None,
    plugin: PluginOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run. Nothing is written but data that must be fetched.")
    ] = False,
) -> None:
    """Carry out what a suite asks for and is not done yet; the same command continues after a kill."""
    sets = [*(sets or []), *([f"recipe.precision={precision}"] if precision else [])]
    plan, folder = _plan(suite, sets, plugin, data)
    chosen = plan.chosen(only or [], _seed_list(seeds))
    from . import jobs as pool
    from . import state
    from .progress import Screen

    settings = state.Settings(results.resolve(), runs.resolve(), folder, _device(device), checkpoint, workers)
    why = state.outstanding(chosen, settings)
    if dry_run:
        _print_plan(plan, chosen, why, "text")
        return
    main_process = int(os.environ.get("RANK", "0")) == 0
    if main_process:
        _write_plan(plan, settings)
        _check_room(*((settings.results / plan.suite.name, settings.runs) if why else ()))
    todo = [plan.runs[key] for key in why]
    signals = pool.Signals()
    console = _console(stderr=True, quiet=not main_process)
    if todo and main_process:
        _remark(plan)
    with signals.caught(), Screen(todo, plan.runs, console) as screen:
        ended = pool.carry_out(
            todo, plan.runs, settings, jobs=jobs or _default_jobs(settings.device), plugins=plugin or [],
            report=screen.hear, signals=signals,
        )  # fmt: skip
    if signals.got is not None:
        with suppress(BrokenPipeError):
            print("interrupted: the same command goes on from here", file=sys.stderr)
        raise typer.Exit(pool.EXIT[signals.got])  # type: ignore[index]
    if main_process:
        try:
            _show_table(settings.results / plan.suite.name)
        except BrokenPipeError:
            _let_reader_go()
    statuses = [ended.get(key) or _status_of(state.done(spec, settings)) for key, spec in chosen.items()]
    raise typer.Exit(0 if all(status == "complete" for status in statuses) else 1)


def _status_of(record: Any) -> str:
    return record.status if record else "missing"


@app.command("plan")
def plan_command(
    suite: SuiteArgument,
    results: ResultsOption = Path("results"),
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    sets: SetOption = None,
    plugin: PluginOption = None,
    format: FormatOption = "text",
) -> None:
    """The runs of a suite, why each is there, whether it is done, and its estimated cost."""
    plan, folder = _plan(suite, sets or [], plugin, data)
    from . import state

    chosen = plan.chosen(only or [], _seed_list(seeds))
    settings = state.Settings(results.resolve(), runs.resolve(), folder)
    _print_plan(plan, chosen, state.outstanding(chosen, settings), format, settings)


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

    _one_of("list", what, listing.KINDS)
    _one_of("--format", format, ("text", "json"))
    items = listing.items(what, plugin or [])
    if format == "json":
        print(json.dumps(items, indent=1, ensure_ascii=False))
    else:
        listing.show(what, items, _console())


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="METHOD|SUITE", help="A method's name, or a suite.")],
    plugin: PluginOption = None,
) -> None:
    """A method's options, or a suite with the recipe's defaults written out."""
    from . import listing

    listing.show_one(name, plugin or [], _console())


@app.command()
def check(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A method's name or label.")],
    plugin: PluginOption = None,
) -> None:
    """The contract tests on anyone's method, on CPU, in seconds."""
    _load_plugins(plugin)
    import torch

    from . import contract, labels

    torch.set_num_threads(1)  # the toy's layers are too small to share
    ref = labels.parse(method)
    failed = 0
    console = _console()
    for result in contract.check(ref):
        failed += not result.passed
        console.print(
            f"{'ok  ' if result.passed else 'FAIL'}  {result.name}{result.detail}", markup=False, highlight=False
        )
    raise typer.Exit(1 if failed else 0)


@app.command()
def doctor(
    results: ResultsArgument,
    runs: RunsOption = Path("runs"),
    fix: Annotated[bool, typer.Option("--fix", help="Put right what can be; nothing is lost by it.")] = False,
    plugin: PluginOption = None,
) -> None:
    """What is damaged, stale, foreign or left over in a folder of results and its runs, and what to do about it."""
    _load_plugins(plugin)
    from . import doctor as doctor_

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


@data_app.command("show")
def data_show(
    suite: SuiteArgument, data: DataOption = None, sets: SetOption = None, format: FormatOption = "text"
) -> None:
    """The datasets of a suite: images, classes, groups, fingerprint."""
    from . import listing
    from .data.spec import data_folder
    from .suite import read

    _one_of("--format", format, ("text", "json"))
    items = listing.datasets_of(read(suite, sets or []), data_folder(data))
    if format == "json":
        print(json.dumps(items, indent=1))
    else:
        listing.show_datasets(items, _console())


data_app.command()(verify)
data_app.command()(prepare)
data_app.command()(pack)


# What the commands share


def _plan(suite: str, sets: list[str], plugins: list[str] | None, data: str | None) -> tuple[Plan, Path]:
    from .suite import read

    parsed = read(suite, sets)  # before torch: YAML and top-level errors answer at once
    _load_plugins(plugins)
    from . import plan
    from .data.spec import data_folder

    folder = data_folder(data).resolve()
    return plan.make(parsed, folder), folder


def _load_plugins(plugins: list[str] | None) -> None:
    if plugins:
        from . import registry

        for plugin in plugins:
            registry.load_plugin(plugin)


def _seed_list(text: str | None) -> list[int]:
    try:
        return [] if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise LtbenchError(f"--seeds {text or repr(text)}: write numbers with commas, as in 0,1,2") from None


def _device(asked: str) -> str:
    import torch

    _one_of("--device", asked, ("auto", "cpu", "cuda", "mps"))
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[asked]:
        raise LtbenchError(f"--device {asked}: torch sees no such device here")
    return asked


def _default_jobs(device: str) -> int:
    import torch

    if device != "cpu":
        return torch.cuda.device_count() if device == "cuda" else 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_plan(plan: Plan, settings: Settings) -> None:
    """results/<suite>/plan.json: all rows of the file; those of a --set beside them."""
    from . import record as records
    from .leases import Leases

    folder, new, sets = settings.results / plan.suite.name, plan.file(), plan.suite.sets
    join = records.merged if sets else records.refreshed
    with _writing(folder):
        try:
            before = records.read_plan(folder)
        except LtbenchError:
            if sets and (folder / "plan.json").is_file():
                raise
            records.write_plan(new, folder)  # absent, or damaged: the suite file says it all
            return
        if join(before, new) == before:
            return
        leases = Leases()
        try:
            with leases.waiting(folder):  # another runner may be adding its rows
                records.write_plan(join(records.read_plan(folder), new), folder)
        finally:
            leases.close()


def _check_room(*folders: Path) -> None:
    """Raises LtbenchError where a folder cannot be written to, before hours are spent on what could not be kept."""
    for folder in folders:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(4096))
                file.flush()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LtbenchError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _show_table(folder: Path) -> None:
    from . import tables, writers

    writers.show(tables.load(folder), _console())


def _print_plan(plan: Plan, chosen: Any, why: dict[str, str], format: str, settings: Settings | None = None) -> None:
    from . import listing

    _one_of("--format", format, ("text", "json"))
    items = listing.plan_items(plan, chosen, why, settings)
    if format == "json":
        print(json.dumps(items, indent=1, ensure_ascii=False))
    else:
        listing.show_plan(items, [row for row in plan.rows if row.skip], plan.overlaps, _console())
        _remark(plan)


def _remark(plan: Plan) -> None:
    """Say on stderr what the suite's recipe asks for and does not get."""
    if remark := plan.suite.recipe.remark():
        with suppress(BrokenPipeError):
            print(f"recipe {plan.suite.recipe.name}".rstrip() + f": {remark}", file=sys.stderr)

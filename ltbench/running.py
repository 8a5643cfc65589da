"""The commands that carry out suites. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import world
from .cores import cores
from .data_commands import DataOption, SetOption, SuiteArgument
from .errors import LtbenchError
from .reading import FormatOption, OnlyOption, PluginOption, RunsOption, console, let_reader_go, load_plugins, one_of

if TYPE_CHECKING:
    from .plan import Plan
    from .planfile import PlanFile, Row
    from .runspec import RunSpec
    from .state import Settings

DEVICES = ("auto", "cpu", "cuda", "mps")
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", metavar="fp32|bf16", help="As --set recipe.precision=...")
]
SeedsOption = Annotated[str | None, typer.Option("--seeds", metavar="0,1,2", help="Only these seeds.")]
ResultsOption = Annotated[Path, typer.Option("--results", metavar="DIR", help="Records go to DIR/<suite>/.")]


def run(
    suite: SuiteArgument,
    results: ResultsOption = Path("results"),
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, help="Runs at once; default: cores (CPU) or GPUs. On one GPU several gain only under NVIDIA's MPS."
        ),
    ] = None,
    device: Annotated[str, typer.Option(metavar="|".join(DEVICES), help="Where to train.")] = "auto",
    precision: PrecisionOption = None,
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
    wanted = _seed_list(seeds)
    one_of("--device", device, DEVICES)
    plan, folder = _plan(suite, sets, precision, plugin, data)
    asked = plan.asked(only or [], wanted)
    chosen = plan.chosen(asked)
    from . import jobs as pool
    from . import state
    from .progress import Screen

    settings = state.Settings(results.resolve(), runs.resolve(), folder, _device(device), checkpoint, workers)
    if dry_run:
        _print_plan(plan, plan.chosen_rows(only or []), chosen, asked, settings, "text")
        return
    why = state.outstanding(chosen, settings)
    main_process = world.is_first()
    if main_process:
        _write_plan(plan, settings)
        _check_room(*((settings.results / plan.suite.name, settings.runs) if why else ()))
    todo = [plan.runs[key] for key in why]
    signals = pool.Signals()
    if todo and main_process:
        for told, n in Counter(_former(plan, why, settings).values()).items():
            _remark(f"{told}; it stays, and fills no row", f"{n} of {len(todo)} runs to do")
        for line in _elsewhere(plan, settings):
            _remark(line, "beside these")
        _remark(plan.suite.recipe.remark(), f"recipe {plan.suite.recipe.name}".rstrip())
    with signals.caught(), Screen(todo, plan.runs, console(stderr=True, quiet=not main_process)) as screen:
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
            let_reader_go()
    if main_process:  # by what is on the disk: a record that is refused is no result, whatever its run said
        ended = {key: status for key, status in ended.items() if status != "complete"}
    statuses = [ended.get(key) or _status_of(state.done(spec, settings)) for key, spec in chosen.items()]
    raise typer.Exit(0 if all(status == "complete" for status in statuses) else 1)


def _status_of(record: Any) -> str:
    return record.status if record else "missing"


def plan_command(
    suite: SuiteArgument,
    results: ResultsOption = Path("results"),
    runs: RunsOption = Path("runs"),
    data: DataOption = None,
    precision: PrecisionOption = None,
    only: OnlyOption = None,
    seeds: SeedsOption = None,
    sets: SetOption = None,
    plugin: PluginOption = None,
    format: FormatOption = "text",
) -> None:
    """The runs of a suite, why each is there, whether it is done, and its estimated cost."""
    wanted = _seed_list(seeds)
    one_of("--format", format, ("text", "json"))
    plan, folder = _plan(suite, sets, precision, plugin, data)
    from . import state

    asked = plan.asked(only or [], wanted)
    settings = state.Settings(results.resolve(), runs.resolve(), folder)
    _print_plan(plan, plan.chosen_rows(only or []), plan.chosen(asked), asked, settings, format)


# What they share


def _plan(
    suite: str, sets: list[str] | None, precision: str | None, plugins: list[str] | None, data: str | None
) -> tuple[Plan, Path]:
    from .suite import read

    if precision is not None:
        one_of("--precision", precision, ("fp32", "bf16"))
    changed = [*(sets or []), *([f"recipe.precision={precision}"] if precision else [])]
    parsed = read(suite, changed)  # before torch: YAML and top-level errors answer at once
    load_plugins(plugins)
    from . import plan
    from .data.spec import data_folder

    folder = data_folder(data).resolve()
    return plan.make(parsed, folder), folder


def _seed_list(text: str | None) -> list[int]:
    try:
        return [] if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise LtbenchError(f"--seeds {text or repr(text)}: write numbers with commas, as in 0,1,2") from None


def _device(asked: str) -> str:
    import torch

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
    return cores()


def _write_plan(plan: Plan, settings: Settings) -> None:
    """results/<suite>/plan.json: all rows of the file; those of a --set beside them."""
    from . import planfile
    from .leases import Leases

    folder = settings.results / plan.suite.name
    with _writing(folder):
        if planfile.says(folder, _joined(plan, folder)):
            return
        with closing(Leases()) as leases, leases.waiting(folder):  # another runner may be adding its rows
            planfile.write(_joined(plan, folder), folder)


def _joined(plan: Plan, folder: Path) -> PlanFile:
    """The rows of a plan with those of the plan.json in a folder that stay beside them."""
    from . import planfile

    new, sets = plan.file(), plan.suite.sets
    try:
        old = planfile.read(folder)
    except LtbenchError:
        if sets and (folder / "plan.json").is_file():
            raise
        return new  # absent, or damaged: the suite file says it all
    if not sets:
        return planfile.refreshed(old, new)
    if any(planfile.is_of_file(row) for row in old.rows) and plan.unset:  # the file may have been edited since
        old = planfile.renewed(old, plan.unset)
    return planfile.merged(old, new)


def _former(plan: Plan, why: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """key -> in what a finished run of former settings differs from a run that is not done."""
    from .former import differences
    from .state import NOT_DONE

    folder = settings.results / plan.suite.name
    try:
        rows = _joined(plan, folder).rows
    except LtbenchError:  # a damaged plan.json: `run` says so
        rows = plan.file().rows
    asked = {*plan.runs, *(key for row in rows for key in row.keys.values())}
    return differences([plan.runs[key] for key, reason in why.items() if reason == NOT_DONE], asked, folder)


def _elsewhere(plan: Plan, settings: Settings) -> list[str]:
    """What the suite's folder has finished under other --set values, in blocks that this plan has not.

    Without these values none of it counts.
    """
    from . import planfile
    from . import record as records

    folder = settings.results / plan.suite.name
    try:
        rows = planfile.read(folder).rows
    except LtbenchError:
        return []
    blocks = {row.block for row in plan.rows}
    others = [row for row in rows if row.sets and row.block not in blocks]
    here = records.read_folder(folder)[0] if others else {}
    done: Counter[tuple[str, ...]] = Counter()
    for row in others:
        done[row.sets] += sum(key in here and here[key].status == "complete" for key in row.keys.values())
    told = {" ".join(f"--set {shlex.quote(value)}" for value in sets): n for sets, n in done.items() if n}
    return [
        f"{folder} has {n} finished run{'s' * (n != 1)} of rows that were asked for with {sets}; without it none counts"
        for sets, n in told.items()
    ]


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

    board = tables.load(folder)
    writers.show(board, console())
    for refusal in board.refused:
        print(f"refused: {refusal}", file=sys.stderr)


def _print_plan(
    plan: Plan, rows: Sequence[Row], chosen: Mapping[str, RunSpec], asked: Set[str], settings: Settings, format: str
) -> None:
    from . import plan_listing, state

    why = state.outstanding(chosen, settings)
    items = plan_listing.plan_items(chosen, asked, why, _former(plan, why, settings), settings)
    skipped = [row for row in rows if row.skip]
    if format == "json":
        print(json.dumps([*items, *map(plan_listing.skipped_item, skipped)], indent=1, ensure_ascii=False))
        return
    plan_listing.show_plan(items, skipped, plan.overlaps, console())
    for line in _elsewhere(plan, settings) if why else ():
        _remark(line, "beside these")
    own = plan.suite.recipe.remark()
    whose = {own: [f"recipe {plan.suite.recipe.name}".rstrip()]}
    for run in chosen.values():
        if (remark := run.recipe.remark()) != own and run.label not in whose.setdefault(remark, []):
            whose[remark].append(run.label)
    for remark, names in whose.items():
        _remark(remark, *names)


def _remark(remark: str, *names: str) -> None:
    """Say on stderr what a recipe asks for and does not get."""
    if remark:
        from rich.text import Text

        screen = console(stderr=True)
        screen.print(Text(f"{', '.join(names)}: {remark}"), soft_wrap=not screen.is_terminal)

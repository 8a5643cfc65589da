"""What `plan` and `run --dry-run` print: the runs of a suite, why each is there, how it stands, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .listing import overlap_line
from .reading import WIDE
from .record import FINAL, Record

if TYPE_CHECKING:
    from .planfile import Row
    from .runspec import RunSpec
    from .state import Settings

SHOWN = 6  # runs that are named where many have one reason
ENDED = ("done", "diverged", "skipped")


def plan_items(
    chosen: Mapping[str, RunSpec],
    asked: Set[str],
    todo: Mapping[str, str],
    former: Mapping[str, str],
    settings: Settings,
) -> list[dict[str, Any]]:
    """The chosen runs, as plain data; seconds are estimated from the records that are there, None without any.

    Where these were made on several devices, those of the device that made most are asked.
    asked: the keys of those that rows are made of; todo: key -> why it must be carried out; former: key -> in
    what a finished run of other settings differs.
    """
    from .runspec import block_of
    from .state import done

    block = block_of(chosen.values())
    costs = _costs(chosen)
    records = {key: done(spec, settings) for key, spec in chosen.items()}
    device, rate = rate_of([(record, cost) for key, record in records.items() if record and (cost := costs[key])])
    why = _why(chosen, asked)
    states = {key: _state(spec, todo.get(key), settings) for key, spec in chosen.items()}
    return [
        {
            "run": spec.stem, "label": spec.label, "seed": spec.ref.seed, "data": spec.data.label,
            "backbone": spec.backbone, "block": block(spec), "epochs": spec.recipe.epochs, "why": why[key],
            "status": states[key][0],
            "parents": {role: parent.label for role, parent in spec.parents.items()},
            "train_macs": costs[key],
            "seconds": None if rate is None or (cost := costs[key]) is None else rate * cost,
            "device": device,  # that these are seconds of
            "reason": states[key][1] or former.get(key, ""),
        }
        for key, spec in chosen.items()
    ]  # fmt: skip


def skipped_item(row: Row) -> dict[str, Any]:
    """A row whose method gives a reason not to run, as plain data beside those of plan_items(); it has no runs."""
    return {
        "run": None, "label": row.label, "seed": None, "data": row.data, "backbone": row.backbone, "block": "",
        "epochs": None, "why": ["asked"], "status": "skipped", "parents": {}, "train_macs": None, "seconds": None,
        "device": None, "reason": row.skip,
    }  # fmt: skip


def rate_of(made: Sequence[tuple[Record, float]]) -> tuple[str | None, float | None]:
    """(the device of most of these runs, its seconds per multiply-add); made: each with its multiply-adds."""
    if not made:
        return None, None
    ((device, _),) = Counter(record.volatile.device for record, _ in made).most_common(1)
    here = [(record.volatile.seconds, cost) for record, cost in made if record.volatile.device == device]
    return device, sum(seconds for seconds, _ in here) / sum(cost for _, cost in here)


def _why(chosen: Mapping[str, RunSpec], asked: Set[str]) -> dict[str, list[str]]:
    """key -> why the run is there: "asked", and "stage1 of crt" for each that starts from it."""
    found = {key: dict.fromkeys(["asked"] if key in asked else []) for key in chosen}
    for spec in chosen.values():
        for role, parent in spec.parents.items():
            found[parent.key][f"{role} of {spec.label}"] = None
    return {key: list(reasons) for key, reasons in found.items()}


def _state(spec: RunSpec, why: str | None, settings: Settings) -> tuple[str, str]:
    """(done, diverged, running, partial, failed, oom or why it is to be carried out; the reason)."""
    from . import checkpoints, leases, state

    record, folder = state.latest(spec, settings), settings.folder(spec)
    if why is None:
        return (record.status, record.reason) if record and record.status != "complete" else ("done", "")
    held = [lease.holder for lease in leases.find(folder) if lease.lives()]
    if held:
        return "running", str(held[-1])
    if steps := checkpoints.steps(folder):
        failed = f"; {record.status}: {record.reason}" if record and record.reason else ""
        return "partial", f"stopped at step {steps[0]}{failed}"
    if record and record.status == "complete":  # but for its weights
        made = f"{record.volatile.device}, torch {record.volatile.versions.get('torch', 'unknown')}"
        return (
            why,
            f"made on {made}: only the like of it makes its numbers again, else copy its folder to {settings.runs}",
        )
    return (record.status, record.reason) if record and record.status not in FINAL else (why, "")


def _costs(chosen: Mapping[str, RunSpec]) -> dict[str, float | None]:
    """_cost() of each run; the seeds of one row cost the same."""
    told: dict[str, float | None] = {}
    for spec in chosen.values():
        if _row(spec) not in told:
            told[_row(spec)] = _cost(spec)
    return {key: told[_row(spec)] for key, spec in chosen.items()}


def _row(spec: RunSpec) -> str:
    """What tells runs apart whose costs differ."""
    return repr((spec.label, spec.net, spec.size, spec.counts, spec.ref.part, spec.recipe.epochs))


def _cost(spec: RunSpec) -> float | None:
    """Multiply-adds of the whole training: three times the forward pass, for every image of every stream.

    None where somebody's own method, or a rare model, computes with numbers where here are only shapes.
    """
    from . import outline, registry

    if not spec.recipe.epochs:
        return 0.0
    try:
        method = outline.method(registry.get(spec.ref.method), spec.ref.options, spec.net, spec.counts, spec.size)
        macs, streams = outline.macs(method, spec.size), len(method.streams())
    except Exception:
        return None
    return 3 * macs * sum(spec.counts) * spec.recipe.epochs * streams


def grouped_reasons(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Why runs stand as they do, a line for all that have one reason."""
    named: dict[tuple[str, str], list[str]] = {}
    for item in found:
        if item["reason"]:
            where = f" on {item['block']}" if item["block"] else ""
            named.setdefault((item["status"], item["reason"]), []).append(f"{item['label']} seed {item['seed']}{where}")
    for (status, reason), names in named.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{status}: {', '.join(names[:SHOWN])}{more}: {reason}"


def show_plan(
    found: Sequence[Mapping[str, Any]],
    skipped: Sequence[Row],
    overlaps: Mapping[str, Mapping[str, float | None]],
    console: Console,
) -> None:
    """The runs, a line each, what they cost together, and what the draws of a resampling have in common."""
    from .progress import duration
    from .writers import LABEL_WIDTH, folded

    left = [item for item in found if item["status"] not in ENDED]
    known = [item["seconds"] for item in left if item["seconds"] is not None]
    table = Table(box=None, pad_edge=False)
    for title in ("run", "seed", "epochs", "why", "status", *(("estimate",) if known else ())):
        right = title in ("seed", "epochs", "estimate")
        table.add_column(title, justify="right" if right else "left", no_wrap=right or title == "run", overflow="fold")
    wide = LABEL_WIDTH if console.width < WIDE else console.width  # whoever reads a file may search it for a label
    block = ""
    for item in found:
        if item["block"] != block:  # the runs of a block stand together
            block = item["block"]
            table.add_row(Text(folded(f"on {block}", wide), style="italic"))
        time = "" if item["seconds"] is None or item["status"] in ENDED else duration(item["seconds"])
        name, reasons = Text(folded(item["label"], wide)), Text("; ".join(item["why"]))
        cells = [name, str(item["seed"]), str(item["epochs"]), reasons, item["status"], time]
        table.add_row(*cells[: len(table.columns)])
    console.print(table)
    line = f"{len(found)} run{'s' * (len(found) != 1)}, {len(left)} to do"
    work = sum(item["train_macs"] or 0 for item in left)
    if work:
        amount = f"{work / 1e15:.1f} P" if work >= 1e15 else f"{work / 1e12:.1f} T"
        line += f"; at most {amount} multiply-adds"
    if left and len(known) == len(left):
        line += f", about {duration(sum(known))} of one job's time by the records here from {left[0]['device']}"
    elif work:
        line += "; how long they take, the first record here will tell"
    console.print(Text(line))
    for label, shares in overlaps.items():
        console.print(Text(f"{label}: {overlap_line(shares)}"))
    for line in grouped_reasons(found):
        console.print(Text(line), soft_wrap=not console.is_terminal)
    for row in skipped:
        said = f"skipped: {row.label} on {row.data}, {row.backbone}: {row.skip}"
        console.print(Text(said), soft_wrap=not console.is_terminal)

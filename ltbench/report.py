"""The report: leaderboard, figures and runs of a results folder on one self-contained, deterministic HTML page."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from . import __version__, blocks, figures, footers, scores, svg
from .blocks import Block, Entry
from .columns import Column, chosen_columns, is_bold, title
from .digits import fixed
from .labels import spelled
from .markup import plain
from .record import Record, Stretch, Volatile

MOST_FIGURES = 24  # a page draws no more: the first kinds of all blocks come before the last kinds of the first block


def render(
    results: Path, runs: Path, only: Sequence[str] = (), groups: tuple[int, int] | None = None
) -> tuple[str, list[str]]:
    """(the page, what was refused). Raises LtbenchError where there are no results."""
    found, refused = blocks.load(results, runs, only, groups)
    drawn = _figures(found)
    parts = [_block(i, block, drawn[i], bool(only)) for i, block in enumerate(found, 1)]
    files = resources.files(__package__) / "templates"
    style, script = ((files / f"report.{end}").read_text(encoding="utf-8") for end in ("css", "js"))
    page = _environment().get_template("report.html").render(
        title=f"ltbench: {', '.join(dict.fromkeys(str(block.entries[0].row['suite']) for block in found))}",
        version=__version__, policy=_policy(style, script), style=_trusted(style), script=_trusted(script),
        blocks=parts, refused=refused, facts=_facts(found, refused),
    )  # fmt: skip
    return page, refused


def _environment() -> Any:
    """jinja2 that escapes whatever it prints, and writes invisible characters out."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        if not isinstance(value, str) or isinstance(value, Markup) or (value.isascii() and value.isprintable()):
            return value
        return plain(value)

    def jointed(label: str) -> Markup:
        """The label, which a browser may break after its brackets, commas and equals signs."""
        return Markup("<wbr>").join(re.findall(r"[^(,=_]*[(,=_]?", plain(label)))

    environment = Environment(
        loader=PackageLoader(__package__, "templates"), autoescape=True, undefined=StrictUndefined, finalize=shown,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["jointed"] = jointed
    return environment


def _trusted(text: str) -> Any:
    """Our own style, script or drawing, which must not be escaped."""
    from markupsafe import Markup

    return Markup(text)


def _policy(style: str, script: str) -> str:
    """No request at all; one style sheet and one script, by their hashes."""

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; style-src {source(style)}; script-src {source(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _facts(found: list[Block], refused: list[str]) -> list[tuple[str, str]]:
    """What the page holds, in a few numbers."""
    entries = [entry for block in found for entry in block.entries]
    complete = sum(len(entry.complete) for entry in entries)
    facts = [
        ("blocks" if len(found) != 1 else "block", str(len(found))),
        ("rows" if len(entries) != 1 else "row", str(len(entries))),
        ("runs complete", f"{complete} of {sum(entry.row['asked'] for entry in entries)}"),
    ]
    return facts + ([("records refused", str(len(refused)))] if refused else [])


# Figures


def _figures(found: list[Block]) -> dict[int, list[dict[str, Any]]]:
    """The figures of each block, by its number from 1."""
    out: dict[int, list[dict[str, Any]]] = {i: [] for i in range(1, len(found) + 1)}
    room = MOST_FIGURES
    for kind in figures.KINDS:
        for i, block in enumerate(found, 1):
            item: dict[str, Any] = {"name": kind.name, "title": kind.title, "caption": kind.caption, "svg": ""}
            if not room:
                item["reason"] = f"not drawn: a report holds {MOST_FIGURES} figures; `ltbench plot` draws all"
            else:
                try:
                    drawing = figures.inline(kind, block)
                    item["svg"] = _trusted(svg.embedded(drawing, f"{kind.title}. {kind.caption}"))
                    room -= 1
                except figures.NothingError as reason:
                    item["reason"] = f"nothing to show: {reason}"
            out[i].append(item)
    return out


# The leaderboard of a block


def _block(number: int, block: Block, drawn: list[dict[str, Any]], only: bool) -> dict[str, Any]:
    """A block as the template prints it. only: whether it may have more rows."""
    rows = [entry.row for entry in block.entries]
    low, high = _range(block)
    columns = chosen_columns((), rows)
    return {
        "id": f"b{number}", "title": block.title, "suite": rows[0]["suite"], "facts": _block_facts(block),
        "columns": [
            {"title": title(c, rows), "key": c.key, "sortable": c.number is not None, "down": c.more_is_better}
            for c in columns
        ],
        "rows": [_row(number, block, entry, columns, low, high) for entry in block.entries],
        "statuses": sorted({row["status"] for row in rows}),
        "notes": footers.footer(rows, only=only),
        "figures": drawn,
        "entries": [_entry(number, entry) for entry in block.entries],
    }  # fmt: skip


def _block_facts(block: Block) -> list[tuple[str, str]]:
    row, counts = block.entries[0].row, block.counts
    facts = [("data", row["data"]), ("backbone", row["backbone"]), ("recipe", row["recipe"] or "(unnamed)")]
    if counts:
        groups = ", ".join(f"{len(members)} {name}" for name, members in block.groups.items())
        facts += [("classes", f"{len(counts)}: {groups}"), ("training images", f"{sum(counts):,}".replace(",", " "))]
        facts += [("imbalance", f"{max(counts)} to {min(counts)} images a class")]
    return facts


def _range(block: Block) -> tuple[float, float]:
    """The top-1 at both ends of the strip of intervals."""
    spans = [(entry.mean("top1"), entry.half("top1")) for entry in block.ran]
    if not spans:
        return 0.0, 100.0
    low, high = min(mean - half for mean, half in spans), max(mean + half for mean, half in spans)
    room = max(0.05 * (high - low), 0.5)
    return low - room, high + room


def _row(number: int, block: Block, entry: Entry, columns: list[Column], low: float, high: float) -> dict[str, Any]:
    cells = []
    for column in columns[1:]:
        value = column.number(entry.row) if column.number else None
        cells.append(
            {
                "key": column.key, "text": column.text(entry.row), "sort": "" if value is None else repr(value),
                "bold": is_bold(column, entry.row),
            }
        )  # fmt: skip
    strip = None
    if entry in block.ran:
        mean, half = entry.mean("top1"), entry.half("top1")
        ends = [mean, mean - half, mean + half, block.base.mean("top1") if block.base else mean]
        x, left, right, base = (f"{100 * (value - low) / (high - low):.2f}" for value in ends)
        strip = {"x": x, "low": left, "high": right, "sure": half > 0, "base": base if block.base else ""}
    return {
        "label": entry.label, "href": f"b{number}-{_anchor(entry)}", "status": entry.row["status"],
        "reason": entry.row["reason"], "baseline": entry is block.base, "cells": cells, "strip": strip,
    }  # fmt: skip


def _anchor(entry: Entry) -> str:
    """An id for a row: labels may hold anything."""
    return "row-" + hashlib.sha256(entry.label.encode("utf-8", "backslashreplace")).hexdigest()[:12]


# The runs of a row


def _entry(number: int, entry: Entry) -> dict[str, Any]:
    there = {run.seed: run for run in entry.runs}
    runs = [_run(number, there[seed]) for seed in entry.keys if seed in there]
    absent = [{"seed": seed, "key": key} for seed, key in entry.keys.items() if seed not in there]
    return {
        "id": f"b{number}-{_anchor(entry)}", "label": entry.label, "status": entry.row["status"],
        "reason": entry.row["reason"], "n": entry.row["n"], "asked": entry.row["asked"], "runs": runs, "absent": absent,
        "skipped": entry.row["status"] == "skipped",
    }  # fmt: skip


def _run(number: int, run: Record) -> dict[str, Any]:
    """A run as the template prints it: a summary, and groups of (name, value, marked)."""
    unused = {key: "its default" for key in run.suite_recipe if key not in run.recipe}  # of a second stage
    recipe = {**{key: spelled(value) for key, value in run.recipe.items()}, **unused}
    marked = {key for key, value in run.recipe.items() if run.suite_recipe.get(key, value) != value} | set(unused)
    parts = {
        "Recipe": [(key, value, key in marked) for key, value in recipe.items()],
        "Options": [(key, spelled(value), False) for key, value in run.options.items()],
        "Environment": _environment_of(run),
        "Hashes": [
            ("key", run.key, False), ("source", run.source, False),
            *((f"data, {name}", value, False) for name, value in run.data.fingerprints.items()),
        ],
        "Starts from": [(role, f"{parent.label} ({parent.key[:8]})", False) for role, parent in run.parents.items()],
    }  # fmt: skip
    return {
        "id": f"b{number}-run-{run.key[:16]}", "seed": run.seed, "status": run.status, "reason": run.reason,
        "key": run.key[:8], "file": f"{run.stem}.json", "figures": list(_figures_of(run)),
        "parts": {name: pairs for name, pairs in parts.items() if pairs}, "notes": run.volatile.notes,
    }  # fmt: skip


def _figures_of(run: Record) -> Iterator[tuple[str, str]]:
    """Name and value of what a complete run reached."""
    if run.status != "complete":
        return
    found = scores.figures(run)
    for key, name in {"top1": "top-1", **{group: group for group in scores.GROUPS}, "ece": "ECE"}.items():
        yield name, fixed(found[key])


def _environment_of(run: Record) -> list[tuple[str, str, bool]]:
    v = run.volatile
    told = [
        *((f"steps {s.first} to {s.until - 1}", _origin(s)) for s in v.earlier),
        ("commit", _commit(v)), ("device", v.device), ("host", v.host),
        ("threads", str(v.threads) if v.threads else ""), ("processes", str(v.world_size)),
        ("versions", ", ".join(f"{name} {number}" for name, number in v.versions.items())),
        ("training", f"{v.seconds / 60:.1f} min, {v.images_per_second:.0f} images/s" if v.seconds else ""),
        ("peak memory", f"{v.peak_memory_mb:.0f} MB" if v.peak_memory_mb else ""),
        ("started", v.started), ("finished", v.finished),
    ]  # fmt: skip
    return [(name, value, False) for name, value in told if value]


def _commit(made: Volatile | Stretch) -> str:
    return f"{made.commit}{'' if made.clean else ', with changes that are not committed'}" if made.commit else "unknown"


def _origin(made: Stretch) -> str:
    """Where the earlier steps of a run that was taken up again were trained."""
    torch = f", torch {made.torch}" if made.torch else ""
    processes = f", {made.world_size} processes" if made.world_size > 1 else ""
    return f"{made.device}{torch}{processes}, commit {_commit(made)}"

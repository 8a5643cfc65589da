"""An analysis as text, Markdown, LaTeX, CSV and JSON: a table per quantity, methods down, groups of classes across."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from .analysis import PARTS, QUANTITIES, AnalysedBlock, AnalysedRow, Analysis, ClassFigures, Confuser, Estimate
from .atomic import write_atomically
from .digits import fixed, plus_minus
from .footers import heading, limits
from .markup import STYLES, csv_text, grid, latex_comments, markdown_line, plain, visible_json

HardNegative = Literal["to_many", "top_confusers", "confusers", "like_many"]
FORMATS = ("text", "md", "latex", "csv", "json")
TITLES = {
    "error": "Error",
    "bias": "Bias: the main prediction of the runs is wrong",
    "variance": "Variance: a run departs from the main prediction",
    "net_variance": "Net variance: what variance adds to the error",
    "kw_bias": "Bias (Kohavi and Wolpert)",
    "kw_variance": "Variance (Kohavi and Wolpert)",
    "brier": "Squared error of the probabilities",
    "brier_bias": "Squared-error bias",
    "brier_variance": "Squared-error variance",
}
HARD_NEGATIVES: tuple[HardNegative, ...] = ("to_many", "top_confusers", "confusers", "like_many")
LABEL_WIDTH = 30


class Panel(NamedTuple):
    """One table: a line per row with a cell per group."""

    title: str
    lines: list[tuple[str, list[str]]]
    first: str = "method"


def panels(block: AnalysedBlock) -> list[Panel]:
    """The tables of a block; quantities that no row has are left out."""
    rows = [row for row in block["rows"] if row["n"]]
    out = []
    for name in QUANTITIES:
        lines = [(row["label"], [_said(row["groups"][part]["figures"][name]) for part in PARTS]) for row in rows]
        if any(row["groups"]["all"]["figures"][name]["value"] is not None for row in rows):
            out.append(Panel(TITLES[name], lines))
    for name in ("error", "bias", "variance", "brier_bias", "brier_variance"):
        there = [c for c in block["contrasts"] if c["groups"]["all"][name]["value"] is not None]
        cells = [[_said(c["groups"][part][name], sign=True) for part in PARTS] for c in there]
        names = [f"{c['a']} - {c['b']}" for c in there]
        if there:
            about = "Difference in " + {
                "brier_bias": "squared-error bias",
                "brier_variance": "squared-error variance",
            }.get(name, name)
            out.append(Panel(about, list(zip(names, cells, strict=True)), "A - B"))
    return out + (_hard_negatives(block, rows) if rows else [])


def _hard_negatives(block: AnalysedBlock, rows: Sequence[AnalysedRow]) -> list[Panel]:
    chance = [fixed(block["others_many"].get(part)) for part in PARTS]

    def of(name: HardNegative) -> list[tuple[str, list[str]]]:
        return [(row["label"], [_said(row["groups"][part][name]) for part in PARTS]) for row in rows]

    return [
        Panel(
            "Hard negatives: per cent of the errors that are taken for a class of many",
            [*of("to_many"), ("(chance)", chance)],
        ),
        Panel("Hard negatives: per cent of a class's errors that its three foremost take", of("top_confusers")),
        Panel("Hard negatives: how many there are (exp of the entropy of a class's errors)", of("confusers")),
        Panel("Hard negatives: likeness to the most similar class of many, in per cent", of("like_many")),
    ]


def _said(one: Estimate, sign: bool = False) -> str:
    """48.4±0.7, 48.4 without an interval, n/a."""
    half = None if one["low"] is None or one["high"] is None else (one["high"] - one["low"]) / 2
    return plus_minus(one["value"], half, sign)


DOMINGOS = (
    "Error = bias + net variance (Domingos 2000); the main prediction is the majority's, of tied classes each with the "
    "same probability. "
)


def notes(block: AnalysedBlock) -> list[str]:
    """What one must know to believe the figures."""
    rows = [row for row in block["rows"] if row["n"]]
    what = block["runs_are"]
    lacking: dict[str, list[str]] = {}
    for row in block["rows"]:
        lacking.setdefault(row["reason"], []).append(row["label"])
    reasons = [f"{reason}: {', '.join(labels)}" for reason, labels in lacking.items() if reason]
    if not rows:
        return ["No complete run with predictions, so nothing to analyse.", *reasons]
    counts = sorted({row["n"] for row in rows})
    over = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    many, few = block["thresholds"]
    sizes = ", ".join(f"{name} {block['sizes'][name]}" for name in PARTS[:3])
    source = {
        "draws": f"Over {over} draws of the training set, each with a training seed of its own.",
        "seeds": f"Over {over} seeds on one training set: variance is that of training, not that of the data.",
    }[what]
    source = f"One {what[:-1]}." if counts == [1] else source
    unequal = [] if len(counts) == 1 else [f"Main predictions of more {what} are better: compare rows of equal n."]
    over_what = f"; their ± is the jackknife's over {what} alone" if counts[-1] > 2 else ""
    interval = f" ±: half of the 95 % bootstrap interval over {what} and test images." if counts[-1] > 2 else ""
    return [
        f"Per cent of test images. {source}{interval}",
        f"{DOMINGOS if counts[-1] > 2 else ''}Kohavi and Wolpert's and the squared error are bias + variance, free of "
        f"the number of {what}.",
        "Likeness: the cosine of how the images of two classes are answered, 100 where alike. The last three tables "
        f"are means over classes that err{over_what}.",
        f"Classes: {sizes} ({limits(many, few)} here). (chance): errors to all classes alike.",
        *unequal,
        *reasons,
    ]


def confused(block: AnalysedBlock) -> list[str]:
    """For each row the classes of few that are most often taken for one other class."""
    out: list[str] = []
    for row in block["rows"]:
        tail = [c for c in row["classes"] if c["group"] == "few" and c["confusers"]]
        worst = sorted(tail, key=lambda c: (-(c["figures"]["error"] or 0) * c["confusers"][0]["share"], c["number"]))[
            :3
        ]
        said = [
            f"{_called(c)} for {_called(c['confusers'][0])} ({c['confusers'][0]['group']}) "
            f"{fixed((c['figures']['error'] or 0) * c['confusers'][0]['share'] / 100, 0)} %"
            for c in worst
        ]
        if said:
            out.append(f"  {row['label']}: {'; '.join(said)}")
    return ["Classes of few most often taken for another, per cent of their test images:", *out] if out else []


def _called(c: ClassFigures | Confuser) -> str:
    return c["name"] or str(c["number"])


def render(found: Analysis, kind: str) -> str:
    """An analysis as md, latex, csv or json text."""
    if kind == "json":
        return visible_json(found.blocks) + "\n"
    if kind == "csv":
        return _csv(found.blocks)
    return "\n".join(_block(block, kind) for block in found.blocks)


def _block(block: AnalysedBlock, kind: str) -> str:
    write, tables = STYLES[kind].write, []
    for panel in panels(block):
        cells = [[write(text) for text in (label, *line)] for label, line in panel.lines]
        tables.append((panel.title, grid(kind, [write(panel.first), *PARTS], cells)))
    name, said = heading(block), [*confused(block), *notes(block)]
    if kind == "latex":
        parts = [rf"\noindent\textbf{{{write(title)}}}\par\smallskip" + f"\n{table}\n" for title, table in tables]
        return "\n".join([*latex_comments(name, said), *parts])
    parts = [text for title, table in tables for text in (write(title), table)]
    return "\n\n".join([f"**{write(name)}**", *parts, "  \n".join(map(markdown_line, said))]) + "\n"


def write(found: Analysis, out: Path) -> list[Path]:
    """Write analysis.csv and bias_variance.svg and .png of each block to out/<block>/; their paths. Raises OSError."""
    from . import figures
    from .blocks import file_names
    from .figures import bias_variance
    from .figures.style import styled

    paths = []
    names = file_names([(b["suite"], b["data"], b["backbone"], b["recipe"]) for b in found.blocks])
    for name, block in zip(names, found.blocks, strict=True):
        folder = out / name
        write_atomically(folder / "analysis.csv", _csv([block]))
        paths.append(folder / "analysis.csv")
        for format in ("svg", "png") if any(row["n"] for row in block["rows"]) else ():
            with styled(f"{name}/bias_variance"):
                (folder / f"bias_variance.{format}").write_bytes(figures.saved(bias_variance.figure(block), format))
            paths.append(folder / f"bias_variance.{format}")
    return paths


# CSV: one number a line

COLUMNS = (
    "suite", "data", "backbone", "recipe", "kind", "label", "minus", "n", "group", "class", "name", "train_images",
    "quantity", "value", "low", "high",
)  # fmt: skip


def _csv(blocks: Sequence[AnalysedBlock]) -> str:
    start = ("suite", "data", "backbone", "recipe")
    return csv_text(COLUMNS, ({key: block[key] for key in start} | line for block in blocks for line in _flat(block)))  # type: ignore[literal-required]


def _flat(block: AnalysedBlock) -> Iterator[dict[str, Any]]:
    for row in block["rows"]:
        of: dict[str, Any] = {"label": row["label"], "n": row["n"]}
        for part, group in row["groups"].items():
            here = of | {"kind": "group", "group": part}
            hard: dict[str, Estimate] = {name: group[name] for name in HARD_NEGATIVES}
            for name, one in {**group["figures"], **hard}.items():
                yield here | {"quantity": name, **one}
        for c in row["classes"]:
            here = of | {
                "kind": "class", "group": c["group"], "class": c["number"], "name": c["name"],
                "train_images": c["train_images"],
            }  # fmt: skip
            for name, value in c["figures"].items():
                yield here | {"quantity": name, "value": value}
            for i, confuser in enumerate(c["confusers"], 1):
                yield here | {"quantity": f"confuser{i}", "value": confuser["number"]}
                yield here | {"quantity": f"confuser{i}_share", "value": confuser["share"]}
    for contrast in block["contrasts"]:
        of = {"kind": "difference", "label": contrast["a"], "minus": contrast["b"], "n": len(contrast["runs"])}
        for part, figures in contrast["groups"].items():
            for name, one in figures.items():
                yield of | {"group": part, "quantity": name, **one}


# Text


def show(found: Analysis, console: Any) -> None:
    """An analysis on a rich console."""
    from rich.table import Table
    from rich.text import Text

    for block in found.blocks:
        console.print(Text(plain(heading(block)), style="bold"))
        for panel in panels(block):
            console.print()
            console.print(Text(panel.title))
            table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
            wide = min(LABEL_WIDTH, max(len(plain(label)) for label, _ in panel.lines))
            table.add_column(panel.first, overflow="fold", min_width=wide)
            for part in PARTS:
                table.add_column(part, justify="right", no_wrap=True, min_width=9)
            for label, line in panel.lines:
                table.add_row(Text(plain(label)), *line)
            console.print(table)
        console.print()
        _paragraphs(console, [*confused(block), ""], "")
        _paragraphs(console, notes(block), "dim")
        console.print()


def _paragraphs(console: Any, lines: Sequence[str], style: str) -> None:
    from rich.text import Text

    for line in lines:
        console.print(Text(plain(line), style=style))

"""What `list`, `show`, `plan` and `data show` print."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .digits import fixed
from .errors import LtbenchError, near
from .labels import spelled

if TYPE_CHECKING:
    from .data.dataset import Dataset
    from .data.spec import DataSpec
    from .data.transforms import Look
    from .suite import Suite

KINDS = ("methods", "datasets", "backbones", "suites")


def items(kind: str) -> list[dict[str, Any]]:
    """All things of a kind, by name, as plain data."""
    if kind == "methods":
        return [_method(name, cls) for name, cls in _methods().items()]
    if kind == "suites":
        from .suite import shipped

        return [{"name": name, "summary": _first_comment(path), "path": str(path)} for name, path in shipped().items()]
    module = importlib.import_module(".data.spec" if kind == "datasets" else ".backbones", __package__)
    return [{"name": name, "summary": summary} for name, summary in module.SUMMARIES.items()]


def _methods() -> Mapping[str, type]:
    from . import registry

    return registry.available()


def _method(name: str, cls: Any) -> dict[str, Any]:
    from . import registry, sources

    return {
        "name": name,
        "paper": cls.paper,
        "summary": (inspect.getdoc(cls) or "").partition("\n")[0],
        "options": {option.name: option.default for option in registry.describe(cls)},
        "origin": sources.origin(cls),
    }


def _first_comment(path: Path) -> str:
    """The first line of a suite's head comment."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def show(kind: str, found: Iterable[Mapping[str, Any]], console: Console) -> None:
    """The things of a kind, a line each."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "summary", *(("paper",) if kind == "methods" else ())):
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    for item in found:
        row = [item["name"], item["summary"], *((item["paper"],) if kind == "methods" else ())]
        table.add_row(*map(Text, row))
    console.print(table)


def show_one(name: str, console: Console) -> None:
    """A method's options, or a suite with its defaults. Raises LtbenchError where the name is neither's."""
    from .suite import locate, read, shipped

    if name in shipped() or Path(name).suffix in (".yaml", ".yml"):  # before the methods, which need torch
        console.print(Text(_spelled_out(read(str(locate(name))))))
        return
    methods = _methods()
    if name in methods:
        _show_method(name, methods[name], console)
    else:
        hint = near(name, [*methods, *shipped()])
        raise LtbenchError(f"{name}: neither a method nor a suite{f'; {hint}' if hint else ''}")


def _show_method(name: str, cls: Any, console: Console) -> None:
    from . import registry, sources

    console.print(Text(f"{name}  ({sources.origin(cls)}, version {cls.version})", style="bold"))
    paragraphs = re.sub(r"(?<!\n)\n(?![\n ])", " ", inspect.getdoc(cls) or "")  # the window breaks the lines
    console.print(Text(paragraphs))
    if cls.paper:
        console.print(Text(cls.paper))
    table = Table("option", "type", "default", box=None, pad_edge=False)
    for option in registry.describe(cls):
        table.add_row(Text(option.name), Text(option.type), Text(spelled(option.default)))
    if table.row_count:
        console.print()
        console.print(table)


def _spelled_out(suite: Suite) -> str:
    """A suite's file with every default written out."""
    import yaml

    if suite.faults:
        raise LtbenchError("\n".join(suite.faults))
    whole = {
        "data": [_data_keys(spec) for spec in suite.data], "backbone": [net.plain for net in suite.backbones],
        "seeds": None if any(spec.draws for spec in suite.data) else suite.seeds,
        "recipe": asdict(suite.recipe), "baseline": suite.baseline,
        "methods": suite.document.value["methods"],  # in which none may stand for no options
    }  # fmt: skip
    return yaml.safe_dump(_lists(_given(whole)), sort_keys=False, default_flow_style=None, width=120)


def _data_keys(spec: DataSpec) -> dict[str, Any]:
    keys = _given(asdict(spec))
    return keys if "imbalance" in keys else {key: value for key, value in keys.items() if key != "profile"}


def _given(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in keys.items() if value is not None}


def _lists(value: Any) -> Any:
    """Tuples as lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


# Data


def datasets_of(suite: Suite, folder: Path) -> list[dict[str, Any]]:
    """The datasets of a suite, as plain data."""
    if suite.faults:
        raise LtbenchError("\n".join(suite.faults))
    from .plan import datasets, suite_look

    opened = [data for index in range(len(suite.data)) for data in datasets(suite, index, folder)]
    return [_data_item(data, suite_look(suite, data.spec, data.train.size)) for data in opened]


def _data_item(data: Dataset, look: Look | None) -> dict[str, Any]:
    """A dataset; a draw says besides what it is expected to share with another, one in files how they are read."""
    from .scores import group_classes
    from .visitor import overlap

    groups = {name: len(classes) for name, classes in group_classes(data.counts, data.groups).items()}
    return (
        {
            "name": data.spec.label,
            "classes": len(data.classes),
            "train": len(data.train),
            "test": len(data.test),
            "counts": list(data.counts),
            "names": list(data.classes),
            "groups": groups,
            "fingerprint": data.fingerprints["rows"],
        }
        | ({} if data.spec.draw is None else {"overlap": overlap(data)})
        | ({} if look is None else _reading(data, look))
    )


def _reading(data: Dataset, look: Look) -> dict[str, Any]:
    from .data import folder

    held = data.held_in_memory(look)
    read = {"root": str(data.root), "image_size": look.size, "read": "once, into memory" if held else "each time"}
    if data.spec.name != "folder" or data.root is None or data.packed:
        return read
    return read | {"left_out": len(folder.left_out(data.root))}


def show_datasets(found: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Each dataset, a few lines."""
    for data in found:
        groups = ", ".join(f"{count} {name}" for name, count in data["groups"].items())
        console.print(Text(data["name"], style="bold"))
        console.print(
            f"  {data['classes']} classes ({groups}), {data['train']} training images, {data['test']} for test"
        )
        console.print(f"  training images per class: {max(data['counts'])} to {min(data['counts'])}")
        console.print(Text(f"  classes: {class_line(data['names'], data['counts'])}"))
        console.print(f"  rows {data['fingerprint']}", soft_wrap=True)
        if "root" in data:
            size, read = data["image_size"], data["read"]
            console.print(Text(f"  images of {size}x{size} pixels, read {read}, from {data['root']}"), soft_wrap=True)
        if data.get("left_out"):
            files = "1 file" if data["left_out"] == 1 else f"{data['left_out']} files"
            console.print(
                f"  left out: {files} of another ending or in no class's folder; `ltbench data verify` says which"
            )
        if "overlap" in data:
            console.print(f"  {overlap_line(data['overlap'])}")


def class_line(names: Sequence[str], counts: Sequence[int]) -> str:
    """The number, name and training images of each class; of more than ten the first and the last five."""
    said = [f"{i} {name} ({count})" for i, (name, count) in enumerate(zip(names, counts, strict=True))]
    return ", ".join(said if len(said) <= 10 else [*said[:5], "...", *said[-5:]])


def overlap_line(shares: Mapping[str, float | None]) -> str:
    """What two draws are expected to share, in a line."""
    said = ", ".join(f"{name} {'n/a' if s is None else f'{fixed(100 * s)} %'}" for name, s in shares.items())
    return f"of a draw's images another has, on average: {said}"

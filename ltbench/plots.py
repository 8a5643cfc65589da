"""Figures of a results folder, as files: DIR/<block>/<figure>.svg; a suite's only block bears the suite's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import blocks, figures

FORMATS = ("svg", "png", "pdf")


def write(
    results: Path, out: Path, format: str, runs: Path, only: Sequence[str] = (), groups: tuple[int, int] | None = None
) -> tuple[list[Path], list[str]]:
    """(the files that were written, what was refused). Raises LtbenchError without results, OSError without room."""
    found, refused = blocks.load(results, runs, only, groups)
    paths = []
    for block in found:
        for kind in figures.KINDS:
            path = out / block.name / f"{kind.name}.{format}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(figures.drawn(kind, block, format))
            paths.append(path)
    return paths, refused

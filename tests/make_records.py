"""Valid records and plans made by hand. `python tests/make_records.py` writes the files of golden_table/ anew."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ltbench import planfile, tables, writers
from ltbench import record as records
from ltbench.planfile import PlanFile, Row
from ltbench.record import Calibration, Data, Record, Volatile

GOLDEN = Path(__file__).parent / "golden_table"
COUNTS = (200, 60, 5)  # one class of each group
TOTAL = (10, 10, 10)
TRUE = np.repeat([0, 1, 2], 10)
FINGERPRINTS = {"rows": "aa" * 32, "train": "bb" * 32}
# one occupied bin of 30 images: |right - confidence| is 3, so that the calibration error is 10 %
BINS = Calibration(count=(0, 30), right=(0, 15), confidence=(0.0, 18.0))
DONE = {"right": (9, 5, 1), "total": TOTAL, "calibration": BINS, "parameters": 75_000, "macs": 2e6, "macs_used": 2e6}
VOLATILE = Volatile(
    seconds=90.0, images_per_second=100.0, device="cpu: Toy", commit="0123456789abcdef", clean=True, host="somewhere"
)


def make(label: str = "ce", seed: int = 0, **changes: Any) -> Record:
    """A record whose key is right; complete, with DONE's figures, unless changes say otherwise."""
    done = DONE if changes.get("status", "complete") == "complete" else {}
    fields = {
        "protocol": 1, "suite": "toy", "key": "", "status": "complete", "method": label.partition("(")[0], "version": 1,
        "plugin": "", "options": {"label": label}, "label": label, "backbone": "resnet8",
        "data": Data(name="toy_lt", counts=COUNTS, groups=(100, 20), fingerprints=FINGERPRINTS),
        "seed": seed, "part": "all", "recipe": {"epochs": 2}, "suite_recipe": {"epochs": 2}, "parents": {},
        "volatile": VOLATILE,
    }  # fmt: skip
    record = Record(**fields | done | changes)
    return record.model_copy(update={"key": record.identity.key})


def predicted(label: str, seed: int, right: tuple[int, int, int], offset: int = 0, **changes) -> Record:
    """A record that is right on so many images of each class, from the offset on, round about."""
    guess = (TRUE + 1) % 3
    for c, n in enumerate(right):
        guess[10 * c + (np.arange(n) + offset) % 10] = c
    return make(label, seed, right=right, predictions=records.encode(guess), **changes)


def row(made: Sequence[Record], **changes: Any) -> Row:
    """The plan's row that these records fill; a record that is not written makes a missing seed."""
    first = made[0]
    keys = {str(record.seed): record.key for record in made}
    fields = {"label": first.label, "method": first.method, "data": first.data.name, "backbone": first.backbone}
    return Row(**fields | {"recipe": "two", "block": "b" * 64, "keys": keys} | changes)


def write(
    folder: Path, rows: Iterable[Row], made: Iterable[Record], baseline: str = "ce", suite: str = "toy", **changes: Any
) -> Path:
    """folder/<suite> with a plan of these rows and these records."""
    planfile.write(PlanFile(suite=suite, baseline=baseline, rows=tuple(rows), **changes), folder / suite)
    for record in made:
        records.write(record, folder / suite)
    return folder / suite


def five() -> tuple[list[Row], list[Record]]:
    """ce over three seeds, ride with one of three missing and a part skipped at test, bbn not run.

    Top-1 of ce 50, 60, 70; of ride 60, none, 90.
    """
    ce = [make("ce", seed, right=right) for seed, right in enumerate([(9, 5, 1), (9, 6, 3), (9, 7, 5)])]
    ride = [
        make("ride(experts=3)", seed, right=right, parameters=81_000, macs=4e6, macs_used=3e6)
        for seed, right in [(0, (9, 6, 3)), (1, (0, 0, 0)), (2, (10, 9, 8))]
    ]
    rows = [row(ce), row(ride), row([make("bbn", seed) for seed in range(3)])]
    return rows, [*ce, ride[0], ride[2]]


def text(board: tables.Leaderboard, width: int, options: tables.Options | None = None) -> str:
    """What `ltbench table` prints on a terminal of that width."""
    sink = io.StringIO()
    writers.show(board, Console(file=sink, width=width), options or tables.Options())
    return sink.getvalue()


def golden(board: tables.Leaderboard) -> dict[str, str]:
    """File name -> text, in every format."""
    endings = {"md": "md", "latex": "tex", "csv": "csv", "json": "json", "html": "html"}
    rendered = {f"table.{ending}": writers.render(board, kind) for kind, ending in endings.items()}
    return {f"{width}.txt": text(board, width) for width in (80, 140)} | rendered


if __name__ == "__main__":
    import tempfile

    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in golden(tables.load(write(Path(folder), *five()))).items():
            (GOLDEN / name).write_text(content, encoding="utf-8")

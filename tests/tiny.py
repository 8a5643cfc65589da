"""A suite of seconds on the embedded data, and a way to carry it out within the test's process."""

from __future__ import annotations

from pathlib import Path

from ltbench import plan, runs, state, suite
from ltbench.events import Event
from ltbench.record import Record

SUITE = """\
data: {name: glyphs_lt, imbalance: 3, head: 9}
backbone: resnet8
seeds: [0]
recipe: {name: tiny, epochs: 2, batch_size: 64, augment: [crop, rotate15]}
methods: [METHODS]
"""


def write(folder: Path, methods: str) -> Path:
    """A suite file of those methods."""
    path = folder / "tiny.yaml"
    path.write_text(SUITE.replace("METHODS", methods))
    return path


def make(folder: Path, data: Path, methods: str, *sets: str) -> plan.Plan:
    """The plan of a suite of those methods."""
    return plan.make(suite.read(str(write(folder, methods)), list(sets)), data)


def settings(folder: Path, data: Path, **more: float) -> state.Settings:
    """Results and runs below folder."""
    return state.Settings(folder / "results", folder / "runs", data, **more)  # type: ignore[arg-type]


def carry_out(made: plan.Plan, where: state.Settings) -> dict[str, Record]:
    """All runs of a plan, in this process; label -> record."""
    told: list[Event] = []
    return {
        spec.label: runs.execute(spec, runs.parents_of(spec, made.runs), where, told.append)
        for spec in made.runs.values()
    }

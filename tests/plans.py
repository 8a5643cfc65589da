"""What tests of plans share: plans of whole suite files, and a method that starts from runs of other seeds."""

from __future__ import annotations

from pathlib import Path

import tiny

from ltbench import plan, suite
from ltbench.runspec import RunSpec

OVERRIDDEN = tiny.SUITE.replace(
    "methods: [METHODS]", "methods:\n  - ce\n  - crt\n  - crt: {}\n    recipe: {lr: 0.5, batch_size: 32}\n  - lws"
)
ENSEMBLE = '''\
from dataclasses import replace

from ltbench import Method, Ref, register


@register("panel")
class Panel(Method):
    """Several runs of one method, averaged."""

    def __init__(self, problem, *, base: Ref = Ref("ce"), members: int = 2, part: str = "all"):
        super().__init__(problem)

    @classmethod
    def needs(cls, options):
        base, part = options["base"], options["part"]
        return {f"member{i}": replace(base, seed=1000 * i, part=part) for i in range(options["members"])}

    @classmethod
    def recipe(cls, base, options):
        return base.with_(epochs=0)

    @classmethod
    def skip(cls, problem, options):
        return f"{problem.backbone} is too large" if problem.backbone == "resnet20" else ""
'''


def whole(folder: Path, data: Path, text: str, *sets: str) -> plan.Plan:
    """The plan of a suite file's whole text."""
    (folder / "mine.yaml").write_text(text)
    return plan.make(suite.read(str(folder / "mine.yaml"), list(sets)), data)


def names(runs_by_key: dict[str, RunSpec]) -> list[str]:
    return [f"{spec.label} s{spec.ref.seed}" for spec in runs_by_key.values()]


def the(made: plan.Plan, label: str, seed: int = 0) -> RunSpec:
    (spec,) = (spec for spec in made.runs.values() if spec.label == label and spec.ref.seed == seed)
    return spec

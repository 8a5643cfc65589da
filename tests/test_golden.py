"""Same-loss rule: a refactor leaves the losses of a seeded run of each method unchanged.

Where a number below moves, either the change is a mistake, or Method.version (one method) or keys.PROTOCOL (all) must
be raised and the file written anew: python tests/test_golden.py. All is computed in double precision: in single, the
last bits, which hang on the processor and on torch's build, grow to the second digit within these 20 steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ltbench import Method, contract, labels, registry
from ltbench.keys import PROTOCOL

GOLDEN = Path(__file__).parent / "golden_losses.json"
STEPS = 20
PARENTS: dict[str, Method] = {}  # trained for the first that needs them
RECIPE = contract.RECIPE.with_(epochs=5, augment=("crop", "flip", "rotate15"), warmup=0.2)  # 20 steps of 16 images


@contextmanager
def double_precision() -> Iterator[None]:
    """Within this, what would be single precision is double."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def losses_of(name: str) -> dict[str, object]:
    """The version of a method, and the mean loss of each epoch of its run; for one that trains nothing, a logit."""
    trials = contract.Trials(labels.parse(name), PARENTS)
    method = trials.fresh()
    recipe = trials.cls.recipe(RECIPE, trials.ref.options)
    if recipe.epochs:
        fit = trials.fit(method, recipe.with_(epochs=5, batch_size=16))
        assert fit.progress.step == STEPS
        numbers = [sum(row["terms"].values()) for row in fit.progress.history]
    else:
        with torch.no_grad():
            numbers = method.eval().predict(next(trials.test.once()).image).logits[0].tolist()
    return {"version": trials.cls.version, "protocol": PROTOCOL, "losses": numbers}


@pytest.mark.parametrize("name", registry.available())
def test_losses_are_those_of_before(name):
    recorded = json.loads(GOLDEN.read_text())[name]
    with double_precision():
        now = losses_of(name)
    versions = (recorded["version"], recorded["protocol"]), (now["version"], now["protocol"])
    assert versions[0] == versions[1], "write the file anew: python tests/test_golden.py"
    assert now["losses"] == pytest.approx(recorded["losses"], rel=1e-8), "numbers moved without a new version"


if __name__ == "__main__":
    torch.set_num_threads(1)
    with double_precision():
        golden = {name: losses_of(name) for name in registry.available()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")

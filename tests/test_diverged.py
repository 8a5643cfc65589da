"""A term that is not finite, for one step only: it reaches no weight, and the run is `diverged`, by term and step."""

from __future__ import annotations

import json
import math

import calls
import pytest
import tiny
import torch

from ltbench import checkpoints, planfile, record, registry, runs, state
from ltbench.trainer import Interrupted

pytestmark = pytest.mark.usefixtures("few_test_images")
SMALL = ("data.head=3", "recipe.batch_size=16")  # 2 epochs of 6 steps
STEPS, PER_EPOCH = 12, 6
VALUES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@pytest.fixture
def poison(monkeypatch):
    """poison(step, value): ce has a second term, finite but at that step; what each update left is looked at."""
    ce, held = registry.get("ce"), []
    loss = ce.loss

    def put(step: int, value: float) -> list[bool]:
        def poisoned(self, t, batch):
            extra = self.heads[0].weight.square().mean()
            if t.step == step:
                extra = extra * value  # its gradient, too, hits a weight that `ce` shares
            return {**loss(self, t, batch), "extra": extra}

        def look(self, t):
            held.append(all(bool(torch.isfinite(value).all()) for value in self.state_dict().values()))

        monkeypatch.setattr(ce, "loss", poisoned)
        monkeypatch.setattr(ce, "after_step", look)
        return held

    return put


def one(tmp_path, glyph_cache, **more):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *SMALL).runs.values()
    return spec, tiny.settings(tmp_path, glyph_cache, **more)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("step", [0, STEPS // 2, STEPS - 1])
def test_a_term_that_is_not_finite_once_reaches_no_weight_and_is_named_with_its_step(
    tmp_path, glyph_cache, monkeypatch, poison, step, value
):
    finite = poison(step, VALUES[value])
    saved = []
    save = checkpoints.save_tensors
    monkeypatch.setattr(checkpoints, "save_tensors", lambda path, given: (saved.append(given), save(path, given)))
    spec, where = one(tmp_path, glyph_cache, checkpoint=0.0)
    got = runs.execute(spec, {}, where, lambda event: None)
    epoch = step // PER_EPOCH
    assert got.status == "diverged" and got.reason == f"term extra was not finite at step {step} (epoch {epoch})"
    assert len(finite) == (epoch + 1) * PER_EPOCH, "it ends with its epoch"
    assert all(finite), f"a weight or buffer was not finite after step {finite.index(False)}"
    of_weights = [v for given in saved for k, v in given.items() if not k.startswith("sums.")]
    assert of_weights and all(torch.isfinite(v).all() for v in of_weights), "momentum too"
    assert got.predictions == "" and not got.right and not list(where.folder(spec).glob("*.safetensors"))
    assert record.read(where.record_path(spec)) == got


@pytest.mark.parametrize("step", [0, 4, STEPS - 1])
def test_a_gradient_that_is_not_finite_where_all_terms_are(tmp_path, glyph_cache, monkeypatch, step):
    ce, finite = registry.get("ce"), []
    loss = ce.loss

    def poisoned(self, t, batch):
        weight = self.heads[0].weight
        # at zero the root is finite, its slope is not
        extra = (weight - weight.detach()).square().sum().sqrt() if t.step == step else weight.sum() * 0
        return {**loss(self, t, batch), "extra": extra}

    monkeypatch.setattr(ce, "loss", poisoned)
    monkeypatch.setattr(
        ce, "after_step", lambda self, t: finite.append(all(bool(torch.isfinite(p).all()) for p in self.parameters()))
    )
    spec, where = one(tmp_path, glyph_cache)
    got = runs.execute(spec, {}, where, lambda event: None)
    assert got.status == "diverged" and f"the gradient was not finite at step {step} (" in got.reason
    assert finite and all(finite)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_interrupted_in_the_epoch_it_diverged_in_it_is_not_forgotten(tmp_path, glyph_cache, poison, stop):
    poison(0, math.nan)
    spec, where = one(tmp_path, glyph_cache)
    asked = iter(range(1, 100))
    with pytest.raises(Interrupted):
        runs.execute(spec, {}, where, lambda event: None, stop=lambda: next(asked) == stop)
    told = []
    got = runs.execute(spec, {}, where, told.append)
    assert f"resumed at step {stop}" in [event.text for event in told]
    assert got.status == "diverged" and got.reason == "term extra was not finite at step 0 (epoch 0)"


def test_a_diverged_seed_is_shown_and_never_averaged(tmp_path, glyph_cache, poison, capsys):
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL, "seeds=[0, 1]"), tiny.settings(tmp_path, glyph_cache)
    first, second = made.runs.values()
    good = runs.execute(first, {}, where, lambda event: None)
    poison(PER_EPOCH, math.nan)
    bad = runs.execute(second, {}, where, lambda event: None)
    planfile.write(made.file(), where.record_path(first).parent)
    assert (good.status, bad.status) == ("complete", "diverged")
    assert not state.outstanding(made.runs, where), "it is final"
    (row,) = json.loads(calls.ltbench(capsys, "table", where.results, "--format", "json").out)
    assert (row["n"], row["asked"], row["seeds"], row["status"]) == (1, 2, [0], "partial")
    assert row["top1"]["mean"] == pytest.approx(100 * sum(good.right) / sum(good.total))
    assert f"seed 1 diverged: term extra was not finite at step {PER_EPOCH}" in row["reason"]

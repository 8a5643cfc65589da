"""One run: its record, its weights, its parents; kills and resumes are in test_kill.py."""

import json
from dataclasses import replace
from functools import wraps
from types import SimpleNamespace

import pytest
import tiny
import torch

from ltbench import (
    Prediction,
    Ref,
    checkpoints,
    contract,
    decompose,
    live,
    record,
    registry,
    rescore,
    runs,
    state,
)
from ltbench.method import Stream
from ltbench.methods.ce import CE
from ltbench.trainer import Interrupted, LostError

pytestmark = pytest.mark.usefixtures("few_test_images")
SMALL = ("data.head=3", "recipe.epochs=1")
STEPS = ("data.head=3", "recipe.batch_size=16")  # several an epoch, of few images


def test_every_kind_of_run_ends_in_a_record_that_reads_back(tmp_path, glyph_cache):
    methods = "ce, crt, tau_norm, ncm, bbn, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"
    made = tiny.make(tmp_path, glyph_cache, methods, "data.head=3")
    where = tiny.settings(tmp_path, glyph_cache)
    records = tiny.carry_out(made, where)
    assert {r.status for r in records.values()} == {"complete"}, [r.reason for r in records.values()]
    for spec in made.runs.values():
        back = record.read(where.record_path(spec))
        assert back == records[spec.label]
        predicted = record.decode(back.predictions)
        true = [c for c, n in enumerate(back.total) for _ in range(n)]
        right = [0] * len(back.total)
        for got, label in zip(predicted, true, strict=True):
            right[label] += int(got == label)
        assert right == list(back.right)
        assert sum(back.calibration.count) == sum(back.total)
    routed = records["ride_ea(base=ride(experts=2))"]
    assert routed.macs_used <= routed.macs and 1 <= routed.per_image["experts_used"].mean <= 2
    assert records["ce"].macs == records["ce"].macs_used


def test_a_parent_is_left_as_it_was_and_shared(tmp_path, glyph_cache):
    methods = "ce, crt, lws, ride: {experts: 2}, ride_ea: {base: {ride: {experts: 2}}}"
    made = tiny.make(tmp_path, glyph_cache, methods, "data.head=3")
    assert len(made.runs) == 5, "a parent that is a row is one run"
    where = tiny.settings(tmp_path, glyph_cache)
    before = {}
    for spec in made.runs.values():
        parents = runs.parents_of(spec, made.runs)
        runs.execute(spec, parents, where, lambda event: None)
        for parent in parents.values():
            weights = (where.folder(parent) / "weights.safetensors").read_bytes()
            assert before.setdefault(parent.key, weights) == weights
    ce, crt = (next(s for s in made.runs.values() if s.label == label) for label in ("ce", "crt"))
    mine = checkpoints.load_final(where.folder(crt), crt.key, "weights")
    theirs = checkpoints.load_final(where.folder(ce), ce.key, "weights")
    shared = [name for name in theirs if name.startswith("backbone.")]
    assert shared and all(torch.equal(theirs[name], mine[f"base.{name}"]) for name in shared), "buffers included"


class Overwriting(CE):
    """Writes into all the counts of classes that it is given, as moving averages of a whole state dict do."""

    def __init__(self, problem):
        super().__init__(problem)
        problem.counts.mul_(0.9)

    def begin(self, parents, data):
        self.counts.mul_(0.5)
        data.counts.mul_(0.5)

    def streams(self):
        return (Stream(lambda counts, t: counts.mul_(0).add_(1)),)


def test_a_method_that_overwrites_its_counts_moves_no_run_behind_it(tmp_path, glyph_cache, own_registry):
    registry.register("overwriting")(Overwriting)
    weights = []
    for name, methods in (("alone", "balanced_softmax"), ("behind", "overwriting, balanced_softmax")):
        folder = tmp_path / name
        folder.mkdir()
        made = tiny.make(folder, glyph_cache, methods, *SMALL)
        where = tiny.settings(folder, glyph_cache)
        assert {r.status for r in tiny.carry_out(made, where).values()} == {"complete"}
        (spec,) = (s for s in made.runs.values() if s.label == "balanced_softmax")
        weights.append(checkpoints.load_final(where.folder(spec), spec.key, "weights"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ride: {experts: 2}", *STEPS)
    (spec,) = made.runs.values()
    whole = tiny.settings(tmp_path / "whole", glyph_cache)
    expected = runs.execute(spec, {}, whole, lambda event: None)
    broken, told, calls = tiny.settings(tmp_path / "broken", glyph_cache), [], iter(range(1000))
    with pytest.raises(Interrupted):
        runs.execute(spec, {}, broken, told.append, stop=lambda: next(calls) == 6)
    assert not broken.record_path(spec).exists()
    got = runs.execute(spec, {}, broken, told.append)
    assert "resumed at step 7" in [event.text for event in told]
    assert got.fixed() == expected.fixed()
    weights = [(s.folder(spec) / "weights.safetensors").read_bytes() for s in (whole, broken)]
    assert weights[0] == weights[1]
    assert not list(broken.folder(spec).glob("step-*")), "checkpoints go once the record is there"


class Boom(Exception):
    pass


def raising(error):
    def loss(self, t, batch):
        raise error

    return loss


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Boom("loss went wrong"), "failed"),
        (SystemExit(3), "failed"),
        (torch.OutOfMemoryError("no room"), "oom"),
        (MemoryError("host"), "oom"),
    ],
)
def test_what_goes_wrong_in_a_run_is_its_status_and_reason(tmp_path, glyph_cache, monkeypatch, error, status):
    monkeypatch.setattr(registry.get("ce"), "loss", raising(error))
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert got.status == status and str(error) in got.reason
    assert list(state.outstanding(made.runs, where)), "failed and oom runs are run again"


def test_a_loss_without_its_return_is_told_in_one_sentence(tmp_path, glyph_cache, monkeypatch):
    monkeypatch.setattr(registry.get("ce"), "loss", lambda self, t, batch: None)
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert (got.status, got.reason) == ("failed", "ce.loss() must return a dict of named scalar terms, got None")


@pytest.mark.parametrize(("first", "value"), [(0, "nan"), (3, "inf"), (7, "nan")])
def test_a_loss_that_is_not_finite_reaches_no_weight_and_is_named(tmp_path, glyph_cache, monkeypatch, first, value):
    ce, seen = registry.get("ce"), []
    loss = ce.loss

    def poisoned(self, t, batch):
        seen.append(self)
        bad = float(value) if t.step == first else 1.0
        return {**loss(self, t, batch), "extra": self.heads[0].bias.sum() * bad + (0.0 if bad == 1.0 else bad)}

    monkeypatch.setattr(ce, "loss", poisoned)
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *STEPS), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert got.status == "diverged" and f"extra was not finite at step {first}" in got.reason
    assert all(torch.isfinite(p).all() for p in seen[-1].parameters()), "the update was not masked"
    assert not state.outstanding(made.runs, where), "a diverged run is final"


def test_data_that_changed_since_the_plan_are_refused(tmp_path, glyph_cache):
    from dataclasses import replace

    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (spec,) = made.runs.values()
    other = replace(
        spec, identity=replace(spec.identity, fingerprints={**spec.identity.fingerprints, "train": "0" * 64})
    )
    got = runs.execute(other, {}, where, lambda event: None)
    assert got.status == "failed" and "has changed since the plan" in got.reason


def test_figures_of_images_that_are_not_finite_are_a_diverged_run(tmp_path, glyph_cache, monkeypatch):
    ce = registry.get("ce")
    predict = ce.predict

    def strange(self, image):
        logits = predict(self, image).logits
        return Prediction(logits, {"depth": logits[:, 0] / 0})

    monkeypatch.setattr(ce, "predict", strange)
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert got.status == "diverged" and "depth of images that are not finite" in got.reason


@pytest.mark.parametrize("hook", ["predict", "dense"])
def test_what_cannot_predict_is_told_before_it_is_trained(tmp_path, glyph_cache, monkeypatch, hook):
    def fails(self, image):
        raise TypeError(f"no {hook}")

    monkeypatch.setattr(registry.get("ce"), hook, fails)
    begun_ = begun(monkeypatch)
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert (got.status, begun_) == ("failed", []) and got.reason.startswith(f"TypeError: no {hook}")


def test_predictions_of_a_wrong_width_are_told_before_training(tmp_path, glyph_cache, monkeypatch):
    ce, begun_ = registry.get("ce"), begun(monkeypatch)
    predict = ce.predict
    monkeypatch.setattr(ce, "predict", lambda self, image: Prediction(predict(self, image).logits[:, 1:]))
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert (got.status, begun_) == ("failed", []) and "CE.predict() gives logits (2, 61), not (2, 62)" in got.reason


def test_logits_that_are_not_finite_are_a_diverged_run(tmp_path, glyph_cache, monkeypatch):
    ce = registry.get("ce")
    predict = ce.predict
    monkeypatch.setattr(ce, "predict", lambda self, image: Prediction(predict(self, image).logits / 0))
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (got,) = tiny.carry_out(made, where).values()
    assert got.status == "diverged" and "not finite" in got.reason


def begun(monkeypatch) -> list:
    """What every training begins with: (seed, weights, training images)."""
    found, fit = [], runs.Fit

    def noted(method, recipe, train, accelerator, seed, *more, **named):
        found.append((seed, contract.state(method), train))
        return fit(method, recipe, train, accelerator, seed, *more, **named)

    monkeypatch.setattr(runs, "Fit", noted)
    return found


def test_a_runs_seed_draws_its_first_weights_and_all_that_comes_after(tmp_path, glyph_cache, monkeypatch):
    planned, found = tiny.make(tmp_path, glyph_cache, "ce", *SMALL, "seeds=[0, 5]"), begun(monkeypatch)
    tiny.carry_out(planned, tiny.settings(tmp_path, glyph_cache))
    (one, first, _), (other, second, _) = found
    assert (one, other) == (0, 5)
    assert not torch.equal(first["heads.0.weight"], second["heads.0.weight"])
    assert not torch.equal(first["backbone.stages.0.0.weight"], second["backbone.stages.0.0.weight"])


def test_a_run_that_diverged_keeps_the_epochs_before(tmp_path, glyph_cache, monkeypatch):
    planned = tiny.make(tmp_path, glyph_cache, "ce", *SMALL)

    def diverged(*given):
        raise runs.DivergedError("at last")

    monkeypatch.setattr(runs, "evaluate", diverged)
    (found,) = tiny.carry_out(planned, tiny.settings(tmp_path, glyph_cache)).values()
    assert (found.status, found.reason, len(found.history)) == ("diverged", "at last", 1)


def test_a_run_on_a_part_of_the_images_never_sees_those_held_out(tmp_path, glyph_cache, monkeypatch):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *SMALL).runs.values()
    identity = replace(spec.identity, part="fit")
    part = replace(spec, ref=replace(spec.ref, part="fit"), identity=identity, key=identity.key)
    where, found = tiny.settings(tmp_path, glyph_cache), begun(monkeypatch)
    assert runs.execute(part, {}, where, lambda event: None).status == "complete"
    ((_, state, train),) = found
    fit, _ = live.on_device(spec, glyph_cache, "cpu").train.split()
    assert torch.equal(train.image, fit.image) and torch.equal(train.label, fit.label)
    assert torch.equal(state["counts"], fit.counts), "what the method knows of the classes, too"


def test_a_parent_is_finished_in_eval_mode_and_without_gradients(tmp_path, glyph_cache, monkeypatch):
    cls, seen = registry.get("tau_norm"), []
    begin = cls.begin

    def noted(self, parents, data):
        seen.extend(parents.values())
        begin(self, parents, data)

    monkeypatch.setattr(cls, "begin", noted)
    planned, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    tiny.carry_out(planned, where)
    (parent,) = seen
    assert not any(part.training for part in parent.modules())
    assert not any(p.requires_grad for p in parent.parameters())


def test_a_parent_without_the_images_held_out_is_built_as_it_was_trained(tmp_path, glyph_cache, monkeypatch):
    """Its plain attributes were those of all images, where the state dict did not put them right."""
    cls, seen = registry.get("tau_norm"), []
    monkeypatch.setattr(cls, "needs", classmethod(lambda cls, options: {"base": Ref("ce", part="fit")}))
    build, begin = registry.get("ce").__init__, cls.begin

    @wraps(build)  # a plan reads the options off it
    def remember(self, problem, **options):
        build(self, problem, **options)
        self.plain = problem.counts

    def noted(self, parents, data):
        seen.append((parents["base"].plain, data.split()[0].counts))
        begin(self, parents, data)

    monkeypatch.setattr(registry.get("ce"), "__init__", remember)
    monkeypatch.setattr(cls, "begin", noted)
    planned, where = tiny.make(tmp_path, glyph_cache, "tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    tiny.carry_out(planned, where)
    ((plain, fit),) = seen
    assert torch.equal(plain, fit)


def test_a_record_tells_of_the_heads_and_counts_frozen_parameters_too(tmp_path, glyph_cache):
    planned, where = tiny.make(tmp_path, glyph_cache, "ce, crt", *SMALL), tiny.settings(tmp_path, glyph_cache)
    records = tiny.carry_out(planned, where)
    ce = next(spec for spec in planned.runs.values() if spec.label == "ce")
    weights = checkpoints.load_final(where.folder(ce), ce.key, "weights")
    (head,) = records["ce"].heads
    assert head.norms == pytest.approx(weights["heads.0.weight"].square().sum(1).sqrt().tolist())
    assert head.biases == pytest.approx(weights["heads.0.bias"].tolist())
    # cRT's features and one linear head, as CE's, whatever of it trains
    assert records["crt"].parameters == records["ce"].parameters > 62 * 64


def test_averaged_weights_go_on_where_they_were_saved(tmp_path, glyph_cache):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", "data.head=3", "recipe.ema=0.9").runs.values()
    expected = runs.execute(spec, {}, tiny.settings(tmp_path / "whole", glyph_cache), lambda event: None)
    where, calls = tiny.settings(tmp_path / "broken", glyph_cache), iter(range(100))
    with pytest.raises(Interrupted):
        runs.execute(spec, {}, where, lambda event: None, stop=lambda: next(calls) == 2)
    assert runs.execute(spec, {}, where, lambda event: None).fixed() == expected.fixed()
    weights = [(tmp_path / at / "runs" / spec.stem / "weights.safetensors").read_bytes() for at in ("whole", "broken")]
    assert weights[0] == weights[1]


def test_the_logits_that_are_kept_are_those_that_the_record_counts(tmp_path, glyph_cache):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", "data.head=3").runs.values()
    where = tiny.settings(tmp_path, glyph_cache)
    record = runs.execute(spec, {}, where, lambda event: None)
    confidence = decompose.softmax(rescore.logits_of(record, where.runs)).max(1)
    # half precision keeps three digits
    assert confidence.sum() == pytest.approx(sum(record.calibration.confidence), rel=1e-3)


@pytest.mark.parametrize(
    ("checkpoint", "took", "expected"), [(4.0, 0.0, [4, 8, 12]), (4.0, 0.3, [4, 10]), (0.0, 0.3, list(range(1, 13)))]
)
def test_a_checkpoint_is_due_so_long_after_the_last_one(tmp_path, glyph_cache, monkeypatch, checkpoint, took, expected):
    """12 steps of a second each. Where saving takes long, it takes a twentieth of the time; 0 is at every step."""
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    now = [0.0]
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: now[0]))
    saved, save_one = [], checkpoints.save

    def save(folder, key, progress, tensors):
        now[0] += took
        saved.append(progress.step)
        return save_one(folder, key, progress, tensors)

    def second_passes() -> bool:
        now[0] += 1.0
        return False

    monkeypatch.setattr(checkpoints, "save", save)
    where = tiny.settings(tmp_path, glyph_cache, checkpoint=checkpoint)
    assert runs.execute(spec, {}, where, lambda event: None, stop=second_passes).status == "complete"
    assert saved == expected


def test_what_another_runner_has_taken_over_is_neither_saved_nor_recorded(tmp_path, glyph_cache):
    """A runner that was halted hears of it some seconds after it wakes, and may be at its last step by then."""
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    where, steps = tiny.settings(tmp_path, glyph_cache, checkpoint=0.0), iter(range(1, 99))
    folder = where.folder(spec)
    theirs = {"host": "far", "place": "another machine", "processes": {"1": "1"}, "since": "then", "token": "t"}

    def taken_over_after_five() -> bool:
        if next(steps) == 6:
            (folder / "lease-2").write_text(json.dumps(theirs))
        return False

    with pytest.raises(LostError):
        runs.execute(spec, {}, where, lambda event: None, stop=taken_over_after_five)
    assert checkpoints.steps(folder) == [5, 4] and not list(folder.glob("*.safetensors"))
    assert not list(where.results.rglob("*.json"))
    (folder / "lease-2").unlink()
    assert runs.execute(spec, {}, where, lambda event: None).status == "complete"

"""One run: its record, its weights, its parents; kills and resumes are in test_kill.py."""

import json
from dataclasses import replace
from functools import wraps
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import tiny
import torch
from ltbench.methods.ce import CE

from ltbench import (
    Prediction,
    Ref,
    checkpoints,
    contract,
    decompose,
    doctor,
    live,
    machine,
    outcome,
    record,
    registry,
    rescore,
    runs,
    state,
)
from ltbench.errors import LtbenchError
from ltbench.method import Stream
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


def test_a_record_without_weights_is_trained_again_for_a_child_and_must_agree(tmp_path, glyph_cache):
    made = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL)
    where = tiny.settings(tmp_path, glyph_cache)
    ce, tau = made.runs.values()
    runs.execute(ce, {}, where, lambda event: None)
    assert state.outstanding(made.runs, where) == {tau.key: "not done"}
    (where.folder(ce) / "weights.safetensors").write_bytes(b"damaged")
    assert list(state.outstanding(made.runs, where)) == [ce.key, tau.key]
    before = where.record_path(ce).read_bytes()
    assert runs.execute(ce, {}, where, lambda event: None).status == "complete"
    assert where.record_path(ce).read_bytes() == before, "the first record stands"


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


def test_a_damaged_record_is_no_reason_to_train_in_silence(tmp_path, glyph_cache):
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (spec,) = made.runs.values()
    where.record_path(spec).parent.mkdir(parents=True)
    where.record_path(spec).write_text("{}")
    with pytest.raises(LtbenchError, match="not a record"):
        state.done(spec, where)


def test_giving_up_a_run_leaves_its_complete_record_alone(tmp_path, glyph_cache):
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (spec,) = made.runs.values()
    runs.execute(spec, {}, where, lambda event: None)
    before = where.record_path(spec).read_bytes()
    assert outcome.give_up(spec, "its process died", where).status == "failed"
    assert where.record_path(spec).read_bytes() == before


def test_a_retrained_parent_that_contradicts_its_record_gives_no_weights(tmp_path, glyph_cache):
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    ce, _ = made.runs.values()
    got = runs.execute(ce, {}, where, lambda event: None)
    other = got.model_copy(update={"predictions": record.encode(record.decode(got.predictions)[::-1])})
    record.write(other, where.record_path(ce).parent)
    again = runs.execute(ce, {}, where, lambda event: None)
    assert again.status == "failed" and "contradicts" in again.reason
    assert not state.has_weights(ce, where), "a child must not start from them with the next command"


def test_weights_of_a_training_that_the_record_is_not_of_are_as_absent(tmp_path, glyph_cache, monkeypatch):
    """As a kill leaves them before they were compared, or a run for another results folder."""
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    ce, child = made.runs.values()
    got = runs.execute(ce, {}, where, lambda event: None)
    assert state.has_weights(ce, where) and rescore.logits_of(got, where.runs) is not None
    other = got.model_copy(update={"predictions": record.encode(record.decode(got.predictions)[::-1])})
    record.write(other, where.record_path(ce).parent)
    killed = Mock(side_effect=SystemExit)
    monkeypatch.setattr(outcome, "publish", killed)
    with pytest.raises(SystemExit):
        runs.execute(ce, {}, where, lambda event: None)
    assert not state.has_weights(ce, where) and rescore.logits_of(other, where.runs) is None
    assert list(state.outstanding(made.runs, where)) == [ce.key, child.key], "it is trained again first"
    (damaged,) = [found for found in doctor.examine(where.results, where.runs) if found.kind is doctor.WEIGHTS]
    assert damaged.text == "it is of a training whose numbers are not those of the record"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"device": "cpu: another chip"}, "device cpu: another chip, here cpu: "),
        ({"threads": 64}, "threads 64, here "),
        ({"world_size": 2}, "world_size 2, here 1"),
        ({"versions": {"torch": "0.1"}}, "torch 0.1, here "),
    ],
)
def test_a_run_that_was_made_elsewhere_is_not_trained_again_for_its_weights(tmp_path, glyph_cache, changed, said):
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    ce, _ = made.runs.values()
    got = runs.execute(ce, {}, where, lambda event: None)
    elsewhere = got.model_copy(update={"volatile": got.volatile.model_copy(update=changed)})
    record.write(elsewhere, where.record_path(ce).parent)
    before, told = where.record_path(ce).read_bytes(), []
    checkpoints.forget_final(where.folder(ce))
    again = runs.execute(ce, {}, where, told.append)
    assert again.status == "failed" and said in again.reason and str(where.folder(ce)) in again.reason
    assert "epoch" not in {event.kind for event in told}, "hours of training are what it is for"
    assert where.record_path(ce).read_bytes() == before


def test_a_run_that_is_taken_up_elsewhere_says_what_was_trained_where(tmp_path, glyph_cache, monkeypatch):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    where, real = tiny.settings(tmp_path, glyph_cache, checkpoint=0.0), machine.origin

    def go_on(commit: str, steps: int) -> record.Record:
        monkeypatch.setattr(machine, "origin", lambda device: real(device) | {"commit": commit, "clean": True})
        calls = iter(range(1000))
        return runs.execute(spec, {}, where, lambda event: None, stop=lambda: next(calls) == steps)

    for commit, steps in (("a" * 40, 1), ("a" * 40, 0), ("b" * 40, 2)):
        with pytest.raises(Interrupted):
            go_on(commit, steps)
    got = go_on("c" * 40, 999)
    assert [(s.first, s.until, s.commit) for s in got.volatile.earlier] == [(0, 3, "a" * 40), (3, 6, "b" * 40)]
    assert got.volatile.commit == "c" * 40 and got.volatile.earlier[0].device == got.volatile.device
    assert record.read(where.record_path(spec)) == got


def test_a_checkpoint_that_does_not_say_where_it_was_made_is_of_an_unknown_place(tmp_path, glyph_cache):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    where, calls = tiny.settings(tmp_path, glyph_cache, checkpoint=0.0), iter(range(1000))
    with pytest.raises(Interrupted):
        runs.execute(spec, {}, where, lambda event: None, stop=lambda: next(calls) == 1)
    progress, tensors, _ = checkpoints.load(where.folder(spec), spec.key)
    progress.origins = []
    checkpoints.save(where.folder(spec), spec.key, progress, tensors)
    (earlier,) = runs.execute(spec, {}, where, lambda event: None).volatile.earlier
    assert (earlier.first, earlier.until, earlier.device, earlier.commit) == (0, 2, "unknown", "")


def test_a_run_that_stayed_in_one_place_has_no_earlier_part(tmp_path, glyph_cache):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    where, calls = tiny.settings(tmp_path, glyph_cache, checkpoint=0.0), iter(range(1000))
    with pytest.raises(Interrupted):
        runs.execute(spec, {}, where, lambda event: None, stop=lambda: next(calls) == 1)
    assert runs.execute(spec, {}, where, lambda event: None).volatile.earlier == ()


def test_a_run_of_two_places_is_not_trained_again_in_one(tmp_path, glyph_cache):
    """Its last part was made here, its first elsewhere: hours of training would end in a contradiction."""
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    where = tiny.settings(tmp_path, glyph_cache)
    got = runs.execute(spec, {}, where, lambda event: None)
    here = got.volatile
    parts = [record.Stretch(first=0, until=3, device=device, threads=here.threads) for device in ("unknown", "cpu: x")]
    for part, status in zip(parts, ("complete", "failed"), strict=True):
        made = got.model_copy(update={"volatile": here.model_copy(update={"earlier": (part,)})})
        record.write(made, where.record_path(spec).parent)
        checkpoints.forget_final(where.folder(spec))
        again = runs.execute(spec, {}, where, lambda event: None)
        assert again.status == status, again.reason
    assert "device cpu: x, here" in again.reason


def test_a_run_that_is_trained_again_leaves_no_checkpoints(tmp_path, glyph_cache):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *STEPS).runs.values()
    where = tiny.settings(tmp_path, glyph_cache, checkpoint=0.0)
    for _ in range(2):
        assert runs.execute(spec, {}, where, lambda event: None).status == "complete"
        assert checkpoints.steps(where.folder(spec)) == []
        checkpoints.forget_final(where.folder(spec))


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


def test_a_comment_in_a_method_is_no_contradiction(tmp_path, glyph_cache):
    made, where = tiny.make(tmp_path, glyph_cache, "ce", *SMALL), tiny.settings(tmp_path, glyph_cache)
    (spec,) = made.runs.values()
    got = runs.execute(spec, {}, where, lambda event: None)
    record.write(got.model_copy(update={"source": "0" * 64}), where.record_path(spec).parent)
    assert runs.execute(spec, {}, where, lambda event: None).status == "complete"


def test_a_diverged_parent_is_not_trained_again_for_its_child(tmp_path, glyph_cache):
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    ce, tau = made.runs.values()
    diverged = outcome.describe(ce).model_copy(update={"status": "diverged", "reason": "ce was not finite"})
    record.write(diverged, where.record_path(ce).parent)
    assert list(state.outstanding(made.runs, where)) == [tau.key]


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


@pytest.mark.parametrize("changed", [{"history": ()}, {"calibration": None}, {"members": ((0,) * 62,)}], ids=str)
def test_a_run_that_is_trained_again_must_agree_in_all_its_numbers(tmp_path, glyph_cache, changed):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *SMALL).runs.values()
    where = tiny.settings(tmp_path, glyph_cache)
    got = runs.execute(spec, {}, where, lambda event: None)
    record.write(got.model_copy(update=changed), where.record_path(spec).parent)
    again = runs.execute(spec, {}, where, lambda event: None)
    assert again.status == "failed" and "contradicts" in again.reason


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


@pytest.mark.parametrize("host", ["here", "another"])
def test_weights_of_another_machine_that_are_not_seen_yet_are_waited_for(tmp_path, glyph_cache, monkeypatch, host):
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    ce, tau_norm = made.runs.values()
    runs.execute(ce, {}, where, lambda event: None)
    seen, hidden = where.folder(ce) / checkpoints.MANIFEST, tmp_path / "hidden"
    seen.rename(hidden)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            hidden.rename(seen)

    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: 1.0 * len(waits), sleep=sleep))
    if host == "another":
        monkeypatch.setattr(runs, "platform", SimpleNamespace(node=lambda: "another"))
    status = runs.execute(tau_norm, runs.parents_of(tau_norm, made.runs), where, lambda event: None).status
    assert (status, len(waits)) == (("complete", 3) if host == "another" else ("failed", 0))


def test_who_waits_for_weights_can_be_stopped(tmp_path, glyph_cache, monkeypatch):
    made, where = tiny.make(tmp_path, glyph_cache, "ce, tau_norm", *SMALL), tiny.settings(tmp_path, glyph_cache)
    ce, tau_norm = made.runs.values()
    runs.execute(ce, {}, where, lambda event: None)
    (where.folder(ce) / checkpoints.MANIFEST).unlink()
    monkeypatch.setattr(runs, "platform", SimpleNamespace(node=lambda: "another"))
    with pytest.raises(Interrupted):
        runs.execute(tau_norm, runs.parents_of(tau_norm, made.runs), where, lambda event: None, stop=lambda: True)

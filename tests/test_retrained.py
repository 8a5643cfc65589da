"""The weights of finished runs: whose they are, and when a run is trained again for them."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import tiny

from ltbench import checkpoints, doctor, machine, outcome, record, rescore, runs, state
from ltbench.errors import LtbenchError
from ltbench.trainer import Interrupted

pytestmark = pytest.mark.usefixtures("few_test_images")
SMALL = ("data.head=3", "recipe.epochs=1")
STEPS = ("data.head=3", "recipe.batch_size=16")  # several an epoch, of few images


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


@pytest.mark.parametrize("changed", [{"history": ()}, {"calibration": None}, {"members": ((0,) * 62,)}], ids=str)
def test_a_run_that_is_trained_again_must_agree_in_all_its_numbers(tmp_path, glyph_cache, changed):
    (spec,) = tiny.make(tmp_path, glyph_cache, "ce", *SMALL).runs.values()
    where = tiny.settings(tmp_path, glyph_cache)
    got = runs.execute(spec, {}, where, lambda event: None)
    record.write(got.model_copy(update=changed), where.record_path(spec).parent)
    again = runs.execute(spec, {}, where, lambda event: None)
    assert again.status == "failed" and "contradicts" in again.reason


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

"""The recorded step against the eager one, with a tape that works on any device: a replay does the recorded work again.

Whatever the recording has baked in (clock, rows) is baked in here too, so a recording that is kept too long trains
other weights. What only a GPU can say stands in test_cuda.py.
"""

from contextlib import nullcontext
from functools import cache

import pytest
import torch

from ltbench import Batch, Clock, Method, Prediction, capturable, contract, graph, labels, registry
from ltbench.graph import Watch
from ltbench.recipe import Recipe
from ltbench.trainer import DivergedError, Interrupted, Progress

RECIPE = Recipe(epochs=5, batch_size=16, lr=0.05, warmup=0.4, schedule="cosine", augment=("crop", "flip"))
STEPS = 4  # an epoch, the last of them short


class Rerun:
    """A tape that does the recorded work again at each replay."""

    def __init__(self):
        self.recordings, self.replays = 0, 0

    def record(self, work):
        self.recordings += 1

        def replay():
            self.replays += 1
            return work()

        return replay

    def stream(self):
        return nullcontext()


class Refuses(Rerun):
    """A tape on which nothing can be recorded."""

    def record(self, work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


@pytest.fixture(scope="module")
def trials():
    parents: dict[str, Method] = {}
    return cache(lambda label: contract.Trials(labels.parse(label), parents))


def trained(trials, method=None, **more):
    method = method or trials.fresh()
    trials.fit(method, RECIPE, **more)
    return contract.state(method)


def stopped(trials, stop, recipe, **more):
    """Where a run stands that was stopped after that many steps, and the tensors of its checkpoint."""
    kept = {}

    def after_step(fit):
        if fit.progress.step == stop:
            kept.update({key: value.clone() for key, value in fit.snapshot().items()})
            raise Interrupted

    progress = Progress()
    with pytest.raises(Interrupted):
        trials.fit(trials.fresh(), recipe, progress=progress, after_step=after_step, **more)
    return progress, kept


UNTRAINED = ("ensemble", "ncm", "post_hoc", "tau_norm")
AS_CE = ("balanced_softmax", "class_balanced", "focal", "logit_adjustment")  # other logits or weights, the same step
TRAINED = [name for name in registry.available() if name not in (*UNTRAINED, *AS_CE)]


@pytest.mark.parametrize("label", TRAINED)
def test_replayed_steps_train_the_same_weights(trials, label):
    tape, notes = Rerun(), []
    replayed = trained(trials(label), tape=tape, note=notes.append)
    assert contract.same(replayed, trained(trials(label)))
    assert tape.replays and not notes


# 5 epochs of 3 full steps; deferred re-weighting begins with the last epoch
@pytest.mark.parametrize(
    ("label", "recordings", "replays"),
    [("ce", 1, 14), ("ldam_drw", 2, 13), ("bbn", 5, 10), ("ride(experts=2)", 2, 13)],
)
def test_a_step_is_recorded_anew_only_when_the_clock_answers_otherwise(trials, label, recordings, replays):
    tape = Rerun()
    trained(trials(label), tape=tape)
    assert (tape.recordings, tape.replays) == (recordings, replays)


@pytest.fixture(scope="module")
def whole(trials):
    """BBN's weights, of a run that was not stopped."""
    return trained(trials("bbn"))


@pytest.mark.parametrize("stop", range(1, 5 * STEPS, 5))
def test_resumed_it_trains_the_same_weights(trials, whole, stop):
    on = trials("bbn")
    progress, tensors = stopped(on, stop, RECIPE, tape=Rerun())
    again = on.fresh()
    again.load_state_dict({k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")})
    optimizer = {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")}
    resumed = trained(on, again, progress=progress, optimizer_state=optimizer, tape=Rerun())
    assert contract.same(resumed, whole)


def test_a_run_that_goes_on_at_an_epochs_short_last_step_is_recorded_at_full_size(trials):
    on, tape = trials("ce"), Rerun()
    progress, tensors = stopped(on, STEPS - 1, RECIPE)
    again = on.fresh()
    again.load_state_dict({k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")})
    optimizer = {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")}
    resumed = trained(on, again, progress=progress, optimizer_state=optimizer, tape=tape)
    assert contract.same(resumed, trained(on))
    assert (tape.recordings, tape.replays) == (1, 11)  # of the 12 full steps that are left, one is taken eagerly


def test_where_nothing_can_be_recorded_steps_are_eager_and_it_is_said_once(trials):
    notes = []
    refused = trained(trials("ldam_drw"), tape=Refuses(), note=notes.append)
    assert contract.same(refused, trained(trials("ldam_drw")))
    assert notes == ["steps are taken eagerly, not as a CUDA graph: operation not permitted when stream is capturing"]


class BreaksOff(Rerun):
    """A tape on which a recording breaks off after the backward pass: nothing was computed, but memory was taken."""

    def __init__(self, method):
        super().__init__()
        self.parameters = list(method.parameters())

    def record(self, work):
        for p in self.parameters:
            p.grad = torch.full_like(p, 1e3)
        raise RuntimeError("operation not permitted when stream is capturing")


def test_a_recording_that_broke_off_leaves_no_gradients_behind(trials):
    method = trials("ce").fresh()
    assert contract.same(trained(trials("ce"), method, tape=BreaksOff(method)), trained(trials("ce")))


class Full(BreaksOff):
    """A tape on which the first recording finds no memory."""

    def record(self, work):
        if self.recordings:
            return super(BreaksOff, self).record(work)
        self.recordings += 1
        for p in self.parameters:
            p.grad = torch.full_like(p, 1e3)
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:  # as torch's own may, on leaving the recording
            raise RuntimeError("the capture was invalidated")


def test_where_there_is_no_memory_to_record_it_is_tried_again_in_the_next_epoch(trials):
    """Runs beside it may fill the device for a moment: the rest of the run was eager, at a fifth of the speed."""
    method, notes = trials("ce").fresh(), []
    tape = Full(method)
    assert contract.same(trained(trials("ce"), method, tape=tape, note=notes.append), trained(trials("ce")))
    assert (tape.recordings, tape.replays, notes) == (2, 12, [])


def test_a_loss_that_waits_only_late_in_the_run_is_found_before_it_is_recorded(trials):
    def loss(self, t, batch):
        value = ce(self, batch)
        return {"ce": value * (1.0 if t.after(0.4) and value.item() < 0 else 2.0)}

    tape, notes = Rerun(), []
    recorded = trained(trials("ce"), altered(trials, loss=loss), tape=tape, note=notes.append)
    assert contract.same(recorded, trained(trials("ce"), altered(trials, loss=loss)))
    assert tape.recordings == 1 and len(notes) == 1 and "it reads a value off the device" in notes[0]


def test_what_follows_the_tapes_stream_waits_for_it(monkeypatch):
    waits = []

    class Stream:
        def __init__(self, device=None):
            self.name = "side" if device is not None else "outer"

        def wait_stream(self, other):
            waits.append((self.name, other.name))

    outer = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: outer)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    graph._side_stream.cache_clear()
    with pytest.raises(KeyError), graph.CudaTape().stream():
        assert waits == [("side", "outer")]
        raise KeyError
    graph._side_stream.cache_clear()
    assert waits == [("side", "outer"), ("outer", "side")]


def altered(trials, **members):
    """CE with some of its methods replaced."""
    method = trials("ce").fresh()
    method.__class__ = type("Altered", (type(method),), members)
    return method


def ce(self, batch):
    return torch.nn.functional.cross_entropy(self.logits(batch.image), batch.target)


def test_a_loss_that_reads_the_step_is_never_recorded(trials):
    tape, notes = Rerun(), []
    loss = {"loss": lambda self, t, batch: {"ce": ce(self, batch) * (1 + t.step / t.steps)}}
    recorded = trained(trials("ce"), altered(trials, **loss), tape=tape, note=notes.append)
    assert contract.same(recorded, trained(trials("ce"), altered(trials, **loss)))
    assert tape.recordings == 0
    assert len(notes) == 1 and "reads the step" in notes[0]


def test_a_bad_step_is_found_in_a_replay_too(trials):
    def loss(self, t, batch):
        return {"ce": ce(self, batch) / (0.0 if t.after(0.4) else 1.0)}

    with pytest.raises(DivergedError, match=rf"term ce was not finite at step {2 * STEPS} \(epoch 2\)"):
        trained(trials("ce"), altered(trials, loss=loss), tape=Rerun())


def test_sums_of_an_epoch_are_those_of_eager_steps(trials):
    def history(**more):
        progress = Progress()
        trials("ride").fit(trials("ride").fresh(), RECIPE, progress=progress, **more)
        return progress.history

    assert history(tape=Rerun()) == history()


# The clock that notes what it is asked


def test_a_watch_answers_as_its_clock_and_holds_for_clocks_that_answer_alike():
    t = Clock(epoch=2, epochs=10, step=8, steps=40)
    watch = Watch(t)
    assert (watch.progress, watch.after(0.5), watch.epochs) == (0.2, False, 10)
    assert watch.holds(Clock(epoch=2, epochs=10, step=11, steps=40))
    assert not watch.holds(Clock(epoch=3, epochs=10, step=12, steps=40))


def test_a_watch_that_was_asked_nothing_always_holds():
    assert Watch(Clock(0, 10, 0, 40)).holds(Clock(9, 10, 39, 40))


def test_a_watch_keeps_questions_apart_by_their_share():
    watch = Watch(Clock(5, 10, 20, 40))
    assert (watch.after(0.5), watch.after(0.6)) == (True, False)
    assert watch.holds(Clock(5, 10, 22, 40))
    assert not watch.holds(Clock(6, 10, 24, 40))


# What cannot be recorded is found without a GPU


def reads_a_value(self, t, batch):
    loss = ce(self, batch)
    return {"ce": loss * (2.0 if loss.item() > 1 else 1.0)}


def picks_rows(self, t, batch):
    rare = batch.label > 2
    return {"ce": torch.nn.functional.cross_entropy(self.logits(batch.image[rare]), batch.label[rare])}


def brings_a_tensor(self, t, batch):
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], device=batch.image.device)
    return {"ce": torch.nn.functional.cross_entropy(self.logits(batch.image), batch.label, weight)}


def moves_a_tensor(self, t, batch):
    weight = torch.ones(5).to(batch.image.device)
    return {"ce": torch.nn.functional.cross_entropy(self.logits(batch.image), batch.label, weight)}


def draws_on_the_host(self, t, batch):
    return {"ce": ce(self, batch) * torch.rand(()).to(batch.image.device)}


def draws_from_python(self, t, batch):
    import random

    return {"ce": ce(self, batch) * random.random()}


def rebinds(self, t, batch):
    self.counts = self.counts + 1
    return {"ce": ce(self, batch)}


def remembers(self, t, batch):
    self.last_epoch = t.epoch
    return {"ce": ce(self, batch)}


def counts(self, t, batch):
    self._n = getattr(self, "_n", 0) + 1
    return {"ce": ce(self, batch) * self._n}


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (reads_a_value, "it reads a value off the device, as .item(), float()"),
        (picks_rows, "DynamicOutputShape"),
        (brings_a_tensor, "from the host"),
        (moves_a_tensor, "from the host"),
        (draws_on_the_host, "random numbers on the host"),
        (draws_from_python, "random numbers on the host"),
        (rebinds, "replaces a buffer"),
        (remembers, "changes an attribute"),
        (counts, "changes an attribute"),
    ],
)
def test_what_cannot_be_recorded_is_named(trials, loss, reason):
    t = Clock(0, 10, 0, 40)
    method = altered(trials, loss=loss).train()
    before = contract.state(method)
    assert reason in capturable.why_not(method, t, trials("ce").batches(t))
    assert contract.same(before, contract.state(method))


def test_a_random_draw_on_the_device_can_be_recorded(trials):
    def loss(self, t, batch):
        return {"ce": ce(self, batch) * torch.rand((), device=batch.image.device)}

    t = Clock(0, 10, 0, 40)
    assert capturable.why_not(altered(trials, loss=loss).train(), t, trials("ce").batches(t)) == ""


def test_a_parent_is_asked_on_the_same_fake_device(trials):
    on = trials("ride_distill")
    t = Clock(9, 10, 36, 40)
    assert capturable.why_not(on.fresh().train(), t, on.batches(t)) == ""


def test_fakes_need_no_memory():
    class Huge(Method):
        def loss(self, t, batch):
            return {"sum": batch.image.float().sum()}

        def predict(self, image):
            return Prediction(image)

    from ltbench import Problem

    method = Huge(Problem(torch.ones(5), 8, lambda: None))
    with torch.device("meta"):
        image, label = torch.empty(10**6, 3, 224, 224), torch.empty(10**6, dtype=torch.int64)
    assert capturable.why_not(method, Clock(0, 1, 0, 1), [Batch(image, label, label)]) == ""

"""What only a GPU can say: recorded steps against eager ones, no waiting inside an epoch, several runs at once."""

from functools import cache

import pytest
import torch

from ltbench import checkpoints, contract, graph, labels, machine
from ltbench.recipe import Recipe
from ltbench.trainer import Fit, Interrupted, Progress

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    # torch's own, once a process, and not of what is tested here
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.filterwarnings("ignore:Please use the new API settings to control TF32"),
]

# 20 epochs of 4 steps, the last one short; the rate changes each epoch, deferred re-weighting begins at epoch 16
RECIPE = Recipe(epochs=20, batch_size=16, lr=0.05, warmup=0.4, schedule="cosine", augment=("crop", "flip", "rotate15"))
LABELS = ["ce", "ldam_drw", "bbn", "ride(experts=3)", "ride_distill"]


@pytest.fixture(scope="module")
def trials():
    return cache(lambda label: contract.Trials(labels.parse(label)))


def train(trials, precision="fp32", *, graphed, tensors=None, **more):
    """(method, progress, notes) after training on the GPU, from a checkpoint's tensors where they are given."""
    accelerator = machine.make_accelerator("cuda", precision)
    notes: list[str] = []
    method = trials.fresh()
    method.parents = {role: parent.to("cuda") for role, parent in method.parents.items()}
    method.to("cuda").to(memory_format=torch.channels_last)
    if tensors:
        method.load_state_dict(checkpoints.part(tensors, "method"))
        more["optimizer_state"] = checkpoints.part(tensors, "optimizer")
    tape = graph.make_tape(accelerator) if graphed else None
    progress = more.pop("progress", Progress())
    Fit(
        method, RECIPE, trials.train.to(torch.device("cuda")), accelerator, 0, progress,
        tape=tape, note=notes.append, **more,
    ).run()  # fmt: skip
    for parent in method.parents.values():
        parent.to("cpu")
    return method, progress, notes


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("label", LABELS)
def test_recorded_steps_train_as_eager_ones(trials, label, precision):
    recorded, there, notes = train(trials(label), precision, graphed=True)
    eager, here, _ = train(trials(label), precision, graphed=False)
    assert not notes
    for mine, other in zip(there.history, here.history, strict=True):
        assert mine["terms"] == pytest.approx(other["terms"], abs=1e-3 if precision == "fp32" else 5e-2)
    if precision == "fp32":
        for name, value in recorded.state_dict().items():
            torch.testing.assert_close(value, eager.state_dict()[name], rtol=1e-3, atol=1e-3)


def test_two_recorded_runs_are_equal_to_the_bit(trials):
    first, second = (contract.state(train(trials("ride"), graphed=True)[0]) for _ in range(2))
    assert contract.same(first, second)


@pytest.mark.parametrize("stop", [1, 3, 6, 66])  # in the first epoch, before a short step, in the last phase
def test_a_resumed_run_equals_one_that_was_not_stopped_to_the_bit(trials, stop):
    on, progress, kept = trials("ldam_drw"), Progress(), {}

    def after_step(fit: Fit) -> None:
        if fit.progress.step == stop:
            kept.update({name: value.clone() for name, value in fit.snapshot().items()})
            raise Interrupted

    with pytest.raises(Interrupted):
        train(on, graphed=True, progress=progress, after_step=after_step)
    whole, resumed = train(on, graphed=True)[0], train(on, graphed=True, progress=progress, tensors=kept)[0]
    assert contract.same(contract.state(resumed), contract.state(whole))


def test_a_loss_that_waits_runs_eagerly_and_says_so(trials):
    on = trials("ce")
    method = on.fresh()

    def loss(self, t, batch):
        value = torch.nn.functional.cross_entropy(self.logits(batch.image), batch.target)
        return {"ce": value * (1.0 if value.item() > 0 else 2.0)}

    method.__class__ = type("Waits", (type(method),), {"loss": loss})
    notes: list[str] = []
    accelerator = machine.make_accelerator("cuda", "fp32")
    data = on.train.to(torch.device("cuda"))
    Fit(method.to("cuda"), RECIPE, data, accelerator, 0, tape=graph.make_tape(accelerator), note=notes.append).run()
    assert len(notes) == 1


@pytest.mark.parametrize("graphed", [False, True])
def test_nothing_waits_for_the_device_inside_an_epoch(trials, graphed):
    """torch raises at a wait in an epoch's third step: the first shows what is read, the second records."""

    def after_step(fit: Fit) -> None:
        at = fit.progress.step % 4
        torch.cuda.set_sync_debug_mode("error" if at == 2 else "default")

    try:
        train(trials("ride(experts=3)"), graphed=graphed, after_step=after_step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_training_data_and_the_draws_lie_on_the_gpu(trials):
    data = trials("ce").train.to(torch.device("cuda"))
    assert data.padded.is_cuda and data.table.is_cuda
    assert machine.make_accelerator("cuda", "fp32").device.type == "cuda"

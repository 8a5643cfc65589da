"""What the contract only remarks on: one image, bf16, what a CUDA graph cannot record."""

import threading

import pytest
import torch
from broken import broken
from torch import nn

from ltbench import losses, registry
from ltbench.contract import TESTS, TOGETHER

pytestmark = pytest.mark.usefixtures("forget_broken_methods")


def test_one_image_and_bf16_pass_with_a_remark():
    def build(self, problem):
        registry.get("ce").__init__(self, problem)
        self.norm = nn.BatchNorm1d(self.backbone.dim)
        self.register_buffer("seen", torch.zeros(1, self.backbone.dim))

    def loss(self, t, batch):
        features = self.features(batch.image)[0]
        self.norm(features)
        self.seen.index_copy_(0, torch.tensor([0]), features.detach().mean(0, keepdim=True))
        return {"ce": losses.cross_entropy(self.logits(batch.image), batch.target)}

    trials = broken("large", __init__=build, loss=loss)
    said = "no; a run that meets it fails: "
    assert TESTS["small_batch"](trials).startswith(f"{said}ValueError: Expected more than 1 value per channel")
    assert TESTS["bf16"](trials).startswith(f"{said}RuntimeError: index_copy_()")


@pytest.mark.parametrize("always", [False, True])
def test_a_parameter_that_trains_in_the_middle_of_a_run_is_remarked_on(always):
    """Several processes would wait for its gradient."""

    def build(self, problem):
        registry.get("ce").__init__(self, problem)
        self.idle = nn.Parameter(torch.zeros(()))

    def loss(self, t, batch):
        value = losses.cross_entropy(self.logits(batch.image), batch.target)
        midway = t.after(0.4) and not t.after(0.6)
        return {"ce": value + self.idle * midway if midway or always else value}

    remark = TESTS["gradients"](broken("midway", __init__=build, loss=loss))
    assert remark == ("" if always else f"not at all times: idle; {TOGETHER}")


def test_weights_are_projected_after_a_step_without_a_remark():
    """The trainer calls after_step without gradients; so must what tries one image and bf16."""

    def after_step(self, t):
        for head in self.heads:
            head.weight.mul_(0.5)

    trials = broken("projected", after_step=after_step)
    assert [TESTS[name](trials) for name in ("small_batch", "bf16")] == ["", ""]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can try it")
def test_a_gradient_within_the_loss_is_not_called_unrecordable_where_nothing_can_try_it():
    def loss(self, t, batch):
        loss = losses.cross_entropy(self.logits(batch.image), batch.target)
        return {"ce": loss + torch.autograd.grad(loss, self.heads[0].weight, create_graph=True)[0].norm()}

    remark = TESTS["recorded"](broken("sharp", loss=loss))
    assert remark == "not known: it takes a gradient within loss, which cannot be tried without a GPU"


@pytest.mark.parametrize("what", ["tensor", "problem", "generator", "lock"])
def test_an_attribute_that_a_gpu_would_not_have_is_a_reason_not_to_record_and_no_failure(what):
    made = {
        "tensor": lambda problem: problem.counts.log(), "problem": lambda problem: problem,
        "generator": lambda problem: torch.Generator(), "lock": lambda problem: threading.Lock(),
    }  # fmt: skip

    def build(self, problem):
        registry.get("ce").__init__(self, problem)
        self.mine = made[what](problem)

    def loss(self, t, batch):
        shift = {"tensor": self.mine, "problem": getattr(self.mine, "counts", 0)}.get(what, 0)
        return {"ce": losses.cross_entropy(self.logits(batch.image) + shift, batch.target)}

    remark = TESTS["recorded"](broken(what, __init__=build, loss=loss))
    assert remark.startswith("no; on a GPU its steps are taken eagerly: ") and "\n" not in remark
    if what in ("tensor", "problem"):
        assert remark.endswith("; mine is a plain tensor: register_buffer() puts it on the GPU and into checkpoints")
    else:
        assert "it has an attribute that cannot be copied: " in remark


def test_a_plain_tensor_is_not_blamed_for_what_else_cannot_be_recorded():
    def build(self, problem):
        registry.get("ce").__init__(self, problem)
        self.mine = problem.counts.log()

    def loss(self, t, batch):
        value = losses.cross_entropy(self.logits(batch.image), batch.target)
        return {"ce": value * (1.0 if value.item() > 0 else 2.0)}

    assert "mine" not in TESTS["recorded"](broken("innocent", __init__=build, loss=loss))


def test_a_loss_that_waits_for_the_device_passes_with_a_remark():
    def loss(self, t, batch):
        value = losses.cross_entropy(self.logits(batch.image), batch.target)
        return {"ce": value * (1.0 if value.item() > 0 else 2.0)}

    remark = TESTS["recorded"](broken("waits", loss=loss))
    assert remark.startswith("no; on a GPU its steps are taken eagerly: ")

"""The options of the methods, each by hand: two classes, logits (0, ln 3), so softmax is (1/4, 3/4)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ltbench import Batch, Clock, CosineHead, LinearHead, Prediction, Problem, Recipe, backbones
from ltbench.registry import get, resolve

LN3 = math.log(3)
LOGITS, LABEL = torch.tensor([[0.0, LN3], [0.0, LN3]]), torch.tensor([0, 1])
IMAGE = torch.zeros(2, 3, 16, 16)
START, HALF = Clock(4, 10, 4, 10), Clock(5, 10, 5, 10)


def built(name, counts=(2, 1), **options):
    torch.manual_seed(0)
    problem = Problem(torch.tensor(counts), 16, lambda: backbones.build("resnet8"))
    return get(name)(problem, **resolve(name, options))


def loss(method, t=START):
    method.logits = lambda image: LOGITS
    (value,) = method.loss(t, Batch(IMAGE, LABEL, LABEL)).values()
    return value.item()


# Losses


def test_focals_gamma():
    # ((3/4)^3 ln 4 + (1/4)^3 ln 4/3) / 2
    expected = (27 * math.log(4) + math.log(4 / 3)) / 128
    assert loss(built("focal", gamma=3.0)) == pytest.approx(expected)
    ride = built("ride", experts=1, loss="focal", gamma=3.0)
    assert ride.terms(START, LOGITS[None], LABEL)["focal"].item() == pytest.approx(expected)


def test_the_tau_of_logit_adjustment():
    # prior (3/4, 1/4), tau 2: exp(logits) prior^2 = (9/16, 3/16), p = (3/4, 1/4)
    found = loss(built("logit_adjustment", (3, 1), tau=2.0))
    assert found == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


def test_ldams_margin_scale_beta_and_start():
    method = built("ldam_drw", (16, 1), max_margin=LN3, scale=2.0, beta=0.5, drw_start=0.5)
    assert method.heads[0].scale == 2
    # margins (ln 3 / 2, ln 3), twice: logits (-ln 3, ln 3) and (0, -ln 3), p = 1/10 and 1/4
    assert loss(method) == pytest.approx((math.log(10) + math.log(4)) / 2)
    # weights as (1/2) / (1 - 1/2^16) to 1
    rare = 0.5 / (1 - 0.5**16)
    assert loss(method, HALF) == pytest.approx((rare * math.log(10) + math.log(4)) / (rare + 1))


def test_the_beta_and_start_of_deferred_reweighting():
    method = built("ce_drw", beta=0.5, drw_start=0.5)
    assert loss(method) == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    # weights 4/5 and 6/5
    assert loss(method, HALF) == pytest.approx((0.8 * math.log(4) + 1.2 * math.log(4 / 3)) / 2)


@pytest.mark.parametrize("name", ["ce", "ce_drw", "class_balanced", "focal", "logit_adjustment"])
def test_the_head_asked_for(name):
    assert [type(built(name, head=kind).heads[0]) for kind in ("linear", "cosine")] == [LinearHead, CosineHead]


# Networks


def test_the_width_of_rides_experts():
    # of 64 channels
    assert [built("ride", width=width).heads[0].dim for width in (0.5, 0.75, 1.0)] == [32, 48, 64]
    assert built("ride_distill", width=0.5).heads[0].dim == 32


def test_what_distillation_has_of_ride():
    plain, changed = built("ride_distill"), built("ride_distill", experts=2, diversity=-0.2, spread=0.5)
    assert (plain.diversity, changed.diversity, len(changed.heads)) == (-0.45, -0.2, 2)
    # counts (2, 1), spread s: b = s * 2 * (2/3, 1/3) + 1 - s = 1 + s/3, 1 - s/3
    assert plain.temperatures.tolist() == pytest.approx([1, (1 - 0.05 / 3) / (1 + 0.05 / 3)])
    assert changed.temperatures.tolist() == pytest.approx([1, (1 - 0.5 / 3) / (1 + 0.5 / 3)])


def test_bbn_predicts_with_both_branches_each_in_its_own_half():
    method = built("bbn").eval()
    method.branches = nn.ModuleList([Constant(1.0), Constant(10.0)])
    with torch.no_grad():
        method.head.weight.zero_()
        method.head.weight[0, 0] = method.head.weight[1, -1] = 1.0  # class 0 sees the first branch, 1 the second
    # twice a half of each
    assert method.predict(IMAGE).logits.tolist() == [[1, 10], [1, 10]]


class Constant(nn.Module):
    """A branch of which every feature is one number."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return torch.full((len(x), 64), self.value)


# What starts from another run


def stage_two(name, **options):
    """The method, begun from a CE whose two classes have the directions (3, 4, 0, ...) and (0, 0, 1, 0, ...)."""
    parent = built("ce")
    with torch.no_grad():
        parent.heads[0].weight.zero_()
        parent.heads[0].weight[0, :2], parent.heads[0].weight[1, 2] = torch.tensor([3.0, 4.0]), 1.0
    method = built(name, **options)
    method.begin({"stage1": parent}, None)
    return method


@pytest.mark.parametrize(("tau", "first"), [(0.0, (3, 4)), (1.0, (0.6, 0.8)), (2.0, (0.12, 0.16))])
def test_tau_is_the_power_of_the_norm(tau, first):
    (head,) = stage_two("tau_norm", tau=tau).heads
    assert head.weight[0, :2].tolist() == pytest.approx(first)
    assert head.weight[1, 2].item() == 1


class Skips(nn.Module):
    """What a base says: two members, whose mean is lower where it skips."""

    def predict(self, image):
        return Prediction(LOGITS - 1, members=torch.stack([LOGITS, LOGITS - 2]))

    def dense(self, image):
        return Prediction(LOGITS)


def test_post_hoc_shifts_the_mean_and_the_members_by_tau_and_skips_what_its_base_skips():
    method = built("post_hoc", (3, 1), tau=2.0)
    method.base = Skips()
    shift = 2 * torch.tensor([math.log(3 / 4), math.log(1 / 4)])
    found = method.predict(IMAGE)
    torch.testing.assert_close(found.logits, LOGITS - 1 - shift)
    torch.testing.assert_close(found.members, torch.stack([LOGITS, LOGITS - 2]) - shift)
    torch.testing.assert_close(method.dense(IMAGE).logits, LOGITS - shift)


def test_an_ensemble_is_the_mean_of_its_members_whole_ones_where_operations_are_counted():
    method = built("ensemble", size=2)
    first, second = built("ce"), built("ce", head="linear")
    with torch.no_grad():
        second.heads[0].bias.add_(1.0)
    method.begin({"member1": first, "member2": second}, None)
    method.eval(), first.eval(), second.eval()
    found = method.predict(torch.randn(4, 3, 16, 16))
    torch.testing.assert_close(found.members[1], found.members[0] + 1)
    torch.testing.assert_close(found.logits, found.members.mean(0))
    method.networks = nn.ModuleList([Skips(), Skips()])
    assert torch.equal(method.dense(IMAGE).logits, LOGITS)


def test_each_expert_has_scales_of_its_own():
    base = {"ride": {"experts": 2, "loss": "ce", "head": "linear"}}
    method = built("lws", base=base)
    with torch.no_grad():
        method.scales.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        for head in method.heads:
            head.weight.zero_()
            head.bias.fill_(1.0)
    assert method.classify(torch.zeros(2, 1, 48)).tolist() == [[[1, 2]], [[3, 4]]]


def test_each_head_is_retrained_by_a_loss_of_its_own():
    method = built("crt", base={"ride": {"experts": 2, "loss": "ce", "head": "linear"}})
    method.experts = lambda image: torch.stack([LOGITS, -LOGITS])
    (value,) = method.loss(START, Batch(IMAGE, LABEL, LABEL)).values()
    # of the other expert the two images change places: each loss is (ln 4 + ln 4/3) / 2
    assert value.item() == pytest.approx(math.log(4) + math.log(4 / 3))


# Recipes of second stages


def test_heads_are_retrained_for_their_share_at_a_rate_that_rises_and_falls_twice():
    ours = get("crt").recipe(Recipe(200, weight_decay=2e-4, schedule="cosine"), {})
    assert ours == Recipe(30, weight_decay=2e-4, steps=(1 / 3, 2 / 3), gamma=0.1, warmup=1 / 6)


def test_routers_are_trained_on_whole_images_at_a_small_rate_that_falls_as_a_cosine():
    swin = Recipe(
        200, optimizer="adamw", lr=1e-3, min_lr=1e-5, clip=5.0, ema=0.999, mixup=0.8, cutmix=1.0, label_smoothing=0.1
    )
    expected = Recipe(5, batch_size=512, lr=0.01, schedule="cosine", warmup=0.0)
    assert get("ride_ea").recipe(swin, {}) == expected

"""RIDE, its routing and its distillation."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import Batch, Clock, Problem, Recipe, backbones, longtail, losses
from ltbench.registry import get, resolve

FEW = settings(deadline=None, max_examples=10)
EARLY, LATE = Clock(0, 10, 0, 10), Clock(8, 10, 8, 10)
COUNTS = torch.tensor(longtail.profile_counts(50, 6, 25))
CLASSES = len(COUNTS)


def build(method="ride", counts=COUNTS, seed=0, **options):
    torch.manual_seed(seed)
    problem = Problem(counts, 16, lambda: backbones.build("resnet8"))
    return get(method)(problem, **resolve(method, options))


def images(count=12, seed=1):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def batch(count=8, seed=1):
    label = torch.arange(count) % CLASSES
    return Batch(images(count, seed), label, label)


def logits(experts=3, count=8, seed=2):
    return 5 * torch.randn(experts, count, CLASSES, generator=torch.Generator().manual_seed(seed))


# The loss


def cross_entropy(z, y):
    return math.log(sum(math.exp(v) for v in z)) - z[y]


def softmax(z):
    total = sum(math.exp(v) for v in z)
    return [math.exp(v) / total for v in z]


def divergence(goal, ours, heat):
    p, q = (softmax([v / h for v, h in zip(z, heat, strict=True)]) for z in (goal, ours))
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


TINY = [[[1.0, 0.0], [0.5, 2.0]], [[-1.0, 0.0], [0.0, 3.0]]]  # [E, B, C]; labels 0 and 1
TINY_MEAN = [[0.0, 0.0], [0.25, 2.5]]


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_the_loss_of_a_tiny_case_by_hand(late):
    method = build(counts=torch.tensor([16, 1]), experts=2, scale=2.0, beta=0.5, spread=1.0)
    # margins: 16^(-1/4) = 1/2 of the largest, 0.5; times the scale of 2: 0.5 and 1
    margin = [0.5, 1.0]
    # weights (1/2) / (1 - 1/2^16) and (1/2) / (1/2), over their mean (which cancels)
    weight = [0.5 / (1 - 0.5**16), 1.0] if late else [1.0, 1.0]
    # temperatures: n_c over the largest where the spread is 1: 1 and 1/16, with a mean of 17/32
    heat, mean_heat = ([1.0, 1 / 16], 17 / 32) if late else ([1.0, 1.0], 1.0)
    ldam = apart = 0.0
    for left, right in TINY:
        left, right = [left[0] - margin[0], left[1]], [right[0], right[1] - margin[1]]
        ldam += (weight[0] * cross_entropy(left, 0) + weight[1] * cross_entropy(right, 1)) / sum(weight)
    for expert in TINY:
        apart += sum(divergence(TINY_MEAN[i], expert[i], heat) for i in range(2)) / 2
    found = method.terms(LATE if late else EARLY, torch.tensor(TINY), torch.tensor([0, 1]))
    assert set(found) == {"ldam", "diversity"}
    assert found["ldam"].item() == pytest.approx(ldam, rel=1e-5)
    assert found["diversity"].item() == pytest.approx(-0.45 * mean_heat**2 * apart, rel=1e-5)


def test_the_late_phase_begins_at_its_share_of_the_run():
    method, z, label = build(), logits(), batch().label
    values = [method.terms(Clock(epoch, 10, 0, 0), z, label)["ldam"].item() for epoch in range(10)]
    assert len(set(values[:8])) == len(set(values[8:])) == 1
    assert values[7] != values[8]


@pytest.mark.parametrize("loss", ["ce", "focal"])
def test_other_base_losses_are_not_reweighted(loss):
    method, z, label = build(loss=loss), logits(), batch().label
    early, late = (method.terms(t, z, label) for t in (EARLY, LATE))
    assert set(early) == {loss, "diversity"}
    assert early[loss] == late[loss]
    assert early["diversity"] != late["diversity"]


def test_one_expert_has_no_diversity():
    method = build(experts=1)
    assert set(method.terms(EARLY, logits(1), batch().label)) == {"ldam"}
    assert method.predict(images()).members is None


def test_a_diversity_of_zero_keeps_the_individual_losses():
    z, label = logits(), batch().label
    with_it, without = (build(diversity=factor).terms(EARLY, z, label) for factor in (-0.45, 0.0))
    assert without["diversity"] == 0
    assert without["ldam"] == with_it["ldam"]
    individual = sum(losses.ldam(one, label, longtail.ldam_margins(COUNTS), 30.0) for one in z)
    torch.testing.assert_close(without["ldam"], individual)


def test_joint_judges_the_mean_as_often_as_there_are_experts():
    z, label = logits(), batch().label
    found = build(joint=True).terms(EARLY, z, label)
    torch.testing.assert_close(found["ldam"], 3 * losses.ldam(z.mean(0), label, longtail.ldam_margins(COUNTS), 30.0))
    assert found["diversity"] == build().terms(EARLY, z, label)["diversity"]


def free(**options) -> tuple[float, list[float]]:
    """(how often the mean is right, how often each expert), after training free features under the method's heads."""
    ride, label = build(**options), torch.arange(CLASSES).repeat(4)
    feature = (0.1 * torch.randn(3, len(label), ride.heads[0].weight.shape[1])).requires_grad_()
    optimizer = torch.optim.SGD([feature, *ride.heads.parameters()], lr=0.3, momentum=0.9)
    for _ in range(300):
        z = torch.stack([head(each) for head, each in zip(ride.heads, feature, strict=True)])
        optimizer.zero_grad()
        sum(ride.terms(EARLY, z, label).values()).backward()
        optimizer.step()
    right = (z.argmax(2) == label).float().mean(1)
    return (z.mean(0).argmax(1) == label).float().mean().item(), right.tolist()


def test_a_joint_loss_with_diversity_lets_single_experts_go_so_the_suites_set_it_to_zero():
    """With the mean alone held to the labels, what drives the experts apart has no bound."""
    mean, single = free(joint=True)
    assert mean == 1 and sum(single) / len(single) < 0.9
    assert free(joint=True, diversity=0.0) == (1, [1, 1, 1]) == free()


def test_experts_are_pushed_away_from_their_mean():
    z = logits().requires_grad_()
    term = build().terms(EARLY, z, batch().label)["diversity"]
    assert term < 0
    (gradient,) = torch.autograd.grad(term, z)
    # the mean is held fixed: each expert's gradient is the factor times that of its own divergence
    own = sum(losses.divergence(one, z.detach().mean(0)) for one in z)
    (expected,) = torch.autograd.grad(-0.45 * own, z)
    torch.testing.assert_close(gradient, expected)


def test_equal_experts_do_not_diverge():
    z = logits(1).expand(3, -1, -1)
    assert build().terms(EARLY, z, batch().label)["diversity"].item() == pytest.approx(0, abs=1e-6)


def test_the_loss_is_of_the_experts_own_logits_and_reaches_all_of_them():
    method = build().train()
    terms = method.loss(EARLY, batch())
    sum(terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())


def test_predictions_are_the_mean_of_the_members():
    found = build().eval().predict(images())
    assert found.members.shape == (3, 12, CLASSES)
    torch.testing.assert_close(found.logits, found.members.mean(0))


def test_margins_need_cosines():
    refused = resolve("ride", {"loss": "ldam", "head": "linear"})
    with pytest.raises(ValueError, match="loss ldam needs head cosine"):
        get("ride").needs(refused)
    for options in ({"loss": "ce", "head": "linear"}, {"loss": "focal", "head": "linear"}, {"loss": "ldam"}):
        assert get("ride").needs(resolve("ride", options)) == {}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("ride", {"gamma": 2.0}, "gamma changes nothing beside loss ldam"),
        ("ride", {"loss": "ce", "max_margin": 0.3}, "max_margin changes nothing beside loss ce"),
        ("ride", {"loss": "focal", "beta": 0.99}, "beta changes nothing beside loss focal"),
        ("ride", {"loss": "ce", "head": "linear", "scale": 16.0}, "scale changes nothing beside head linear"),
        ("ride", {"experts": 1, "joint": True}, "joint changes nothing beside one expert"),
        ("ride", {"experts": 1, "diversity": 0.0}, "diversity changes nothing beside one expert"),
        ("ride", {"experts": 1, "spread": 0.1}, "spread changes nothing beside one expert"),
        ("ride_distill", {"experts": 1, "repeat": True}, "repeat changes nothing beside one expert"),
        ("ride_distill", {"experts": 1, "spread": 0.05}, "spread changes nothing beside one expert"),
    ],
)
def test_an_option_that_changes_nothing_beside_the_others_is_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        get(name).needs(resolve(name, options))


def test_a_derived_class_may_have_fewer_options():
    class Narrow(get("ride")):
        def __init__(self, problem, *, loss="ce", head="cosine", beta=0.9):
            super().__init__(problem, loss=loss, head=head, beta=beta)

    assert Narrow.needs({"loss": "ce", "head": "cosine", "beta": 0.9}) == {}
    with pytest.raises(ValueError, match="beta changes nothing beside loss ce"):
        Narrow.needs({"loss": "ce", "head": "cosine", "beta": 0.99})


def test_options_that_change_something_are_taken():
    for options in ({"loss": "focal", "gamma": 2.0}, {"loss": "ce", "scale": 16.0}, {"experts": 1, "beta": 0.99}):
        assert get("ride").needs(resolve("ride", options)) == {}


# Routing


def routed(seed=0, experts=3, **options):
    """(routers on a RIDE, that RIDE), both in eval mode."""
    method = build("ride_ea", seed=seed, base={"ride": {"experts": experts}}, **options)
    teacher = build("ride", seed=seed + 100, experts=experts).eval()
    method.begin({"ride": teacher}, None)
    return method.eval(), teacher


def halfway(method, image):
    """A threshold between the first router's answers to these images."""
    with torch.no_grad():
        _, asks = next(method.walk(image))
    return asks.sigmoid().median().item()


@FEW
@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 20))
def test_an_expert_sees_the_images_that_asked_for_it_and_no_others(seed, experts, count):
    method, ride = routed(seed, experts)
    image = images(count, seed)
    method.threshold = halfway(method, image)
    seen = [0] * experts
    for i, branch in enumerate(method.ride.branches):

        def count_images(module, given, out, i=i):
            seen[i] += len(given[0])

        branch.register_forward_hook(count_images)
    with torch.no_grad():
        found = method.predict(image)
        singles = ride.experts(image)
    used = found.per_image["experts_used"]
    assert sum(seen) == used.sum()
    assert seen == [int((used > i).sum()) for i in range(experts)]
    assert seen[0] == count
    # the median itself does not exceed the threshold: somebody stops, and with two different answers somebody goes on
    assert used.min() == 1
    for i, n in enumerate(used.int().tolist()):
        torch.testing.assert_close(found.logits[i], singles[:n, i].mean(0), rtol=1e-4, atol=1e-4)


def test_some_images_stop_and_others_go_on():
    method, _ = routed()
    image = images(40)
    method.threshold = halfway(method, image)
    used = method.predict(image).per_image["experts_used"]
    assert used.min() == 1
    assert used.max() > 1
    assert (used == 1).sum() >= 20


def test_skipping_follows_the_routers_that_were_trained():
    method, _ = routed(experts=4)
    image = images(30)
    with torch.no_grad():
        asks = torch.stack([ask for _, ask in method.walk(image)][:-1]).sigmoid()  # [E - 1, B]
    # between every two answers of any router, so that each of them decides for some image
    answers = asks.flatten().sort().values
    for low, high in zip(answers[:-1].tolist(), answers[1:].tolist(), strict=True):
        if high - low > 1e-5:
            method.threshold = (low + high) / 2
            with torch.no_grad():
                used = method.predict(image).per_image["experts_used"]
            going = (asks > method.threshold).int().cumprod(0)
            assert used.tolist() == (1 + going.sum(0)).tolist()


def test_routers_that_always_ask_give_rides_own_predictions():
    method, ride = routed()
    torch.nn.init.constant_(method.ask.bias, 1e4)
    image = images()
    found = method.predict(image)
    torch.testing.assert_close(found.logits, ride.predict(image).logits)
    assert found.per_image["experts_used"].tolist() == [3] * 12


def test_routers_that_never_ask_give_the_first_experts():
    method, ride = routed()
    torch.nn.init.constant_(method.ask.bias, -1e4)
    image = images()
    found = method.predict(image)
    torch.testing.assert_close(found.logits, ride.experts(image)[0])
    assert found.per_image["experts_used"].tolist() == [1] * 12


def test_counting_without_skipping_runs_all_experts():
    method, ride = routed()
    image = images()
    torch.testing.assert_close(method.dense(image).logits, ride.predict(image).logits)


def test_only_routers_train_and_the_experts_rest():
    method, ride = routed()
    method.train()
    trained = {name for name, p in method.named_parameters() if p.requires_grad}
    assert trained == {
        *(f"hidden.{i}.{part}" for i in range(2) for part in ("weight", "bias")),
        "ask.weight",
        "ask.bias",
    }
    sum(method.loss(EARLY, batch()).values()).backward()
    kept = ride.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in method.ride.state_dict().items())
    assert all((p.grad is not None) == (name in trained) for name, p in method.named_parameters())


def test_a_router_should_ask_where_later_experts_correct_earlier_ones():
    method, ride = routed(pos_weight=7.0)
    given = batch(30)
    with torch.no_grad():
        experts = ride.experts(given.image)
        asks = [ask for _, ask in method.walk(given.image)][:-1]
        found = method.loss(EARLY, given)["route"].item()
    total, wanted = 0.0, 0
    for i in range(2):
        for b in range(30):
            right = [bool(experts[: n + 1, b].mean(0).argmax() == given.label[b]) for n in range(3)]
            want = not right[i] and any(right[i + 1 :])
            ask = asks[i][b].item()
            # -7 log sigmoid(ask), or -log(1 - sigmoid(ask))
            total += 7 * math.log1p(math.exp(-ask)) if want else math.log1p(math.exp(ask))
            wanted += want
    assert 0 < wanted < 60
    assert found == pytest.approx(total / 60, rel=1e-4)


def test_a_router_sees_the_highest_mean_logits_and_the_features_direction():
    method, _ = routed(top=2)
    feature, z = torch.randn(4, 48), torch.randn(4, CLASSES)
    before = method.router(0, feature, z)
    torch.testing.assert_close(method.router(0, 10 * feature, z), before)
    torch.testing.assert_close(method.router(0, feature, z.flip(1)), before)
    low = z.clone().scatter_(1, z.argsort(1)[:, :-2], -99.0)  # all but the two highest
    torch.testing.assert_close(method.router(0, feature, low), before)


def test_one_expert_needs_no_routers():
    with pytest.raises(ValueError, match="single expert"):
        get("ride_ea").needs(resolve("ride_ea", {"base": {"ride": {"experts": 1}}}))


# Distillation


def student_and_teacher(seed=100, **options):
    student = build("ride_distill", experts=2, teacher={"ride": {"experts": 2}}, **options)
    teacher = build("ride", seed=seed, experts=2).requires_grad_(False).eval()
    student.parents = {"teacher": teacher}
    return student, teacher


def test_a_student_that_is_its_teacher_has_nothing_to_follow():
    student, teacher = student_and_teacher()
    teacher.load_state_dict(student.state_dict())
    term = student.eval().loss(EARLY, batch())["distill"]
    term.backward()
    assert term.item() == pytest.approx(0, abs=1e-5)
    assert max(p.grad.abs().max().item() for p in student.parameters()) < 1e-4


def test_the_distillation_term_by_its_formula():
    student, teacher = student_and_teacher(temperature=2.0, strength=0.5)
    student.eval()
    found = student.loss(EARLY, batch())
    ours, goal = (m.predict(batch().image).logits / 2 for m in (student, teacher))
    # strength T^2 KL(teacher || student) of the means: 0.5 * 4
    kl = (goal.softmax(1) * (goal.log_softmax(1) - ours.log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(found["distill"], 2 * kl)
    own = student.terms(EARLY, student.experts(batch().image), batch().target)
    assert set(found) == {"ldam", "diversity", "distill"}
    assert all(F.l1_loss(found[name], own[name]) == 0 for name in own)


def test_the_published_code_counts_each_term_once_per_expert():
    once, teacher = student_and_teacher()
    twice, _ = student_and_teacher(repeat=True)
    twice.load_state_dict(once.state_dict())
    twice.parents = {"teacher": teacher}
    found, doubled = (student.eval().loss(EARLY, batch()) for student in (once, twice))
    assert {name: 2 * term.item() for name, term in found.items()} == {k: v.item() for k, v in doubled.items()}


def test_the_teacher_is_left_as_it_was_and_no_part_of_the_student():
    student, teacher = student_and_teacher()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    sum(student.train().loss(EARLY, batch()).values()).backward()
    assert not teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any("parent" in name or "teacher" in name for name in student.state_dict())
    mine = {id(p) for p in student.parameters()}
    assert not any(id(p) in mine for p in teacher.parameters())


def test_routers_are_trained_as_published_whatever_the_recipe_of_the_experts():
    base = Recipe(200, weight_decay=2e-4, clip=5.0, ema=0.999, min_lr=1e-5)
    ours = get("ride_ea").recipe(base, {})
    assert (ours.epochs, ours.batch_size, ours.lr, ours.weight_decay) == (5, 512, 0.01, 5e-4)
    assert (ours.clip, ours.ema, ours.min_lr) == (None, None, 0.0)
    # 512 images, in at least as many parts as the experts' batches are cut into
    cut = [get("ride_ea").recipe(Recipe(200, batch_size=120, accumulate=n), {}).accumulate for n in (1, 2, 3, 5, 8)]
    assert cut == [1, 2, 4, 8, 8]
    assert get("ride_ea").recipe(Recipe(200, batch_size=4096, accumulate=1024), {}).accumulate == 512

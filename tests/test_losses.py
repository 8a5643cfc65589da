"""The losses against hand-worked values and identities."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench import longtail, losses

FEW = settings(deadline=None, max_examples=40)
COUNTS = torch.tensor([50.0, 20.0, 7.0, 1.0])
CLASSES = len(COUNTS)
MARGINS = longtail.ldam_margins(COUNTS)
WEIGHT = torch.tensor([0.1, 0.6, 1.3, 2.0])
LN3 = math.log(3)

# every loss as a function of (logits, target), for what all of them must keep
LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "cross_entropy, weighted": lambda x, y: losses.cross_entropy(x, y, WEIGHT),
    "ldam": lambda x, y: losses.ldam(x, y, MARGINS, 30.0),
    "ldam, weighted": lambda x, y: losses.ldam(x, y, MARGINS, 30.0, WEIGHT),
    "focal": lambda x, y: losses.focal(x, y, 1.0),
    "focal, gamma 0.5": lambda x, y: losses.focal(x, y, 0.5),
    "focal, weighted": lambda x, y: losses.focal(x, y, 2.0, WEIGHT),
    "balanced_softmax": lambda x, y: losses.balanced_softmax(x, y, COUNTS),
    "logit_adjusted": lambda x, y: losses.logit_adjusted(x, y, longtail.log_prior(COUNTS), 1.5),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@st.composite
def batches(draw):
    """Logits [B, 4] and class numbers [B]."""
    size, seed = draw(st.integers(1, 9)), draw(st.integers(0, 2**32 - 1))
    random = torch.Generator().manual_seed(seed)
    scale = draw(st.sampled_from([0.1, 1.0, 10.0]))
    return scale * torch.randn(size, CLASSES, generator=random), torch.randint(0, CLASSES, (size,), generator=random)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


# Hand-worked: softmax(0, ln 3) = 1/4, 3/4

LOGITS = torch.tensor([[0.0, LN3], [0.0, LN3]])
TARGET = torch.tensor([0, 1])


def test_cross_entropy_by_hand():
    # (ln 4 + ln 4/3) / 2
    assert losses.cross_entropy(LOGITS, TARGET).item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_weighted_cross_entropy_divides_by_the_weight_sum():
    # (3 ln 4 + 1 ln 4/3) / (3 + 1)
    loss = losses.cross_entropy(LOGITS, TARGET, torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((3 * math.log(4) + math.log(4 / 3)) / 4)


def test_weighted_cross_entropy_of_mixed_labels_by_hand():
    # shares (1/2, 1/2) and (0, 1), weights (3, 1): (3/2 ln 4 + 1/2 ln 4/3 + ln 4/3) / (3/2 + 1/2 + 1)
    shares = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    loss = losses.cross_entropy(LOGITS, shares, torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((1.5 * math.log(4) + 1.5 * math.log(4 / 3)) / 3)


def test_ldam_lowers_the_true_logit_by_the_scaled_margin():
    # margins (ln 3 / 2, 0), scale 2: image 0 has logits (-ln 3, ln 3), p = (1/3) / (1/3 + 3) = 1/10; image 1 as before
    loss = losses.ldam(LOGITS, TARGET, torch.tensor([LN3 / 2, 0.0]), 2.0)
    assert loss.item() == pytest.approx((math.log(10) + math.log(4 / 3)) / 2)


def test_ldam_of_a_mixed_label_takes_shares_of_the_margins():
    # shares (1/2, 1/2), margins (ln 3, 0), scale 2: logits (-ln 3, ln 3), p = (1/10, 9/10)
    loss = losses.ldam(LOGITS[:1], torch.tensor([[0.5, 0.5]]), torch.tensor([LN3, 0.0]), 2.0)
    assert loss.item() == pytest.approx((math.log(10) + math.log(10 / 9)) / 2)


def test_focal_by_hand():
    # ((3/4)^2 ln 4 + (1/4)^2 ln 4/3) / 2
    expected = (9 * math.log(4) + math.log(4 / 3)) / 32
    assert losses.focal(LOGITS, TARGET, 2.0).item() == pytest.approx(expected)


def test_balanced_softmax_by_hand():
    # counts (3, 1): exp(logits) n = (3, 3), so p = 1/2 for both
    assert losses.balanced_softmax(LOGITS, TARGET, torch.tensor([3.0, 1.0])).item() == pytest.approx(math.log(2))


def test_logit_adjustment_by_hand():
    # prior (3/4, 1/4), tau 2: exp(logits) prior^2 = (9/16, 3/16), p = (3/4, 1/4)
    prior = longtail.log_prior(torch.tensor([3, 1]))
    expected = (math.log(4 / 3) + math.log(4)) / 2
    assert losses.logit_adjusted(LOGITS, TARGET, prior, 2.0).item() == pytest.approx(expected)


def test_divergence_by_hand():
    # goal (1/2, 1/2), ours (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3
    loss = losses.divergence(LOGITS[:1], torch.zeros(1, 2))
    assert loss.item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_divergence_runs_from_the_goal_to_the_logits():
    # the other way round: goal (1/4, 3/4), ours (1/2, 1/2): 1/4 ln 1/2 + 3/4 ln 3/2
    loss = losses.divergence(torch.zeros(1, 2), LOGITS[:1])
    assert loss.item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_divergence_divides_each_column_by_its_temperature():
    # temperatures (1, 1/2): logits (0, 2 ln 3), ours (1/10, 9/10); goal (0, 0) stays (1/2, 1/2)
    loss = losses.divergence(LOGITS[:1], torch.zeros(1, 2), torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(0.5 * math.log(5) + 0.5 * math.log(5 / 9))


# Identities


@FEW
@given(batches())
def test_balanced_softmax_is_logit_adjustment_at_tau_one(batch):
    logits, target = batch
    # log n_c and log prior differ by log N, which softmax does not see
    adjusted = losses.logit_adjusted(logits, target, longtail.log_prior(COUNTS), 1.0)
    close(losses.balanced_softmax(logits, target, COUNTS), adjusted)


@FEW
@given(batches())
def test_logit_adjustment_at_tau_zero_is_cross_entropy(batch):
    close(losses.logit_adjusted(*batch, longtail.log_prior(COUNTS), 0.0), F.cross_entropy(*batch))


@FEW
@given(batches(), st.sampled_from([None, WEIGHT]))
def test_ldam_without_margins_is_cross_entropy_of_the_scaled_cosines(batch, weight):
    cosines, target = batch[0].tanh(), batch[1]
    loss = losses.ldam(30 * cosines, target, torch.zeros(CLASSES), 30.0, weight)
    close(loss, F.cross_entropy(30 * cosines, target, weight))


@FEW
@given(batches(), st.sampled_from([None, WEIGHT]))
def test_focal_at_gamma_zero_is_cross_entropy(batch, weight):
    close(losses.focal(*batch, 0.0, weight), F.cross_entropy(*batch, weight))


@FEW
@given(batches())
def test_weighted_cross_entropy_of_class_numbers_is_torchs(batch):
    close(losses.cross_entropy(*batch, WEIGHT), F.cross_entropy(*batch, weight=WEIGHT))


@every_loss
@FEW
@given(batches())
def test_one_hot_shares_are_class_numbers(loss, batch):
    logits, target = batch
    close(loss(logits, F.one_hot(target, CLASSES).float()), loss(logits, target))


@every_loss
@FEW
@given(batches())
def test_a_constant_added_to_all_logits_changes_nothing(loss, batch):
    logits, target = batch
    torch.testing.assert_close(loss(logits + 3, target), loss(logits, target), rtol=1e-4, atol=1e-4)


@FEW
@given(batches(), st.floats(0.5, 4))
def test_logits_do_not_diverge_from_themselves(batch, temperature):
    logits = batch[0].requires_grad_()
    loss = losses.divergence(logits, logits, temperature)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), rtol=0, atol=1e-6)


@FEW
@given(batches())
def test_divergence_is_never_negative(batch):
    logits = batch[0]
    assert losses.divergence(logits, logits.roll(1, 1)).item() >= -1e-6


def test_divergence_gives_no_gradient_into_its_goal():
    logits, goal = LOGITS.clone().requires_grad_(), torch.zeros(2, 2, requires_grad=True)
    losses.divergence(logits, goal).backward()
    assert goal.grad is None
    assert logits.grad.abs().sum() > 0


@every_loss
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("mixed", [False, True], ids=["plain", "mixed"])
def test_losses_and_gradients_are_finite_at_extreme_logits(loss, size, mixed):
    logits = (size * (2 * torch.eye(CLASSES) - 1)).requires_grad_()
    for target in (torch.arange(CLASSES), torch.arange(CLASSES).roll(1)):
        value = loss(logits, 0.9 * F.one_hot(target).float() + 0.025 if mixed else target)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_divergence_is_finite_at_extreme_logits(size):
    logits = (size * torch.eye(CLASSES)).requires_grad_()
    value = losses.divergence(logits, -logits, torch.linspace(0.8, 1, CLASSES))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_shares_of_class_numbers_are_one_hot_and_shares_stay():
    shares = losses.as_shares(torch.tensor([1, 0]), 3)
    assert shares.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert losses.as_shares(shares, 3) is shares

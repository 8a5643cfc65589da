"""What follows from the class counts: profiles, margins, weights, temperatures, prior."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ltbench import longtail

FEW = settings(deadline=None, max_examples=50)
CIFAR100_LT = torch.tensor(longtail.profile_counts(500, 100, 100))
some_counts = st.lists(st.integers(1, 5000), min_size=1, max_size=30).map(torch.tensor)


@pytest.mark.parametrize(
    ("imbalance", "images", "rarest"), [(10, 19573, 50), (50, 12608, 10), (100, 10847, 5), (200, 9502, 2)]
)
def test_cifar100_lt_has_the_published_sizes(imbalance, images, rarest):
    counts = longtail.profile_counts(500, 100, imbalance)
    assert sum(counts) == images
    assert (counts[0], counts[-1]) == (500, rarest)


def test_cifar10_lt_has_the_published_counts():
    assert longtail.profile_counts(5000, 10, 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


@pytest.mark.parametrize(("imbalance", "images"), [(10, 20431), (50, 13996), (100, 12406), (200, 11203)])
def test_cifar10_lt_has_the_published_sizes(imbalance, images):
    assert sum(longtail.profile_counts(5000, 10, imbalance)) == images


def test_exponential_counts_are_rounded_down():
    # 100 * 0.1^(c/3) = 100, 46.4, 21.5, 10
    assert longtail.profile_counts(100, 4, 10) == [100, 46, 21, 10]


@pytest.mark.parametrize(
    ("classes", "expected"), [(4, [80, 80, 20, 20]), (5, [80, 80, 20, 20, 20]), (1, [20])], ids=["even", "odd", "one"]
)
def test_step_profile_cuts_the_second_half(classes, expected):
    assert longtail.profile_counts(80, classes, 4, "step") == expected


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_no_imbalance_is_balanced(profile):
    assert longtail.profile_counts(7, 3, 1, profile) == [7, 7, 7]


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_a_class_without_images_is_refused_with_the_limit(profile):
    with pytest.raises(ValueError, match=r"imbalance 101 .* 50 images .* at most 50"):
        longtail.profile_counts(50, 10, 101, profile)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="'linear': exp or step"):
        longtail.profile_counts(50, 10, 10, "linear")


@FEW
@example(2, 2, 1.0000000000000002, "exp")  # 2 / imbalance is a last bit short of 2, which is taken for rounding
@given(st.integers(2, 5000), st.integers(2, 120), st.floats(1, 100), st.sampled_from(["exp", "step"]))
def test_counts_fall_from_the_head_to_head_over_imbalance(head, classes, imbalance, profile):
    imbalance = min(imbalance, 0.99 * head)
    counts = longtail.profile_counts(head, classes, imbalance, profile)
    assert len(counts) == classes
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == head
    assert head / imbalance - 1 < counts[-1] <= head / imbalance + 1e-9


def test_margins_on_cifar100_lt_run_from_0158_to_a_half():
    margins = longtail.ldam_margins(CIFAR100_LT)
    # the largest: 0.5 * (5 / 500)^(1/4) = 0.5 * 0.3162
    assert margins[0].item() == pytest.approx(0.5 * 0.01**0.25) == pytest.approx(0.158, abs=5e-4)
    assert margins[-1].item() == 0.5
    assert (margins.diff() >= 0).all()


def test_margins_of_16_and_1_images_are_as_1_to_2():
    # 16^(-1/4) = 1/2, 1^(-1/4) = 1; the largest is scaled to 0.3
    assert longtail.ldam_margins(torch.tensor([16, 1]), 0.3).tolist() == pytest.approx([0.15, 0.3])


def test_effective_number_weights_on_cifar100_lt_run_from_0045_to_438():
    weights = longtail.effective_number_weights(CIFAR100_LT)
    assert weights[0].item() == pytest.approx(0.045, abs=5e-4)
    assert weights[-1].item() == pytest.approx(4.38, abs=5e-3)
    assert weights.mean().item() == pytest.approx(1)


def test_effective_number_weights_of_2_and_1_images():
    # beta 1/2: (1/2) / (1 - 1/4) = 2/3 and (1/2) / (1/2) = 1; the mean is 5/6, so 4/5 and 6/5
    assert longtail.effective_number_weights(torch.tensor([2, 1]), 0.5).tolist() == pytest.approx([0.8, 1.2])


@FEW
@given(some_counts, st.floats(0.01, 0.99999))
def test_weights_have_a_mean_of_one_and_favour_the_rare(counts, beta):
    weights = longtail.effective_number_weights(counts, beta)
    assert weights.dtype == torch.float32
    assert weights.mean().item() == pytest.approx(1, rel=1e-5)
    assert (weights[counts.sort().indices].diff() <= 0).all()


def test_tail_temperatures_on_cifar100_lt_run_from_1_down_to_0807():
    heat = longtail.tail_temperatures(CIFAR100_LT)
    assert heat[0].item() == 1
    assert heat[-1].item() == pytest.approx(0.807, abs=5e-4)
    assert heat.mean().item() == pytest.approx(0.847, abs=5e-4)


def test_tail_temperatures_of_3_and_1_images():
    # spread 1/2: b = 0.5 * 2 * (3/4, 1/4) + 0.5 = 1.25, 0.75; over 1.25: 1, 0.6
    assert longtail.tail_temperatures(torch.tensor([3, 1]), 0.5).tolist() == pytest.approx([1, 0.6])


def test_without_spread_every_temperature_is_one():
    assert longtail.tail_temperatures(CIFAR100_LT, 0.0).tolist() == [1.0] * 100


def test_log_prior_of_3_and_1_images():
    assert longtail.log_prior(torch.tensor([3, 1])).tolist() == pytest.approx([math.log(0.75), math.log(0.25)])


@FEW
@given(some_counts)
def test_the_prior_sums_to_one(counts):
    assert longtail.log_prior(counts).exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_a_whole_count_is_not_lost_to_rounding(profile):
    # 49 * (1 / 49) is 0.9999999999999999
    assert longtail.profile_counts(49, 2, 49, profile) == [49, 1]


def test_effective_numbers_of_a_beta_next_to_one():
    # (1 - b^n) is a millionth, and of a million images 1 - 1/e: in single precision 1 - b is wrong by a hundredth
    one, million = longtail.effective_number_weights(torch.tensor([1, 1_000_000]), 0.999999).tolist()
    assert million / one == pytest.approx(1e-6 / (1 - math.exp(-1)), rel=1e-5)

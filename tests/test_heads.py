"""The two heads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ltbench.heads import SCALE, CosineHead, LinearHead, make_heads

FEW = settings(deadline=None, max_examples=30)
KINDS = ("linear", "cosine")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_exact_fp32_under_bf16_autocast(kind):
    (head,) = make_heads(kind, 8, 5)
    feature = torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(feature)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, head(feature))


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_features_give_fp32_logits(kind):
    (head,) = make_heads(kind, 8, 5)
    feature = torch.randn(3, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(feature)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, head(feature.float()))


def test_a_linear_head_is_weight_and_bias():
    head = LinearHead(2, 2)
    assert head.bias.tolist() == [0, 0]
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        head.bias.copy_(torch.tensor([0.5, -0.5]))
    # (1 + 2 * 10 + 0.5, 3 + 4 * 10 - 0.5)
    assert head(torch.tensor([[1.0, 10.0]])).tolist() == [[21.5, 42.5]]


def test_cosine_logits_by_hand():
    head = CosineHead(2, 2, scale=10.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[5.0, 0.0], [0.0, 0.1]]))
    # (3, 4) has cosines 3/5 and 4/5 with the axes
    assert head(torch.tensor([[3.0, 4.0]])).tolist()[0] == pytest.approx([6, 8])


def test_a_cosine_head_has_unit_directions_and_no_bias():
    head = CosineHead(16, 7)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(7))


@FEW
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1000), st.floats(0.1, 100))
def test_cosine_logits_are_bounded_by_the_scale_and_blind_to_the_features_length(seed, stretch, scale):
    feature = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    head = CosineHead(6, 9, scale)
    logits = head(feature)
    assert (logits.abs() <= scale * (1 + 1e-5)).all()
    torch.testing.assert_close(head(feature * stretch), logits, rtol=1e-4, atol=1e-4 * scale)


def test_cosine_logits_are_blind_to_the_weights_length():
    head, feature = CosineHead(6, 9), torch.randn(4, 6)
    before = head(feature)
    with torch.no_grad():
        head.weight.mul_(torch.linspace(0.1, 20, 9)[:, None])
    torch.testing.assert_close(head(feature), before)


def test_a_feature_along_a_direction_reaches_the_scale():
    head = CosineHead(6, 9)
    torch.testing.assert_close(head(head.weight).diagonal(), torch.full((9,), SCALE))


def test_a_zero_feature_gives_zero_cosine_logits_and_finite_gradients():
    head, feature = CosineHead(6, 9), torch.zeros(1, 6, requires_grad=True)
    logits = head(feature)
    F.cross_entropy(logits, torch.tensor([3])).backward()
    assert logits.tolist() == [[0.0] * 9]
    assert feature.grad.isfinite().all()
    assert head.weight.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("experts", [1, 3])
def test_one_head_per_expert_each_with_weights_of_its_own(kind, experts):
    heads = make_heads(kind, 6, 9, experts=experts)
    assert len(heads) == experts
    assert all(head.dim == 6 and head.weight.shape == (9, 6) for head in heads)
    assert len({head.weight.data_ptr() for head in heads}) == experts
    assert all(isinstance(head, CosineHead if kind == "cosine" else LinearHead) for head in heads)


def test_the_scale_asked_for_is_taken():
    assert [head.scale for head in make_heads("cosine", 6, 9, experts=2, scale=7.0)] == [7.0, 7.0]


def test_a_kind_that_is_none_is_refused():
    """A misspelt "cosin" gave a linear head, and so a row of another method."""
    with pytest.raises(ValueError, match="a head is linear or cosine, got 'cosin'"):
        make_heads("cosin", 8, 5)

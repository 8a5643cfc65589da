"""The class-balanced loss, by hand: two classes of 2 and 1 images, logits that say nothing, so log 2 an image."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ltbench import Batch, Clock, Problem, backbones
from ltbench.registry import get, resolve

START = Clock(0, 10, 0, 10)
LABEL = torch.tensor([0, 0, 1])
# beta 1/2: (1/2) / (1 - 1/4) = 2/3 and (1/2) / (1 - 1/2) = 1, over their mean of 5/6
WEIGHTS = (0.8, 1.2)


def loss(target=LABEL, **options):
    problem = Problem(torch.tensor([2, 1]), 16, lambda: backbones.build("resnet8"))
    method = get("class_balanced")(problem, **resolve("class_balanced", {"beta": 0.5, **options}))
    method.logits = lambda image: torch.zeros(3, 2)
    (value,) = method.loss(START, Batch(torch.zeros(3, 3, 16, 16), LABEL, target)).values()
    return value.item()


@pytest.mark.parametrize("target", [LABEL, F.one_hot(LABEL, 2).float()], ids=["labels", "shares"])
def test_it_is_divided_by_the_images(target):
    assert loss(target) == pytest.approx((2 * WEIGHTS[0] + WEIGHTS[1]) / 3 * math.log(2))


@pytest.mark.parametrize("target", [LABEL, F.one_hot(LABEL, 2).float()], ids=["labels", "shares"])
def test_or_by_their_weights(target):
    assert loss(target, by_weight=True) == pytest.approx(math.log(2))

"""What an author takes from ltbench.method."""

import pytest
import torch
from torch import nn

from ltbench import Problem, Ref, backbones, freeze, registry


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.9))


@pytest.mark.parametrize("statistics", [True, False])
def test_what_is_frozen_rests_from_then_on(statistics):
    """A network that begin() ran moved its statistics: only Method.train(), which is called later, put it to rest."""
    network = freeze(normed(), statistics=statistics)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    one, other = network(images := torch.randn(8, 3)), network(images)
    assert not one.requires_grad
    assert torch.equal(one, other) == statistics, "dropout"
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items()) == statistics


def test_frozen_it_stays_when_its_method_trains():
    method = registry.get("ce")(Problem(torch.tensor([5, 3]), 16, lambda: backbones.build("resnet8")))
    freeze(method.backbone)
    method.train()
    assert method.training and not any(part.training for part in method.backbone.modules())


def test_a_part_of_the_images_that_there_is_not_is_refused():
    """It was read as all images here, and as those of "fit" there."""
    with pytest.raises(ValueError, match="the part of a Ref is 'all' or 'fit', got 'fitt'"):
        Ref("ce", part="fitt")

"""The CIFAR ResNets: sizes, costs, and how they are split."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from ltbench import Problem, backbones
from ltbench.backbones.base import Backbone
from ltbench.backbones.cifar import BasicBlock
from ltbench.data.memory import Images, Norm
from ltbench.evaluate import dense_macs
from ltbench.longtail import profile_counts
from ltbench.registry import get, resolve

IMAGE = Images(
    torch.zeros(1, 32, 32, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), 100, Norm((0.5,) * 3, (0.5,) * 3)
)

# Multiply-adds on ResNet-32 at 32x32: a 3x3 convolution takes in * out * 9 * pixels
STEM = 3 * 16 * 9 * 32**2
CONV = 16 * 16 * 9 * 32**2  # as many as 32 * 32 * 9 * 16^2 and as 64 * 64 * 9 * 8^2
FIRST = CONV // 2  # the first of a stage, with half the channels coming in
TRUNK = STEM + 10 * CONV  # 24.0 M
CE_MACS = TRUNK + 2 * (FIRST + 9 * CONV) + 64 * 100  # 68.9 M
EXPERT = 16 * 24 * 9 * 16**2 + 9 * 24 * 24 * 9 * 16**2 + 24 * 48 * 9 * 8**2 + 9 * 48 * 48 * 9 * 8**2 + 48 * 100


def build(method: str, backbone: str = "resnet32", classes: int = 100, **options):
    torch.manual_seed(0)
    counts = torch.tensor(profile_counts(500, classes, 100))
    return get(method)(Problem(counts, 32, partial(backbones.build, backbone)), **resolve(method, options))


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


COSTS = [
    # published thousands, by hand: 464154 for ten classes (He et al. 2016), less 650, and 65 * 100
    ("ce", {}, 464_154 - 650 + 6_500, CE_MACS, 68.9),
    ("ride", {"experts": 2}, 530_512, TRUNK + 2 * EXPERT, 74.9),
    ("ride", {"experts": 3}, 783_856, TRUNK + 3 * EXPERT, 100.4),
    ("ride", {"experts": 4}, 1_037_200, TRUNK + 4 * EXPERT, 125.8),
    ("ride", {"experts": 6}, 1_543_888, TRUNK + 6 * EXPERT, 176.7),
    # a second last block of two convolutions, and a head twice as wide
    ("bbn", {}, 470_004 + 2 * 64 * 64 * 9 + 4 * 64 + 6_400, CE_MACS + 2 * CONV + 6_400, 73.6),
]


@pytest.mark.parametrize(("method", "options", "parameters", "macs", "millions"), COSTS)
def test_parameters_and_multiply_adds_are_the_published_ones(method, options, parameters, macs, millions):
    built = build(method, **options)
    assert size(built) == parameters
    assert dense_macs(built, IMAGE, Accelerator(cpu=True)) == macs
    assert macs / 1e6 == pytest.approx(millions, abs=0.05)


def test_every_expert_adds_as_much():
    assert size(build("ride", experts=3)) - size(build("ride", experts=2)) == 783_856 - 530_512 == 253_344


@pytest.mark.parametrize("name", backbones.CIFAR)
def test_every_backbone_has_the_depth_of_its_name(name):
    net = backbones.build(name)
    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert len(convolutions) + 1 == int(name.removeprefix("resnet"))  # and the head
    assert all(part.bias is None for part in convolutions)
    assert net.dims == (16, 32, 64)
    assert net.dim == 64


@pytest.mark.parametrize("name", ["resnet33", "vgg16", ""])
def test_an_unknown_backbone_is_a_key_error(name):
    with pytest.raises(KeyError):
        backbones.build(name)


def test_each_build_is_a_fresh_network():
    torch.manual_seed(0)
    one, other = backbones.build("resnet8"), backbones.build("resnet8")
    weights = [net.stages[0][0].weight for net in (one, other)]
    assert not torch.equal(*weights)
    torch.manual_seed(0)
    assert torch.equal(backbones.build("resnet8").stages[0][0].weight, weights[0])


def test_features_are_the_means_over_the_last_map():
    net = backbones.build("resnet8").eval()
    image = torch.randn(2, 3, 32, 32)
    maps = net.stages(image)
    assert maps.shape == (2, 64, 8, 8)
    torch.testing.assert_close(net(image), maps.mean((2, 3)))


def test_a_shortcut_subsamples_and_pads_zeros_half_on_each_side():
    block = BasicBlock(4, 10, 2).eval()
    nn.init.zeros_(block.conv1.weight)
    nn.init.zeros_(block.conv2.weight)  # only the shortcut is left
    x = torch.rand(1, 4, 6, 6)
    out = block(x)
    assert out.shape == (1, 10, 3, 3)
    assert torch.equal(out[:, 3:7], x[:, :, ::2, ::2])
    assert not out[:, :3].any()
    assert not out[:, 7:].any()


def test_an_odd_number_of_new_channels_puts_one_more_behind():
    block = BasicBlock(3, 6, 2).eval()
    nn.init.zeros_(block.conv1.weight)
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(block(x)[:, 1:4], x[:, :, ::2, ::2])


@pytest.mark.parametrize("name", ["resnet8", "resnet20"])
@pytest.mark.parametrize("last", ["stages", "block"])
def test_a_trunk_and_one_branch_are_the_whole_network(name, last):
    net = backbones.build(name)
    trunk, (branch,), dim = backbones.build(name).split(1, last=last)
    assert dim == net.dim
    assert size(trunk) + size(branch) == size(net)
    # the same layers in the same order: with the same weights, the same features
    values = iter(net.state_dict().values())
    for part in (trunk, branch):
        part.load_state_dict({key: next(values) for key in part.state_dict()})
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(branch.eval()(trunk.eval()(image)), net.eval()(image))


@pytest.mark.parametrize(("last", "width", "dim"), [("stages", 0.75, 48), ("stages", 1.0, 64), ("block", 1.0, 64)])
def test_branches_share_the_trunk_and_nothing_else(last, width, dim):
    trunk, branches, found = backbones.build("resnet20").split(3, last=last, width=width)
    assert found == dim
    owners = [{p.data_ptr() for p in part.parameters()} for part in (trunk, *branches)]
    assert len(set.union(*owners)) == sum(map(len, owners))
    shared = trunk(torch.randn(2, 3, 32, 32))
    assert all(branch(shared).shape == (2, dim) for branch in branches)
    first, second, _ = (next(branch.parameters()) for branch in branches)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("width", [0.1, 0.3, 0.5, 0.75, 1.0])
def test_any_width_can_be_run(width):
    trunk, (branch,), dim = backbones.build("resnet8").split(1, width=width)
    assert dim == int(64 * width)
    assert branch(trunk(torch.randn(2, 3, 8, 8))).shape == (2, dim)


@pytest.mark.parametrize(("method", "options"), [("ride", {"experts": 3}), ("bbn", {})])
def test_the_trunk_runs_once_per_image(method, options):
    built, seen = build(method, "resnet8", 10, **options).eval(), []
    built.trunk.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    built.predict(torch.randn(4, 3, 32, 32))
    assert seen == [4]


def test_a_last_block_keeps_its_channels():
    with pytest.raises(ValueError, match=r"width must be 1, got 0\.75"):
        backbones.build("resnet8").split(2, last="block", width=0.75)


def test_a_backbone_that_cannot_be_split_says_so_by_name():
    class Whole(Backbone):
        pass

    with pytest.raises(ValueError, match="Whole cannot be split"):
        Whole().split(2)


def test_a_width_that_leaves_part_of_a_channel_is_rounded_down():
    # 0.9 * 32 = 28.8, 0.9 * 64 = 57.6
    _, (branch,), dim = backbones.build("resnet8").split(1, width=0.9)
    assert (branch[0].conv1.out_channels, dim) == (28, 57)

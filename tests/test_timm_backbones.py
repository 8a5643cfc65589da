"""timm's models as backbones: their features, how they are split, what they are refused for."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from ltbench import Batch, Clock, Problem, backbones, capturable, outline
from ltbench.backbones import BackboneSpec, families, models
from ltbench.registry import get, resolve

SWIN = "timm/swin_tiny_patch4_window7_224"
VIT = "timm/vit_tiny_patch16_224"
SMALL = [("resnet10", 64), ("timm/convnext_atto", 32), (VIT, 32), ("timm/resnet10t", 32)]
LARGE = [(SWIN, 64), ("resnext50", 64), ("timm/vit_base_patch16_siglip_224", 32)]
FAMILIES = [*SMALL, *(pytest.param(*each, marks=pytest.mark.slow) for each in LARGE)]
WHOLE = [("timm/mobilenetv3_small_050", 32), ("timm/deit_tiny_distilled_patch16_224", 32)]


def outlined(name: str, size: int = 224) -> backbones.Backbone:
    """A backbone of shapes alone."""
    with outline._without_memory():
        return backbones.build(name, size)


def shapes(name: str, experts: int, size: int = 224, **how) -> tuple[nn.Module, nn.ModuleList, int]:
    with outline._without_memory():
        return backbones.build(name, size).split(experts, **how)


def seeded(make, *arguments):
    torch.manual_seed(0)
    return make(*arguments).eval()


@pytest.mark.parametrize(("name", "size"), [*FAMILIES, *WHOLE])
def test_features_are_timms_own(name, size):
    ours, theirs = seeded(backbones.build, name, size), seeded(models.create, BackboneSpec(name), size)
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        feature = ours(image)
        assert torch.equal(feature, theirs.forward_head(theirs.forward_features(image), pre_logits=True))
    assert feature.shape == (2, ours.dim)
    assert torch.equal(ours.pool(ours.stages(image)), feature)


@pytest.mark.parametrize("last", ["stages", "block"])
@pytest.mark.parametrize(("name", "size"), FAMILIES)
def test_a_trunk_and_one_branch_are_the_whole_network(name, size, last):
    net = seeded(backbones.build, name, size)
    trunk, (branch,), dim = backbones.build(name, size).split(1, last=last)
    values = iter(net.state_dict().values())
    for part in (trunk, branch):
        part.load_state_dict({key: next(values) for key in part.state_dict()})
    assert next(values, None) is None and dim == net.dim
    image = torch.randn(2, 3, size, size)
    with torch.no_grad():
        assert torch.equal(branch.eval()(trunk.eval()(image)), net(image))


def test_branches_of_a_network_from_scratch_share_no_parameter_and_no_value():
    trunk, branches, _ = backbones.build("timm/convnext_atto", 32).split(2)
    owners = [{p.data_ptr() for p in part.parameters()} for part in (trunk, *branches)]
    assert len(set.union(*owners)) == sum(map(len, owners))
    one, other = (next(p for p in branch.parameters() if p.ndim == 4) for branch in branches)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("resnet10", (64, 128, 256, 512)),
        ("resnet50", (256, 512, 1024, 2048)),
        ("resnext50", (256, 512, 1024, 2048)),
        (SWIN, (96, 192, 384, 768)),
        ("timm/convnext_atto", (40, 80, 160, 320)),
        (VIT, (192,) * 4),
        ("timm/mobilenetv3_small_050", (1024,)),
    ],
)
def test_dims_are_the_channels_after_each_stage(name, dims):
    net = outlined(name)
    assert net.dims == dims and net.dim == dims[-1] and len(net.stages) == len(dims)


def test_the_papers_networks_have_their_depth_and_he_fan_out():
    for name, depth in {"resnet10": 10, "resnet50": 50, "resnext50": 50, "resnet152": 152}.items():
        with torch.device("meta"):
            net = models.create(BackboneSpec(name), 224)
        # shortcuts aside, and the head
        convolutions = [n for n, part in net.named_modules() if isinstance(part, nn.Conv2d) and "downsample" not in n]
        assert len(convolutions) + 1 == depth
    net = seeded(models.create, BackboneSpec("resnet10"), 224)
    last = net.layer4[0].conv2.weight
    assert last.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    assert all(norm.weight.eq(1).all() for norm in net.modules() if isinstance(norm, nn.BatchNorm2d))


# Narrower branches


@pytest.mark.parametrize(
    ("name", "dim", "widths"),
    [
        ("resnet10", 384, {192, 384}),
        ("resnet50", 1536, {192, 384}),
        ("resnext50", 1536, {384, 768}),
    ],
)
def test_resnets_are_narrowed_as_in_ride(name, dim, widths):
    trunk, (branch, *_), found = shapes(name, 2, width=0.75)
    three = {part.out_channels for part in branch.modules() if getattr(part, "kernel_size", 0) == (3, 3)}
    assert (found, three) == (dim, widths)
    assert trunk(torch.empty(2, 3, 64, 64, device="meta")).shape[1] == outlined(name).dims[1]


def test_a_swin_is_narrowed_where_its_patches_merge():
    trunk, (branch,), dim = shapes(SWIN, 1, width=0.75)
    merges = [part.reduction.weight.shape for part in branch.modules() if isinstance(part, families.PatchMerging)]
    assert (merges, dim) == ([(288, 4 * 192), (576, 4 * 288)], 576), "1.5 times at the branch, then twice"
    heads = [part.num_heads for part in branch.modules() if hasattr(part, "num_heads")]
    assert set(heads) == {12, 24}
    with outline._without_memory():
        assert branch(trunk(torch.empty(2, 3, 224, 224))).shape == (2, 576)


@pytest.mark.parametrize(
    ("name", "how", "said"),
    [
        ("timm/convnext_atto", {"width": 0.75}, r"ConvNeXt is split at full width only .*set width: 1, got 0\.75"),
        (VIT, {"width": 0.75}, "VisionTransformer is split at full width only"),
        ("resnet10", {"width": 0.001}, r"width 0\.001 leaves no channel of 256"),
        ("resnext50", {"width": 0.05}, r"width 0\.05 leaves no channel of 256"),
        (SWIN, {"width": 0.7}, "cannot share evenly"),
        ("resnet10", {"last": "block", "width": 0.5}, r"width must be 1, got 0\.5"),
        ("timm/mobilenetv3_small_050", {}, "cannot be split into branches: only timm's ResNets, ResNeXts"),
    ],
)
def test_what_cannot_be_split_says_why(name, how, said):
    with pytest.raises(ValueError, match=said):
        shapes(name, 2, **how)


# Names, options, image sizes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (BackboneSpec("timm/convnext_ato"), "unknown timm model 'convnext_ato'; did you mean 'convnext_atto'"),
        (BackboneSpec("timm/vit_huge_patch14_224_in21k"), "timm has no 'vit_huge_patch14_224_in21k' any more; it is"),
        (BackboneSpec("timm/resnet50.a9_in1k"), "timm has no weights 'a9_in1k' of resnet50"),
        (BackboneSpec("timm/resnet50.a1_in1k"), r"\.a1_in1k names pretrained weights: add weights: pretrained"),
        (BackboneSpec("resnet10", weights="pretrained"), "there are no pretrained weights of resnet10"),
        (BackboneSpec("resnet8", weights="pretrained"), "resnet8 is trained from scratch and takes no weights"),
        (BackboneSpec("resnet32", drop_path=0.1), "takes no drop_path"),
        (BackboneSpec("resnet10", weights="/nowhere/w.pt"), "weights: /nowhere/w.pt: No such file"),
    ],
)
def test_a_backbone_that_is_not_there_says_so(given, said):
    with pytest.raises(ValueError, match=said):
        backbones.resolve(given)


@pytest.mark.parametrize(
    ("spec", "size", "said"),
    [
        (BackboneSpec("timm/vgg11", drop_path=0.1), 32, "timm/vgg11 takes no drop_path"),
        (
            BackboneSpec("timm/vit_tiny_patch16_224"),
            40,
            r"its patches of 16 pixels leave the last 8 unseen: take image_size 32 or 48",
        ),
        (BackboneSpec("timm/inception_v3"), 32, "cannot be run on images of that size: .*can't be greater than actual"),
    ],
)
def test_an_image_size_or_an_option_that_it_cannot_take(spec, size, said):
    with pytest.raises(ValueError, match=said):
        outline.check(spec, size)


@pytest.mark.parametrize(("name", "size"), [("xcit_nano_12_p16_224", 64), ("pvt_v2_b0", 64), ("pit_ti_224", 40)])
def test_patches_that_overlap_or_are_many_convolutions_see_the_whole_image(name, size):
    outline.check(BackboneSpec(f"timm/{name}"), size)


def test_a_network_over_a_fixed_grid_is_built_for_the_problems_images():
    outline.check(BackboneSpec(VIT), 64)
    assert outlined(VIT, 64).stages[0][0].net.pos_embed.shape == (1, 1 + 16, 192)


def test_drop_path_is_timms_own_unless_it_is_given():
    def rates(spec: BackboneSpec) -> set[float]:
        with torch.device("meta"):
            net = models.create(spec, 32)
        return {round(part.drop_prob, 3) for part in net.modules() if type(part).__name__ == "DropPath"}

    assert max(rates(BackboneSpec(SWIN))) == 0.1, "the model's own"
    assert max(rates(BackboneSpec(SWIN, drop_path=0.3))) == 0.3
    assert rates(BackboneSpec(SWIN, drop_path=0.0)) == set()


def test_an_outline_of_experts_takes_no_memory():
    swin = BackboneSpec(SWIN)
    built = outline.method(get("ride"), resolve("ride", {}), swin, [5, 3, 1], 64)
    assert all(p.is_meta for part in (built.trunk, built.branches) for p in part.parameters())


def test_an_outline_draws_what_has_memory():
    """As a method's own head: torch draws a truncated normal anew until it fits, so it must be drawn at all."""
    head = torch.full((8, 8), 9.0)
    with outline._untouched(), outline._NoDraws():
        torch.nn.init.trunc_normal_(head, std=0.02)
    assert head.abs().max() < 1


def test_an_outline_moves_nobodys_random_numbers_on():
    before = torch.get_rng_state()
    outline.check(BackboneSpec("resnet10"), 32)
    outline.method(get("ride"), resolve("ride", {}), BackboneSpec("resnet10"), [5, 3, 1], 32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("method", "spec"),
    [
        ("ce", BackboneSpec("timm/convnext_atto", drop_path=0.2)),
        pytest.param("ride", BackboneSpec("resnet10"), marks=pytest.mark.slow),
        pytest.param("bbn", BackboneSpec(VIT), marks=pytest.mark.slow),
        pytest.param("ce", BackboneSpec(SWIN), marks=pytest.mark.slow),
    ],
)
def test_a_step_could_be_recorded_as_a_cuda_graph(method, spec):
    problem = Problem(torch.tensor([5, 3, 2]), 32, lambda: backbones.build(spec, 32))
    built = get(method)(problem, **resolve(method, {})).train()
    label = torch.tensor([0, 1, 2, 0])
    batches = [Batch(torch.randn(4, 3, 32, 32), label, label) for _ in built.streams()]
    assert capturable.why_not(built, Clock(0, 10, 0, 40), batches) == ""


def test_every_shipped_summary_is_a_backbone_that_is_there():
    for name in backbones.NAMES:
        assert backbones.resolve(name).label == name
    assert timm.is_model("swin_tiny_patch4_window7_224")


# G multiply-adds from the README of SADE, without routing; thop counts two for every number that a BatchNorm gives
PUBLISHED = [("resnext50", 1000, "ce", 4.26), ("resnext50", 1000, "ride", 6.08), ("resnet50", 8142, "ride", 5.80)]


@pytest.mark.parametrize(("name", "classes", "method", "published"), PUBLISHED)
def test_multiply_adds_are_the_published_ones(name, classes, method, published):
    built = outline.method(get(method), resolve(method, {}), BackboneSpec(name), [1] * classes, 224)
    assert outline.macs(built, 224) / 1e9 == pytest.approx(published, rel=0.01)


def test_a_label_has_drop_path_in_full_for_keys_hash_it():
    labels = [BackboneSpec("resnet8", drop_path=rate).label for rate in (0.1, 0.1000001, 0.0, 1e-5)]
    assert labels == [f"resnet8(drop_path={text})" for text in ("0.1", "0.1000001", "0", "1e-05")]

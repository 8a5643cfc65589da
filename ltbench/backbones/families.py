"""timm's families whose layers are known well enough to be cut into stages, and so split into branches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from timm.layers import global_pool_nlc
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.swin_transformer import PatchMerging, SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

GROUPS = 4  # of a ViT's blocks, which are all alike: the last two are private, as elsewhere the last two stages


@dataclass(frozen=True)
class Cut:
    """A network as a chain: stages of layers that follow one another, then the pool."""

    stages: list[list[nn.Module]]  # the last layer of the last stage is the last block
    pool: nn.Module
    dims: tuple[int, ...]  # channels after each stage


Make = Callable[..., nn.Module]  # the network anew, with changes to its constructor


def cut(net: nn.Module) -> Cut | None:
    """The network's chain; None for a family that is not known. The layers are the network's own, which is used up."""
    known = FAMILIES.get(type(net))
    return known[0](net) if known else None


def narrower(net: nn.Module, width: float, make: Make) -> Cut:
    """A fresh chain whose last two stages have that share of their channels and follow on the others as they are.

    Raises ValueError where the family has no such form, or where the width leaves no whole channels.
    """
    return FAMILIES[type(net)][1](net, width, make)


def _resnet(net: Any) -> Cut:
    stem = [net.conv1, net.bn1, net.act1, net.maxpool]
    names = [info["module"] for info in net.feature_info[1:]]
    stages = [list(net.get_submodule(name)) for name in names]
    return Cut([stem + stages[0], *stages[1:]], net.global_pool, _channels(net.feature_info[1:]))


def _narrow_resnet(net: Any, width: float, make: Make) -> Cut:
    """Planes of 192, 384 instead of 256, 512 at 0.75, as in RIDE."""
    blocks = [net.get_submodule(info["module"])[-1] for info in net.feature_info[1:]]
    planes = [info["num_chs"] // block.expansion for info, block in zip(net.feature_info[1:], blocks, strict=True)]
    for before, block in zip(planes[-2:], blocks[-2:], strict=True):
        if not int(before * width) or int(block.conv2.out_channels * width) < block.conv2.groups:
            raise ValueError(f"width {width} leaves no channel of {before}")
    return _resnet(make(channels=(*planes[:-2], *(int(each * width) for each in planes[-2:]))))


def _convnext(net: Any) -> Cut:
    stages = [[stage.downsample, *stage.blocks] for stage in net.stages]
    pool = nn.Sequential(net.norm_pre, net.head)
    return Cut([[net.stem, *stages[0]], *stages[1:]], pool, _channels(net.feature_info))


def _swin(net: Any) -> Cut:
    stages = [[layer.downsample, *layer.blocks] for layer in net.layers]
    pool = nn.Sequential(net.norm, net.head)
    return Cut([[net.patch_embed, *stages[0]], *stages[1:]], pool, _channels(net.feature_info))


def _narrow_swin(net: Any, width: float, make: Make) -> Cut:
    """The patches merge into 1.5 instead of 2 times the channels at 0.75, heads as many, as in RIDE's Swin code."""
    channels = [width * info["num_chs"] for info in net.feature_info]
    heads = [layer.blocks[0].attn.num_heads for layer in net.layers]
    if any(each % number or not each for each, number in zip(channels, heads, strict=True)):
        there = ", ".join(f"{each:g} for {number}" for each, number in zip(channels, heads, strict=True))
        raise ValueError(f"width {width} leaves channels that the attention heads cannot share evenly ({there})")
    narrow: Any = make(embed_dim=int(channels[0]))
    first = len(net.layers) - 2
    merge = PatchMerging(net.feature_info[first - 1]["num_chs"], int(channels[first]))
    nn.init.trunc_normal_(merge.reduction.weight, std=0.02)
    narrow.layers[first].downsample = merge
    return _swin(narrow)


def _vit(net: Any) -> Cut:
    blocks = list(net.blocks)
    edges = [round(i * len(blocks) / GROUPS) for i in range(GROUPS + 1)]
    groups: list[list[nn.Module]] = [blocks[start:end] for start, end in pairwise(edges)]
    pool = TokenPool(net)
    net.blocks, net.norm, net.fc_norm, net.attn_pool = nn.Sequential(), nn.Identity(), nn.Identity(), None
    return Cut([[Tokens(net), *groups[0]], *groups[1:]], pool, (net.embed_dim,) * GROUPS)


class Tokens(nn.Module):
    """What a ViT does before its blocks: patches, positions, class and register tokens. [B, tokens, D]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net  # without its blocks

    def forward(self, image: Tensor) -> Tensor:
        """[B, tokens, D]."""
        return self.net.forward_features(image)  # type: ignore[operator]  # a Module's attributes may be Tensors


class TokenPool(nn.Module):
    """What a ViT does after its blocks, up to the classifier: norm, then the class token or the tokens' mean."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.norm, self.attn_pool, self.fc_norm, self.drop = net.norm, net.attn_pool, net.fc_norm, net.head_drop
        self.kind, self.prefix, self.with_prefix = net.global_pool, net.num_prefix_tokens, net.pool_include_prefix

    def forward(self, x: Tensor) -> Tensor:
        """[B, D]."""
        x = self.norm(x)
        if self.attn_pool is not None:
            x = self.attn_pool(x if self.with_prefix else x[:, self.prefix :])
        else:
            x = global_pool_nlc(x, self.kind, self.prefix, self.with_prefix)
        return self.drop(self.fc_norm(x))


def _channels(infos: Any) -> tuple[int, ...]:
    return tuple(info["num_chs"] for info in infos)


def _full_width_only(net: nn.Module, width: float, make: Make) -> Cut:
    kind = type(net).__name__
    raise ValueError(f"a {kind} is split at full width only (no paper narrows it): set width: 1, got {width:g}")


FAMILIES: dict[type, tuple[Callable[[Any], Cut], Callable[[Any, float, Make], Cut]]] = {
    ResNet: (_resnet, _narrow_resnet),  # ResNeXt and SE-ResNet too
    ConvNeXt: (_convnext, _full_width_only),
    SwinTransformer: (_swin, _narrow_swin),
    VisionTransformer: (_vit, _full_width_only),
}

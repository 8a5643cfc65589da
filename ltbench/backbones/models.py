"""timm's models by name: which there are, and how one is made. The papers' networks are made by timm too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import timm
import torch
from torch import nn

from ..errors import near
from . import TIMM, weights
from .spec import PRETRAINED, BackboneSpec

# name -> (timm's model, what it is made with, the tag of the weights that papers start from, torchvision's first).
# He fan-out initialisation, and every BatchNorm scale at 1, as in torchvision's and in the official long-tail codes.
PAPER: dict[str, tuple[str, dict[str, Any], str]] = {
    "resnet10": ("resnet18", {"layers": (1, 1, 1, 1), "zero_init_last": False}, ""),
    "resnet50": ("resnet50", {"zero_init_last": False}, "tv_in1k"),
    "resnext50": ("resnext50_32x4d", {"zero_init_last": False}, "tv_in1k"),
    "resnet152": ("resnet152", {"zero_init_last": False}, "tv_in1k"),
}


def resolve(spec: BackboneSpec) -> BackboneSpec:
    """The backbone with the origin of its weights. Raises ValueError: see backbones.resolve."""
    name, tag = _known(spec.name)
    if spec.weights == PRETRAINED:
        cfg = timm.models.get_pretrained_cfg(f"{name}.{tag}" if tag else name)
        if (spec.name in PAPER and not tag) or cfg is None or not cfg.has_weights:
            raise ValueError(f"there are no pretrained weights of {spec.name}")
        return replace(spec, origin=f"{TIMM}{cfg.architecture}.{cfg.tag}" if cfg.tag else f"{TIMM}{name}")
    if tag and spec.name.startswith(TIMM):
        raise ValueError(f"{spec.name}: .{tag} names pretrained weights: add weights: pretrained, or leave it out")
    return replace(spec, origin=weights.sha256(spec.weights)) if spec.weights else spec


def _known(name: str) -> tuple[str, str]:
    """timm's model of a backbone, and the tag of its pretrained weights. Raises ValueError where there is none."""
    if name in PAPER:
        return PAPER[name][0], PAPER[name][2]
    if not name.startswith(TIMM):
        raise KeyError(name)
    model, _, tag = name.removeprefix(TIMM).partition(".")
    renamed = timm.models.get_deprecated_models()
    if model in renamed:
        now = f"; it is now {TIMM}{renamed[model]}" if renamed[model] else ""
        raise ValueError(f"timm has no {model!r} any more{now}")
    names = timm.list_models()
    if model not in names:
        hint = near(model, names)
        raise ValueError(
            f"unknown timm model {model!r}{f'; {hint}' if hint else ''} "
            f"(timm {timm.__version__} has {len(names)}: timm.list_models() names them)"
        )
    tags = timm.models.get_arch_pretrained_cfgs(model)
    if tag and f"{model}.{tag}" not in tags:
        there = ", ".join(key.partition(".")[2] for key in tags)
        raise ValueError(f"timm has no weights {tag!r} of {model} (there are: {there or 'none'})")
    return model, tag


def create(spec: BackboneSpec, image_size: int, **changes: Any) -> nn.Module:
    """timm's model without a classifier, for images of that size; changes go to its constructor.

    Its weights are drawn from torch's global generator, or read; on the meta device a file is only compared.
    Raises ValueError where it cannot be made so.
    """
    name, _ = _known(spec.name)
    options: dict[str, Any] = dict(PAPER[spec.name][1]) if spec.name in PAPER else {}
    if spec.drop_path is not None:
        options["drop_path_rate"] = spec.drop_path
    pretrained = spec.weights == PRETRAINED and torch.get_default_device().type != "meta"
    options |= {"num_classes": 0, "pretrained": pretrained} | changes
    full = spec.origin.removeprefix(TIMM) if spec.weights == PRETRAINED else name
    try:
        net = _made(full, image_size, options)
    except TypeError as error:
        if "drop_path_rate" in str(error):
            raise ValueError(f"{spec.name} takes no drop_path") from None
        raise
    except Exception as error:  # a hub that cannot be reached, a cache that cannot be written
        if not pretrained:
            raise
        raise ValueError(f"the pretrained weights {spec.origin} cannot be had: {weights.first_line(error)}") from None
    _check_patches(net, image_size)
    if spec.weights and spec.weights != PRETRAINED:
        weights.load(net, spec)
    return net


def _check_patches(net: nn.Module, image_size: int) -> None:
    """Raises ValueError where patches that neither overlap nor pad leave some of the image unseen."""
    for embed in (getattr(net, "patch_embed", None), getattr(net, "stem", None)):
        cut = getattr(embed, "proj", None)
        if not isinstance(cut, nn.Conv2d) or cut.kernel_size != cut.stride or cut.padding != (0, 0):
            continue
        patch = cut.stride[0]
        if (rest := image_size % patch) and not getattr(embed, "dynamic_img_pad", False):
            near = " or ".join(str(size) for size in (image_size - rest, image_size - rest + patch) if size)
            raise ValueError(f"its patches of {patch} pixels leave the last {rest} unseen: take image_size {near}")


def _made(name: str, image_size: int, options: dict[str, Any]) -> nn.Module:
    """The model, built for the image size where it is built for one: attention over a grid of a fixed size."""
    try:
        return timm.create_model(name, img_size=image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        return timm.create_model(name, **options)

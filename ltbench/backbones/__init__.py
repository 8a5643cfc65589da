"""Backbones by name. Importing this package imports neither torch nor timm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .spec import OPTIONS as OPTIONS
from .spec import BackboneSpec as BackboneSpec

if TYPE_CHECKING:
    from .base import Backbone as Backbone

CIFAR = {f"resnet{depth}": depth for depth in (8, 20, 32, 44, 56)}
TIMM = "timm/"

SUMMARIES: dict[str, str] = {
    **{
        name: f"CIFAR ResNet-{depth} for 32x32 images: 16, 32, 64 channels, option-A shortcuts; can be split"
        for name, depth in CIFAR.items()
    },
    "resnet10": "ResNet-10 for 224x224 images: a basic block a stage, 512 features; can be split",
    "resnet50": "ResNet-50 for 224x224 images, 2048 features; can be split",
    "resnext50": "ResNeXt-50 32x4d for 224x224 images, 2048 features; can be split",
    "resnet152": "ResNet-152 for 224x224 images, 2048 features; can be split",
    "timm/<model>": "any model of timm by its name there, as timm/convnext_tiny; its ResNets, ResNeXts, ConvNeXts, "
    "Swins and ViTs can be split",
}

NAMES = tuple(name for name in SUMMARIES if not name.startswith(TIMM))


def resolve(given: str | BackboneSpec) -> BackboneSpec:
    """The backbone, known to be there, and which weights it starts from.

    Raises ValueError for an unknown name, an option that it does not take, and weights that are not there.
    """
    spec = BackboneSpec(given) if isinstance(given, str) else given
    if spec.name in CIFAR:
        taken = [key for key in OPTIONS if getattr(spec, key) not in (None, "")]
        if taken:
            raise ValueError(f"{spec.name} is trained from scratch and takes no {' and no '.join(taken)}")
        return spec
    from . import models

    return models.resolve(spec)


def build(given: str | BackboneSpec, image_size: int = 32) -> Backbone:
    """A fresh backbone for images of so many pixels a side, its weights drawn from torch's global generator.

    On torch's meta device no weights are read. Raises KeyError for an unknown name, ValueError where it cannot be
    built.
    """
    spec = BackboneSpec(given) if isinstance(given, str) else given
    if spec.name in CIFAR:
        from .cifar import CifarResNet

        return CifarResNet(CIFAR[spec.name])
    from .bridge import TimmBackbone

    return TimmBackbone(resolve(spec) if spec.weights and not spec.origin else spec, image_size)

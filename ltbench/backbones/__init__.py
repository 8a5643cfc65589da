"""Backbones by name. Importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Backbone as Backbone

SUMMARIES: dict[str, str] = {
    f"resnet{depth}": f"CIFAR ResNet-{depth} for 32x32 images: 16, 32, 64 channels, option-A shortcuts"
    for depth in (8, 20, 32, 44, 56)
}


def build(name: str) -> Backbone:
    """A fresh backbone, its weights drawn from torch's global generator. Raises KeyError for an unknown name."""
    from .cifar import CifarResNet

    if name not in SUMMARIES:
        raise KeyError(name)
    return CifarResNet(int(name.removeprefix("resnet")))

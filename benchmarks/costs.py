"""Parameters and multiply-adds of CE and RIDE on the backbones of the field, beside the published ones.

    python benchmarks/costs.py

Everything is counted on torch's meta device: no data, no weights, no memory, about a minute on one core. Multiply-adds
are those of convolutions and matrix products for one image of 224x224, all experts run, as in the table's
MACs; "with norms" adds two for every number that a BatchNorm gives, as the counter (thop) behind the published numbers
does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import nn

from ltbench import outline, registry
from ltbench.backbones import BackboneSpec

SIZE = 224
BACKBONES = ("resnet10", "resnet50", "resnext50", "timm/swin_tiny_patch4_window7_224")
METHODS = (("ce", {}), *(("ride", {"experts": experts}) for experts in (2, 3, 4)))
# G multiply-adds: (method, experts, backbone, classes) -> what README of SADE (Vanint/SADE-AgnosticLT) has
PUBLISHED = {
    ("ce", 1, "resnext50", 1000): 4.26,
    ("ride", 3, "resnext50", 1000): 6.08,
    ("ce", 1, "resnet50", 8142): 4.14,
    ("ride", 3, "resnet50", 8142): 5.80,
}


def costs(name: str, options: dict[str, int], backbone: str, classes: int) -> tuple[int, float, float]:
    """Parameters, multiply-adds, and multiply-adds with those of BatchNorms."""
    spec, counts = BackboneSpec(backbone), [1] * classes
    method = outline.method(registry.get(name), registry.resolve(name, options), spec, counts, SIZE)
    numbers = [0]
    for norm in (part for part in method.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.register_forward_hook(partial(_count, numbers))
    macs = outline.macs(method, SIZE)
    return sum(p.numel() for p in method.parameters()), macs, macs + 2 * numbers[0]


def _count(numbers: list[int], module: nn.Module, given: tuple[torch.Tensor], out: torch.Tensor) -> None:
    numbers[0] += out.numel()


def lines() -> Iterator[str]:
    """The table, in Markdown."""
    yield "| backbone | C | method | params M | MACs G | with norms G | relative | published G | difference |"
    yield "|---|--:|---|--:|--:|--:|--:|--:|--:|"
    for classes in (1000, 8142):
        for backbone in BACKBONES:
            base = 0.0
            for name, options in METHODS:
                experts = options.get("experts", 1)
                parameters, macs, whole = costs(name, options, backbone, classes)
                base = base or macs
                published = PUBLISHED.get((name, experts, backbone, classes))
                beside = f"{published:.2f} | {100 * (whole / 1e9 / published - 1):+.1f} %" if published else " | "
                label = f"{name}(experts={experts})" if options else name
                yield (
                    f"| {backbone} | {classes} | {label} | {parameters / 1e6:.2f} | {macs / 1e9:.3f} | "
                    f"{whole / 1e9:.3f} | {macs / base:.2f} | {beside} |"
                )


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)

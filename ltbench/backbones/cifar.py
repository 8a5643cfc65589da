"""The CIFAR ResNets: three stages of basic blocks at 16, 32, 64 channels (He et al. 2016, section 4.2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .base import Backbone, Last

CHANNELS = (16, 32, 64)


class CifarResNet(Backbone):
    """ResNet of 6n + 2 layers for small images; shortcuts without parameters (option A)."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = (depth - 2) // 6
        first, second, third = self.dims = CHANNELS
        stem = (_conv(3, first), nn.BatchNorm2d(first), nn.ReLU())
        self.stages = nn.Sequential(
            nn.Sequential(*stem, *_blocks(first, first, self.blocks, stride=1)),
            nn.Sequential(*_blocks(first, second, self.blocks, stride=2)),
            nn.Sequential(*_blocks(second, third, self.blocks, stride=2)),
        )
        self.pool = _pool()
        _initialise(self)

    def split(
        self, branches: int, *, last: Last = "stages", width: float = 1.0
    ) -> tuple[nn.Module, nn.ModuleList, int]:
        """See Backbone.split; width reduces 32, 64 channels to 24, 48 at 0.75 (RIDE)."""
        first, second, third = self.dims
        if last == "block":
            if width != 1:
                raise ValueError(f"a single last block keeps its channels: width must be 1, got {width}")
            *shared, _ = self.stages[2].children()
            trunk = nn.Sequential(self.stages[0], self.stages[1], nn.Sequential(*shared))
            before, stride = (third, 1) if self.blocks > 1 else (second, 2)
            private = [nn.Sequential(BasicBlock(before, third, stride), _pool()) for _ in range(branches)]
        else:
            second, third = int(second * width), int(third * width)
            if not second:
                raise ValueError(f"width {width} leaves no channel of {self.dims[1]}")
            trunk = nn.Sequential(self.stages[0])
            private = [self._private_stages(first, second, third) for _ in range(branches)]
        return trunk, nn.ModuleList(map(_initialise, private)), third

    def _private_stages(self, first: int, second: int, third: int) -> nn.Sequential:
        middle = _blocks(first, second, self.blocks, stride=2)
        return nn.Sequential(*middle, *_blocks(second, third, self.blocks, stride=2), _pool())


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut that subsamples and pads with zero channels where shapes differ."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(before, after, stride), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = _conv(after, after), nn.BatchNorm2d(after)
        self.stride, self.grow = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """[B, after, H / stride, W / stride]."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if self.grow:
            x = F.pad(x, (0, 0, 0, 0, self.grow // 2, self.grow - self.grow // 2))
        return F.relu(out + x)


def _conv(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


def _blocks(before: int, after: int, count: int, *, stride: int) -> list[BasicBlock]:
    return [BasicBlock(before if i == 0 else after, after, stride if i == 0 else 1) for i in range(count)]


def _pool() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _initialise(module: nn.Module) -> nn.Module:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    return module

"""Classifier heads: features [B, D] -> logits [B, C], always computed and given in fp32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HeadKind = Literal["linear", "cosine"]
SCALE = 30.0  # what the cosines are multiplied by, in LDAM-DRW and RIDE


class LinearHead(nn.Module):
    """A weight and a bias per class."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(classes, dim)))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.dim = dim

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C] logits."""
        with _in_fp32(feature):
            return F.linear(feature.float(), self.weight, self.bias)


class CosineHead(nn.Module):
    """The cosine between the feature and a direction per class, times a fixed scale; no bias."""

    def __init__(self, dim: int, classes: int, scale: float = SCALE) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.empty(classes, dim).uniform_(-1, 1)))
        self.scale, self.dim = scale, dim

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C] logits, between -scale and scale."""
        with _in_fp32(feature):
            return self.scale * F.linear(F.normalize(feature.float()), F.normalize(self.weight))


def _in_fp32(feature: Tensor) -> AbstractContextManager[None]:
    """Autocast off; the meta device, on which shapes alone are computed, knows none."""
    device = feature.device.type
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def make_heads(kind: HeadKind, dim: int, classes: int, *, experts: int = 1, scale: float = SCALE) -> nn.ModuleList:
    """One head per expert, for features of `dim`. Raises ValueError for another kind."""
    if kind == "cosine":
        return nn.ModuleList(CosineHead(dim, classes, scale) for _ in range(experts))
    if kind == "linear":
        return nn.ModuleList(LinearHead(dim, classes) for _ in range(experts))
    raise ValueError(f"a head is linear or cosine, got {kind!r}")

"""What a backbone is: stages, a pool, and a way to split it into a trunk and several branches."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Last = Literal["stages", "block"]


class Backbone(nn.Module):
    """Stages, then a pool: image [B, 3, H, W] -> feature [B, D].

    stages: an nn.Sequential; dims: channels after each stage; dim: D.
    """

    stages: nn.Sequential
    pool: nn.Module
    dims: tuple[int, ...]

    @property
    def dim(self) -> int:
        """D, the size of a feature."""
        return self.dims[-1]

    def forward(self, image: Tensor) -> Tensor:
        """[B, D] features."""
        return self.pool(self.stages(image))

    def split(
        self, branches: int, *, last: Last = "stages", width: float = 1.0
    ) -> tuple[nn.Module, nn.ModuleList, int]:
        """(trunk, branches, D): what all experts share, and a fresh copy of the rest for each, ending in the pool.

        last: what is private to a branch, the last two "stages" or the last "block" of the last stage; width: the
        share of their channels that private stages keep. Raises ValueError where this backbone cannot be split so.
        """
        raise ValueError(f"{type(self).__name__} cannot be split into branches")

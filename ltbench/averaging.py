"""The moving average of a run's weights (EMA): what is evaluated and kept where the recipe asks for it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .method import Method


class Average:
    """Averages of the parameters that train and of BatchNorm's statistics; all else stays as the last step left it."""

    def __init__(self, method: Method, keep: float) -> None:
        self.keep = keep
        self._live = {name: p.detach() for name, p in method.named_parameters() if p.requires_grad}
        for place, part in method.named_modules():
            if isinstance(part, _NormBase) and not getattr(part, "frozen", False):
                statistics = {"running_mean": part.running_mean, "running_var": part.running_var}
                self._live |= {f"{place}.{name}": value for name, value in statistics.items() if value is not None}
        self.held = {name: value.clone() for name, value in self._live.items()}

    def update(self, step: int) -> None:
        """After the step of that number, from 0; the device is not waited for.

        Early steps keep less, (1 + step) / (10 + step), so that the average of a short run is not one of its beginning.
        """
        keep = min(self.keep, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(keep)(list(self.held.values()), list(self._live.values()), None)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `held` was when it was saved. Raises KeyError where one is missing."""
        for name, value in self.held.items():
            value.copy_(tensors[name])

    @torch.no_grad()
    def settle(self) -> None:
        """Put the averages in the place of the weights."""
        for name, value in self._live.items():
            value.copy_(self.held[name])

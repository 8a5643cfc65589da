"""How a run is trained: epochs, batch size, optimizer, schedule, precision, augmentation."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Interval, Le
from pydantic import ConfigDict, TypeAdapter, with_config

if TYPE_CHECKING:
    from .method import Clock

Share = Annotated[float, Interval(ge=0, le=1)]
# the first three for all images, the others for images in files: see data/transforms.py
Augmentation = Literal["crop", "flip", "rotate15", "random_resized_crop", "color_jitter", "randaugment"]


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class Recipe:
    """One recipe governs all rows of a suite; a method may change only what its second stage needs.

    All times are shares of the run, so that 10 epochs walk every phase of 200. The rate is fixed within an epoch.
    """

    epochs: Annotated[int, Ge(0)]
    name: str = ""
    batch_size: Annotated[int, Ge(1)] = 128  # images a step, over all processes
    optimizer: Literal["sgd"] = "sgd"
    lr: Annotated[float, Gt(0)] = 0.1
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    schedule: Literal["steps", "cosine"] = "steps"
    steps: tuple[Share, ...] = (0.8, 0.9)  # shares of the run after which the rate is multiplied by gamma again
    gamma: Annotated[float, Gt(0), Le(1)] = 0.01
    warmup: Share = 0.025  # share of the run over which the rate rises linearly
    augment: tuple[Augmentation, ...] = ("crop", "flip", "rotate15")
    precision: Literal["fp32", "bf16"] = "fp32"
    image_size: Annotated[int, Interval(ge=8, le=1024)] | None = None  # pixels a side; None: the data set's own

    def __post_init__(self) -> None:
        """Raises ValueError for fields that do not go together."""
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")

    MIN_SHARE: ClassVar[int] = 5  # a second stage of fewer epochs would not settle, however short the suite

    def lr_at(self, t: Clock) -> float:
        """The learning rate of t's epoch."""
        warm = min(1.0, (t.epoch + 1) / (self.warmup * t.epochs)) if self.warmup else 1.0
        if self.schedule == "cosine":
            return self.lr * warm * 0.5 * (1 + math.cos(math.pi * t.progress))
        return self.lr * warm * self.gamma ** sum(t.after(step) for step in self.steps)

    def share(self, epochs: int, *, of: int) -> int:
        """The epochs of a second stage that takes `epochs` where the first takes `of`; at least 5."""
        return max(self.MIN_SHARE, round(self.epochs * epochs / of))

    def with_(self, **changes: Any) -> Self:
        """This recipe with some fields changed."""
        return replace(self, **changes)

    def hash(self) -> str:
        """Hex digest of all fields but the name: recipes of one hash train alike."""
        # without what is None, so that a new field leaves the blocks of old rows alone
        fields = {key: value for key, value in asdict(self).items() if key != "name" and value is not None}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


ADAPTER = TypeAdapter(Recipe)

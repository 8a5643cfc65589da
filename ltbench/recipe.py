"""How a run is trained: epochs, batch size, optimizer, schedule, precision, augmentation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Gt, Interval, Le
from pydantic import ConfigDict, TypeAdapter, with_config

if TYPE_CHECKING:
    from .method import Clock

Share = Annotated[float, Interval(ge=0, le=1)]
Decay = Annotated[float, Interval(ge=0, lt=1)]
# the first three for all images, the others for images in files: see data/transforms.py
Augmentation = Literal["crop", "flip", "rotate15", "random_resized_crop", "color_jitter", "randaugment"]


@with_config(ConfigDict(extra="forbid", strict=True))
@dataclass(frozen=True)
class Recipe:
    """One recipe governs all rows of a suite; a method may change only what its second stage needs.

    All times are shares of the run, so that 10 epochs walk every phase of 200. The rate is fixed within an epoch, so
    a warm-up that is not longer than one is none: see remark().
    """

    epochs: Annotated[int, Ge(0)]
    name: str = ""
    batch_size: Annotated[int, Ge(1)] = 128  # images a step, over all processes
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Gt(0)] = 0.1
    momentum: Decay = 0.9  # sgd's, as nesterov
    nesterov: bool = True
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    schedule: Literal["steps", "cosine"] = "steps"
    steps: tuple[Share, ...] = (0.8, 0.9)  # shares of the run after which the rate is multiplied by gamma again
    gamma: Annotated[float, Gt(0), Le(1)] = 0.01
    warmup: Share = 0.025  # share of the run over which the rate rises linearly
    augment: tuple[Augmentation, ...] = ("crop", "flip", "rotate15")
    precision: Literal["fp32", "bf16"] = "fp32"
    # What follows came later: at its default it is left out of records and hashes, see recorded().
    image_size: Annotated[int, Interval(ge=8, le=1024)] | None = None  # pixels a side; None: the data's, of files 224
    betas: tuple[Decay, Decay] = (0.9, 0.999)  # adamw's, as eps
    eps: Annotated[float, Gt(0)] = 1e-8
    decay_norms: bool = False  # adamw: weight decay on biases, norms and position tables too; sgd decays all
    min_lr: Annotated[float, Ge(0)] = 0.0  # the schedule does not fall below it; the warm-up begins below
    accumulate: Annotated[int, Ge(1)] = 1  # micro-batches that a step is computed in
    clip: Annotated[float, Gt(0)] | None = None  # the most that the norm of all gradients together may be
    ema: Annotated[float, Interval(gt=0, lt=1)] | None = None  # how much of the averaged weights each step keeps
    mixup: Annotated[float, Ge(0)] = 0.0  # alpha of the Beta that shares are drawn from; 0: images are not blended
    cutmix: Annotated[float, Ge(0)] = 0.0  # the same for pasted boxes; where both are on, each takes half of the steps
    label_smoothing: Decay = 0.0  # the part of each label that is spread over all classes

    def __post_init__(self) -> None:
        """Raises ValueError naming all fields that do not go together."""
        if faults := list(self._faults()):
            raise ValueError("; ".join(faults))

    def _faults(self) -> Iterator[str]:
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            yield "nesterov needs a momentum above 0"
        for (choice, value), names in OWN.items():
            strange = [name for name in names if getattr(self, name) != _DEFAULTS[name]]
            if strange and (chosen := getattr(self, choice)) != value:
                yield f"{choice} {chosen} takes no {', '.join(strange)}: for {choice} {value} only"
        if self.batch_size % self.accumulate:
            yield f"batch_size {self.batch_size} cannot be cut into accumulate {self.accumulate} equal parts"
        if self.min_lr > self.lr:
            yield f"min_lr {self.min_lr:g} is above lr {self.lr:g}"
        if twice := [name for name in dict.fromkeys(self.augment) if self.augment.count(name) > 1]:
            yield f"augment has {', '.join(twice)} more than once"

    MIN_SHARE: ClassVar[int] = 5  # a second stage of fewer epochs would not settle, however short the suite

    def lr_at(self, t: Clock) -> float:
        """The learning rate of t's epoch."""
        warm = min(1.0, (t.epoch + 1) / (self.warmup * t.epochs)) if self.warmup else 1.0
        if self.schedule == "cosine":
            wave = 0.5 * (1 + math.cos(math.pi * t.progress))
            return self.min_lr * warm + (self.lr - self.min_lr) * warm * wave
        return max(self.lr * warm * self.gamma ** sum(t.after(step) for step in self.steps), self.min_lr * warm)

    def remark(self) -> str:
        """What the recipe asks for and does not get, in a line; "" where it gets all."""
        if not 0 < self.warmup * self.epochs <= 1:
            return ""
        more = f"; above {1 / self.epochs:.2g} it has an effect" if self.epochs > 1 else ""
        epochs = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        return (
            f"there is no warm-up: {self.warmup:g} of {epochs} is not more than one, and the rate is fixed within "
            f"an epoch{more}"
        )

    @property
    def mixes(self) -> bool:
        """Whether targets are shares [B, C] of several classes."""
        return bool(self.mixup or self.cutmix or self.label_smoothing)

    def share(self, epochs: int, *, of: int) -> int:
        """The epochs of a second stage that takes `epochs` where the first takes `of`; at least 5."""
        return max(self.MIN_SHARE, round(self.epochs * epochs / of))

    def with_(self, **changes: Any) -> Self:
        """This recipe with some fields changed, and those at their defaults that begun() names."""
        return replace(self, **self.begun(changes) | changes)

    def begun(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the optimizer and the schedule that changes leave behind, at their defaults.

        Weight decay is among them: its scale is another one where it is decoupled.
        """
        left = [pair for pair in OWN if getattr(self, pair[0]) == pair[1] != changes.get(*pair)]
        names = [name for pair in left for name in OWN[pair]]
        names += ["weight_decay"] if any(choice == "optimizer" for choice, _ in left) else []
        return {name: _DEFAULTS[name] for name in names}

    def recorded(self) -> dict[str, Any]:
        """As a record keeps it and a run's key hashes it: plain data, without later fields that are at their default.

        So a field that is added to the class above changes neither keys nor records of runs that do not use it.
        """
        plain = ADAPTER.dump_python(self, mode="json")
        return {name: plain[name] for name in self._kept()}

    def _kept(self) -> list[str]:
        return [name for name in _DEFAULTS if name in _ALWAYS or getattr(self, name) != _DEFAULTS[name]]

    def hash(self) -> str:
        """Hex digest of all fields but the name: recipes of one hash train alike."""
        kept = {name: getattr(self, name) for name in self._kept() if name != "name"}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


ADAPTER = TypeAdapter(Recipe)
# The fields that mean something to one optimizer, or to one schedule, alone.
OWN = {
    ("optimizer", "sgd"): ("momentum", "nesterov"),
    ("optimizer", "adamw"): ("betas", "eps", "decay_norms"),
    ("schedule", "steps"): ("steps", "gamma"),
}
_DEFAULTS = {field.name: field.default for field in fields(Recipe)}
_ALWAYS = (
    "epochs", "name", "batch_size", "optimizer", "lr", "momentum", "nesterov", "weight_decay", "schedule", "steps",
    "gamma", "warmup", "augment", "precision",
)  # the fields of the first records  # fmt: skip

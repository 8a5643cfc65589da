"""What a trained method says of the test set: counts per class, calibration bins, means of per-image figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from .data.streams import Data
from .errors import LtbenchError
from .method import Method, Prediction
from .scores import calibration

BATCH = {"cpu": 128, "cuda": 1000}  # larger batches fall out of a CPU's cache
ASKED_AGAIN = 16  # images
APART = {"no": 1e-3, "bf16": 0.05}  # the share of an image's largest logit that is no rounding, by precision
LARGE = 64  # pixels a side above which a batch of 1000 would take more memory than training does


@dataclass(frozen=True)
class Evaluation:
    """The outcome on M test images, in the test set's order (class after class)."""

    logits: Tensor  # [M, C]
    label: Tensor  # [M]
    per_image: dict[str, Tensor]  # name -> [M]
    members: Tensor | None  # [M, E] the class that each expert predicts
    macs: float  # multiply-adds per image, no part skipped
    macs_used: float  # the same, as these images used them

    @property
    def predicted(self) -> Tensor:
        """[M] class numbers."""
        return self.logits.argmax(1)

    def counts(self, classes: int) -> dict[str, Any]:
        """The fields of a record that are counted here."""
        right = self.predicted == self.label
        return {
            "right": _per_class(right, self.label, classes),
            "total": _per_class(torch.ones_like(right), self.label, classes),
            "calibration": calibration(self.logits.softmax(1).amax(1).double().numpy(), right.numpy()),
            "per_image": {name: _means(value, self.label, classes) for name, value in self.per_image.items()},
            "members": []
            if self.members is None
            else [_per_class(column == self.label, self.label, classes) for column in self.members.unbind(1)],
            "macs": self.macs,
            "macs_used": self.macs_used,
        }


@torch.no_grad()
def evaluate(method: Method, test: Data, accelerator: Accelerator) -> Evaluation:
    """Predict every test image once. Batches are dealt to processes whole, so their number changes nothing."""
    method.eval()
    size = BATCH.get(accelerator.device.type, 128) if test.size <= LARGE else 128
    batches = torch.arange(len(test)).split(size)
    mine: list[tuple[int, Prediction, float]] = []
    numbers = range(accelerator.process_index, len(batches), accelerator.num_processes)
    for i, batch in zip(numbers, test.batches(batches[i] for i in numbers), strict=True):
        with accelerator.autocast(), _counter() as counter:
            prediction = method.predict(batch.image)
        _check(method, prediction, len(batch.label), test.classes)
        mine.append((i, _on_cpu(prediction), counter.get_total_flops() / 2))
    everyone = sorted(gather_object(mine), key=lambda part: part[0])
    predictions, used = [part[1] for part in everyone], sum(part[2] for part in everyone)
    if wrong := uneven(predictions):
        raise LtbenchError(f"{type(method).__name__}.predict() gives {wrong}")
    members = [p.members for p in predictions if p.members is not None]
    logits = torch.cat([p.logits for p in predictions])
    _check_alike(method, test, accelerator, logits)
    return Evaluation(
        logits=logits,
        label=test.label.cpu(),
        per_image={name: torch.cat([p.per_image[name] for p in predictions]) for name in predictions[0].per_image},
        members=torch.cat(members) if members else None,
        macs=dense_macs(method, test, accelerator),
        macs_used=used / len(test),
    )


@torch.no_grad()
def rehearse(method: Method, test: Data, accelerator: Accelerator) -> None:
    """Predict two images that show nothing, before hours of training.

    Raises LtbenchError for what has not the shape that Prediction asks for, and whatever predict() or dense() raises.
    """
    method.eval()
    image = torch.zeros(2, 3, test.size, test.size, device=accelerator.device)
    with accelerator.autocast():
        _check(method, method.predict(image), len(image), test.classes)
        method.dense(image)


def _check(method: Method, prediction: Prediction, images: int, classes: int) -> None:
    if wrong := misshapen(prediction, images, classes):
        raise LtbenchError(f"{type(method).__name__}.predict() gives {wrong}")


def _check_alike(method: Method, test: Data, accelerator: Accelerator, logits: Tensor) -> None:
    """Raises LtbenchError where images are answered otherwise among images of all classes than among their own class's.

    The test set is in class order, so what a method takes from a whole batch is the labels. Rounding changes an answer
    a little, and a router's choice for few images.
    """
    rows = torch.linspace(0, len(test) - 1, min(ASKED_AGAIN, len(test))).long()
    (batch,) = test.batches([rows])
    with accelerator.autocast():
        again = method.predict(batch.image).logits.float().cpu()
    apart = (again - logits[rows]).abs().amax(1) / logits[rows].abs().amax(1)
    if (apart > APART[accelerator.mixed_precision]).float().mean() > 0.5:
        raise LtbenchError(
            f"{type(method).__name__}.predict() answers an image otherwise beside images of other classes: it must "
            "answer each by itself, or it reads labels off the order of the test set"
        )


def uneven(predictions: Sequence[Prediction]) -> str:
    """What batches differ in that must not; "" where they are alike."""
    kinds = {(frozenset(p.per_image), p.members is None) for p in predictions}
    return "other figures of one batch than of another (per_image, members)" if len(kinds) > 1 else ""


def misshapen(prediction: Prediction, images: int, classes: int) -> str:
    """What of a prediction has not the shape that Prediction asks for, of so many images; "" where all has."""
    if not isinstance(prediction, Prediction):
        return f"a {type(prediction).__name__}, not a Prediction"
    shape, members = tuple(prediction.logits.shape), prediction.members
    if shape != (images, classes):
        return f"logits {shape}, not {(images, classes)}"
    if members is not None and (members.dim() != 3 or tuple(members.shape[1:]) != shape):
        return f"members {tuple(members.shape)}, not (experts, {images}, {classes})"
    unnamed = [key for key in prediction.per_image if not isinstance(key, str)]
    if unnamed:
        return f"per_image under {unnamed[0]!r}, which is no name"
    bad = [key for key, value in prediction.per_image.items() if tuple(getattr(value, "shape", ())) != (images,)]
    return f"per_image {bad[0]!r} that is not one number per image" if bad else ""


def _counter() -> Any:
    """Counts operations while it is open."""
    from torch.utils.flop_counter import FlopCounterMode  # brings triton along: only where something is evaluated

    return FlopCounterMode(display=False)


def _on_cpu(p: Prediction) -> Prediction:
    """The prediction on the CPU, in fp32; members as the class [B, E] that each predicts, -1 where it is not finite."""
    members = None
    if p.members is not None:
        members = p.members.argmax(2).masked_fill(~p.members.isfinite().all(2), -1).T.cpu()
    return Prediction(p.logits.float().cpu(), {k: v.float().cpu() for k, v in p.per_image.items()}, members)


@torch.no_grad()
def dense_macs(method: Method, images: Data, accelerator: Accelerator) -> float:
    """Multiply-adds of convolutions and matrix products for one image, no part skipped."""
    method.eval()
    image = torch.zeros(1, 3, images.size, images.size, device=accelerator.device)  # what it shows is not counted
    with accelerator.autocast(), _counter() as counter:
        method.dense(image)
    return counter.get_total_flops() / 2


def _per_class(hit: Tensor, label: Tensor, classes: int) -> list[int]:
    return torch.bincount(label[hit], minlength=classes).tolist()


def _means(value: Tensor, label: Tensor, classes: int) -> dict[str, Any]:
    sums = torch.zeros(classes, dtype=torch.float64).index_add_(0, label, value.double())
    counts = torch.bincount(label, minlength=classes)
    return {"mean": value.double().mean().item(), "by_class": (sums / counts.clamp(min=1)).tolist()}

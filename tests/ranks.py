"""Trainings and evaluations that one process does alone, or that several share under torchrun; tests compare the two.

    python -m torch.distributed.run --standalone --nproc-per-node 2 tests/ranks.py FILE CASE...

The first process writes what came of it. All is in double precision, so that a difference is no rounding.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from test_golden import double_precision
from torch import nn

from ltbench import Recipe, contract, gather, labels
from ltbench.evaluate import evaluate
from ltbench.trainer import Fit, Interrupted, Progress
from ltbench.trials import toy

# 53 images: 4 steps an epoch, the last of 5 images, so 2 and 3; 20 steps
PLAIN = Recipe(5, batch_size=16, lr=0.05, warmup=0.0, augment=("crop", "flip"))
FULL = PLAIN.with_(optimizer="adamw", lr=2e-3, accumulate=2, clip=1.0, ema=0.9, label_smoothing=0.1)
CASES: dict[str, tuple[str, Recipe]] = {
    "ce": ("ce", PLAIN),
    "ride": ("ride(experts=2, drw_start=1)", PLAIN),
    "bbn": ("bbn", PLAIN),
    "crt": ("crt", PLAIN),
    "everything": ("ce", FULL),
    # 3 steps an epoch, the last of one image for two processes; 21 steps
    "one_left": ("ce", PLAIN.with_(epochs=7, batch_size=26)),
    # the last batch of 5 images in 4 micro-batches of each process: 2 images of the first, 3 of the second
    "few_left": ("ce", PLAIN.with_(accumulate=4)),
}


def without_batchnorm(module: nn.Module) -> None:
    """Put group norm in the place of batch norm, which knows only the images of its own process."""
    for name, part in module.named_children():
        if isinstance(part, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(4, part.num_features))
        without_batchnorm(part)


def redraw(module: nn.Module) -> None:
    """The same weights whatever went before: parents are trained with batch norm, so two processes make others."""
    random = torch.Generator().manual_seed(0)
    for p in module.parameters():
        if p.ndim > 1:
            p.data.copy_(torch.randn(p.shape, generator=random) * (2 / p[0].numel()) ** 0.5)


def trained(label: str, recipe: Recipe) -> dict[str, Any]:
    """The weights after a training without BatchNorm, its history, and the labels that all processes saw, by step."""
    on = contract.Trials(labels.parse(label))
    method = on.fresh()
    without_batchnorm(method)
    redraw(method)
    seen: dict[int, list[list[int]]] = {}

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        t, *batches = given
        gather(batches[0].label)  # as a loss may: all processes come here equally often
        kept = seen.setdefault(t.step, [[] for _ in batches])
        for stream, batch in zip(kept, batches, strict=True):
            stream.extend(batch.label.tolist())

    method.register_forward_pre_hook(look)
    progress = Progress()
    on.fit(method, recipe, progress=progress)
    everyone = gather_object([seen])
    steps = {
        step: [[label for part in parts for label in part] for parts in zip(*(s[step] for s in everyone), strict=True)]
        for step in seen
    }
    return {"state": contract.state(method), "history": progress.history, "labels": steps}


def resumed() -> dict[str, Any]:
    """Two ends, with BatchNorm: of a run in one go, and of one that stopped after 7 steps, as the first process saw."""
    on = contract.Trials(labels.parse("ce"))
    ends = []
    for stop in (None, 7):
        method, progress = on.fresh(), Progress()
        kept: list[Any] = [None]

        def after_step(fit: Fit, stop: int | None = stop, kept: list[Any] = kept) -> None:
            if fit.progress.step == stop:
                kept[0] = {key: value.clone() for key, value in fit.snapshot().items()}, fit.progress
                raise Interrupted

        try:
            on.fit(method, FULL, progress=progress, after_step=after_step)
        except Interrupted:
            broadcast_object_list(kept)  # what a checkpoint holds is the first process's
            tensors, progress = kept[0]
            parts = {name: part_of(tensors, name) for name in ("method", "optimizer", "average")}
            method = on.fresh()
            method.load_state_dict(parts["method"])
            on.fit(method, FULL, progress=progress, optimizer_state=parts["optimizer"], average_state=parts["average"])
        ends.append({"state": contract.state(method), "history": progress.history})
    return {"whole": ends[0], "resumed": ends[1]}


def part_of(tensors: dict[str, Any], name: str) -> dict[str, Any]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def evaluated(images: int) -> dict[str, Any]:
    """What a method of given weights says of so many images."""
    on = contract.Trials(labels.parse("ce"))
    test = toy((images // contract.CLASSES,) * contract.CLASSES, 2)
    outcome = evaluate(on.fresh(), test, on.accelerator)
    return {"logits": outcome.logits, "label": outcome.label, "macs": [outcome.macs, outcome.macs_used]}


def alike(method_state: dict[str, torch.Tensor]) -> bool:
    """Whether all processes hold the same weights."""
    return all(contract.same(method_state, other) for other in gather_object([method_state]))


def carry_out(name: str) -> dict[str, Any]:
    """A training of CASES, "resumed", "gathered", or "evaluated <images>"."""
    with double_precision():
        if name in CASES:
            found = trained(*CASES[name])
            return found | {"alike": alike(found["state"])}
        if name == "resumed":
            found = resumed()
            return found | {"alike": alike(found["whole"]["state"]) and alike(found["resumed"]["state"])}
        if name == "gathered":
            rank = torch.distributed.get_rank()
            return {"x": gather(torch.full((rank + 1, 2), float(rank))), "even": gather(torch.tensor([rank]))}
        return evaluated(int(name.split()[1]))


def main(file: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    Accelerator(cpu=True)  # the processes find each other
    found = {name: carry_out(name) for name in names} | {"world": torch.distributed.get_world_size()}
    if torch.distributed.get_rank() == 0:
        torch.save(found, file)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

"""The optimizer of a recipe, and its state by the names of the parameters; it never waits for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import LtbenchError
from .method import Method
from .recipe import Recipe

TABLES = (
    "relative_position_bias_table",
    "absolute_pos_embed",
    "pos_embed",
    "cls_token",
)  # as timm's networks name them


def make_optimizer(method: Method, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """A fused optimizer over the parameters that train; its rates are scalar tensors that the loop refills each epoch.

    Its state is made here, of the zeros that it starts from anyway, so that it is there to be saved and survives a
    masked first step. Raises LtbenchError where no parameter trains.
    """
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    if not trained:
        said = "it has none, or all are frozen; what trains nothing has a recipe() with epochs=0"
        raise LtbenchError(f"{type(method).__name__} trains no parameter: {said}")
    rate, decay = torch.zeros((), device=device), recipe.weight_decay
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            list(trained.values()), lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=decay,
            fused=True,
        )  # fmt: skip
    else:
        # capturable: a CUDA graph records no step otherwise
        optimizer = torch.optim.AdamW(
            _groups(trained, recipe), lr=rate, betas=recipe.betas, eps=recipe.eps, weight_decay=decay, fused=True,
            capturable=device.type == "cuda",
        )  # fmt: skip
        # torch warns of a capturable optimizer's eager steps: a run's first, and each epoch's short last one
        optimizer._warned_capturable_if_run_uncaptured = True
    for p in trained.values():
        optimizer.state[p].update(_fresh(p, recipe))
    return optimizer


def _groups(trained: Mapping[str, Tensor], recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that are decayed and those that are not: biases, norms and position tables, as in timm."""
    spared = [] if recipe.decay_norms else [n for n, p in trained.items() if p.ndim < 2 or n.split(".")[-1] in TABLES]
    decayed = [p for name, p in trained.items() if name not in spared]
    groups: list[dict[str, Any]] = [{"params": decayed}]
    groups += [{"params": [trained[name] for name in spared], "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _fresh(p: Tensor, recipe: Recipe) -> dict[str, Tensor]:
    if recipe.optimizer == "sgd":
        return {"momentum_buffer": torch.zeros_like(p)}
    count = torch.zeros((), dtype=torch.float32, device=p.device)
    return {"step": count, "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


def optimizer_tensors(optimizer: torch.optim.Optimizer, method: Method) -> dict[str, Tensor]:
    """The optimizer's state by <parameter's name>.<what it is>."""
    named = {id(p): name for name, p in method.named_parameters()}
    return {f"{named[id(p)]}.{key}": value for p, state in optimizer.state.items() for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, method: Method, tensors: dict[str, Tensor]) -> None:
    """Put tensors by optimizer_tensors()' names back into a fresh optimizer. Raises KeyError where one is missing."""
    for name, value in optimizer_tensors(optimizer, method).items():
        value.copy_(tensors[name])

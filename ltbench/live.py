"""From a run of the plan to what it trains: its method and its data, live on the device."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from . import backbones, registry
from .data.dataset import Dataset, open_dataset
from .data.streams import Data
from .data.transforms import Look, look_of
from .errors import LtbenchError
from .method import Method, Problem
from .runspec import RunSpec


def construct(spec: RunSpec, train: Data, accelerator: Accelerator) -> Method:
    """The run's method, untrained, on the device; its weights are drawn from torch's global generator."""
    device = accelerator.device
    problem = Problem(train.counts.cpu(), train.size, partial(backbones.build, spec.net, train.size))
    method = registry.get(spec.ref.method)(problem, **deepcopy(dict(spec.ref.options)))  # the plan's stay as they are
    return method.to(device).to(memory_format=torch.channels_last)


@lru_cache(maxsize=4)  # a suite of many draws has more sets than a device may hold
def _opened(data: Any, folder: Path, device: str, look: Look | None = None, workers: int | None = None) -> Dataset:
    return open_dataset(data, folder).seen(look, workers).to(torch.device(device), workers)


def on_device(spec: RunSpec, folder: Path, device: str, workers: int | None = None) -> Dataset:
    """The run's data on that device, as its recipe looks at them, read once a process.

    Raises LtbenchError where they are not what the plan saw, or a file that must be decoded now cannot be read.
    """
    listed = open_dataset(spec.data, folder)
    if listed.fingerprints != spec.identity.fingerprints:
        raise LtbenchError(f"{spec.data.label} has changed since the plan was made: its fingerprints differ")
    look = look_of(spec.data, listed.train.size, spec.recipe)
    return _opened(spec.data, folder, device, look, workers) if look else _opened(spec.data, folder, device)

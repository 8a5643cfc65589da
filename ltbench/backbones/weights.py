"""Files of weights that a backbone starts from: safetensors, or torch's own with nothing but tensors in it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import told
from .spec import BackboneSpec

SHOWN = 3  # names of each kind in a message


def sha256(path: str) -> str:
    """Of a file, in hex. Raises ValueError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"weights: {told(error)}") from None


def load(net: nn.Module, spec: BackboneSpec) -> None:
    """Take the file's weights; on the meta device only see whether they fit. Raises ValueError where they do not."""
    if sha256(spec.weights) != spec.origin:
        raise ValueError(f"{spec.weights} has changed since the plan was made: its sha256 differs")
    state = _fitted(net, spec.weights, _read(net, spec.weights))
    if not next(net.parameters()).is_meta:
        net.load_state_dict(state)


def _read(net: nn.Module, path: str) -> dict[str, Tensor]:
    """The tensors of a file under timm's names, position tables resized to the network's as timm does it."""
    from timm.models import load_state_dict

    adapt = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    try:
        with torch.device("cpu"):
            state = load_state_dict(path, weights_only=True)
            return dict(adapt(state, net) if adapt else state)
    except Exception as error:  # whatever a file may hold
        raise ValueError(f"{path}: cannot be read as weights: {first_line(error)}") from None


def _fitted(net: nn.Module, path: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the network's state dict becomes; a classifier in the file is left out. Raises ValueError on a mismatch."""
    wanted = net.state_dict()
    given = getattr(net, "pretrained_cfg", {}).get("classifier") or ()
    heads = tuple(f"{name}." for name in ([given] if isinstance(given, str) else given))
    # files of before 2018 do not count BatchNorm's batches
    counted = {key: torch.zeros_like(value) for key, value in wanted.items() if key.endswith("num_batches_tracked")}
    state = {**counted, **{key: value for key, value in found.items() if key in wanted or not key.startswith(heads)}}
    missing = [key for key in wanted if key not in state]
    strange = [key for key in state if key not in wanted]
    shapes = [
        f"{key} {_shape(state[key])}, not {_shape(value)}"
        for key, value in wanted.items()
        if key in state and (not isinstance(state[key], Tensor) or state[key].shape != value.shape)
    ]
    faults = [
        f"{len(names)} {what} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for what, names in (("missing", missing), ("unexpected", strange), ("of another shape", shapes))
        if names
    ]
    if faults:
        raise ValueError(f"{Path(path).name} does not fit this backbone: {'; '.join(faults)}")
    return state


def _shape(value: object) -> str:
    return f"[{', '.join(map(str, value.shape))}]" if isinstance(value, Tensor) else type(value).__name__


def first_line(error: BaseException) -> str:
    """An error's kind and the first line of what it says."""
    lines: Sequence[str] = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__

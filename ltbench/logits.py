"""The test logits that finished runs leave under runs/, read without torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from .record import Record

if TYPE_CHECKING:
    import numpy as np

FILE = "logits.safetensors"


def read(runs: Path | None, record: Record) -> tuple[np.ndarray, np.ndarray] | None:
    """(logits [M, C] float32, labels [M]) of that run; None where they are absent, damaged or another run's."""
    if runs is None:
        return None
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    folder = runs / record.stem
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        content = (folder / FILE).read_bytes()
        if manifest["key"] != record.key or manifest["sha256"][FILE] != hashlib.sha256(content).hexdigest():
            return None
        tensors = load(content)
        logits, label = tensors["logits"].astype(np.float32), tensors["label"].astype(np.int64)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    fits = logits.shape == (sum(record.total), len(record.data.counts)) and label.shape == (len(logits),)
    return (logits, label) if fits else None

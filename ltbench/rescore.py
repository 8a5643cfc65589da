"""A finished run's record as if its logits had been adjusted after training: from its stored logits, torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import manifest
from .record import Record, encode
from .scores import calibration

if TYPE_CHECKING:
    import numpy as np


def logits_of(record: Record, runs: Path) -> np.ndarray | None:
    """[M, C] the test logits that a run has left, class after class; None where they are not there, whole."""
    folder, file = runs / record.stem, "logits.safetensors"
    try:
        manifest.verify(folder, record.key, only=file)
    except manifest.DamagedError:
        return None
    from safetensors.numpy import load_file

    found = load_file(folder / file)["logits"]
    return found if found.shape == (sum(record.total), len(record.total)) else None


def adjusted(record: Record, logits: np.ndarray, tau: float) -> Record:
    """The record as of logits - tau * log(training frequency) (Menon et al. 2021, post hoc); members are left out."""
    import numpy as np

    counts = np.asarray(record.data.counts, dtype=np.float64)
    moved = logits.astype(np.float64) - tau * np.log(counts / counts.sum())
    label = np.repeat(np.arange(len(counts)), record.total)
    predicted = moved.argmax(1)
    right = np.bincount(label[predicted == label], minlength=len(counts))
    odds = np.exp(moved - moved.max(1, keepdims=True))
    return record.model_copy(
        update={
            "right": tuple(right.tolist()),
            "predictions": encode(predicted),
            "calibration": calibration(odds.max(1) / odds.sum(1), predicted == label),
            "members": (),
        }
    )

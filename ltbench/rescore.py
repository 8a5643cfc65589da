"""A finished run's record as if its logits had been adjusted after training: from its stored logits, torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import manifest
from .record import Calibration, Record, encode

if TYPE_CHECKING:
    import numpy as np

BINS = 15


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
    return record.model_copy(
        update={
            "right": tuple(right.tolist()),
            "predictions": encode(predicted),
            "calibration": calibration(moved, predicted == label),
            "members": (),
        }
    )


def calibration(logits: np.ndarray, right: np.ndarray) -> Calibration:
    """Of logits [M, C] and hits [M]: 15 equal bins of confidence; a bin holds its upper edge, as in evaluate.py."""
    import numpy as np

    shifted = np.exp(logits - logits.max(1, keepdims=True))
    confidence = shifted.max(1) / shifted.sum(1)
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return Calibration(
        count=tuple(np.bincount(bins, minlength=BINS).tolist()),
        right=tuple(np.bincount(bins[right], minlength=BINS).tolist()),
        confidence=tuple(np.bincount(bins, confidence, minlength=BINS).tolist()),
    )

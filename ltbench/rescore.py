"""A finished run's record as if its logits had been adjusted after training: from its stored logits, torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import manifest
from .record import Record, encode
from .scores import calibration

if TYPE_CHECKING:
    import numpy as np


FILE = "logits.safetensors"


def left_logits(record: Record, runs: Path) -> bool:
    """Whether a run has left logits, damaged or not."""
    return (runs / record.stem / FILE).exists()


def logits_of(record: Record, runs: Path) -> np.ndarray | None:
    """[M, C] the test logits that a run has left, class after class; None where they are not there, whole."""
    folder = runs / record.stem
    try:
        manifest.verify(folder, record.key, [FILE], {record.numbers})
    except manifest.DamagedError:
        return None
    from safetensors.numpy import load_file

    found = load_file(folder / FILE)["logits"]
    return found if found.shape == (sum(record.total), len(record.total)) else None


def moved_logits(record: Record, logits: np.ndarray, tau: float) -> np.ndarray:
    """Logits [M, C] less tau * log(training frequency) [C] (Menon et al. 2021, post hoc), in double precision."""
    import numpy as np

    counts = np.asarray(record.data.counts, dtype=np.float64)
    shifted: np.ndarray = logits.astype(np.float64) - tau * np.log(counts / counts.sum())
    return shifted


def adjusted(record: Record, logits: np.ndarray, tau: float) -> Record:
    """The record as of moved_logits(); members are left out."""
    import numpy as np

    moved = moved_logits(record, logits, tau)
    label = np.repeat(np.arange(len(record.total)), record.total)
    predicted = moved.argmax(1)
    right = np.bincount(label[predicted == label], minlength=len(record.total))
    odds = np.exp(moved - moved.max(1, keepdims=True))
    return record.model_copy(
        update={
            "right": tuple(right.tolist()),
            "predictions": encode(predicted),
            "calibration": calibration(odds.max(1) / odds.sum(1), predicted == label),
            "members": (),
        }
    )

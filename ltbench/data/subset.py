"""Cutting a long tail from a balanced pool, as LDAM-DRW does it (Cao et al. 2019), row by row."""

import hashlib
from collections.abc import Sequence

import numpy as np


def longtail_rows(labels: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """[N] row numbers of the subset: the first counts[c] of each class's shuffled rows, classes in ascending order.

    One legacy numpy generator, seeded 0, shuffles class after class: the canonical subset of the field. labels: [M].
    Raises ValueError where a class of the pool is too small.
    """
    shuffle = np.random.RandomState(0).shuffle
    chosen = []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise ValueError(f"class {label} has {len(rows)} images, {count} are asked for")
        shuffle(rows)
        chosen.append(rows[:count])
    return np.concatenate(chosen)


def row_fingerprint(rows: np.ndarray) -> str:
    """sha256 of the row numbers as int32, little endian."""
    return hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest()


def pixel_fingerprint(images: np.ndarray) -> str:
    """sha256 of uint8 images [N, H, W, 3]."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()

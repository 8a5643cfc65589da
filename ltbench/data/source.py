"""What every data set hands over: a balanced pool of images held in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Source:
    """A balanced pool of images held in memory, before a long tail is cut from it.

    Labels run from 0 to C - 1 in the order of `classes`; training counts fall with the label once the tail is cut.
    """

    train_image: np.ndarray  # [N, H, W, 3] uint8
    train_label: np.ndarray  # [N] int64
    test_image: np.ndarray  # [M, H, W, 3] uint8
    test_label: np.ndarray  # [M] int64
    classes: tuple[str, ...]  # C names
    groups: tuple[int, int]  # many > groups[0] >= medium >= groups[1] > few, in training images
    absent: np.ndarray | None = None  # [N] bool: training images whose pixels are not here, as in a pack

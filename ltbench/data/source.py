"""What every data set hands over: a balanced pool of images held in memory, or lists of files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    paths: tuple[np.ndarray, np.ndarray] | None = None  # [N] and [M] str: the files of a set that was packed from them
    sizes: tuple[np.ndarray, np.ndarray] | None = None  # [N] and [M] int64: their bytes; of a folder of one's own
    root: str | None = None  # of that folder, as the suite has it


@dataclass(frozen=True, eq=False)
class Listed:
    """Labelled images in files, none of them opened yet. Labels run from 0 to C - 1 in the order of `classes`."""

    root: Path
    train_path: np.ndarray  # [N] str, relative to root
    train_label: np.ndarray  # [N] int64
    test_path: np.ndarray  # [M] str
    test_label: np.ndarray  # [M] int64
    classes: tuple[str, ...]  # C names
    groups: tuple[int, int]  # as in Source
    mean: tuple[float, float, float]  # of each channel, of pixel values from 0 to 1
    std: tuple[float, float, float]

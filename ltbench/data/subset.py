"""Cutting a long tail from a balanced pool, as LDAM-DRW does it (Cao et al. 2019), row by row."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np


def longtail_rows(labels: np.ndarray, counts: Sequence[int], draw: int = 0) -> np.ndarray:
    """[N] row numbers of the subset: the first counts[c] of each class's shuffled rows, classes in ascending order.

    One legacy numpy generator shuffles class after class; its seed is the draw. Seeded 0 it gives the canonical subset
    of the field. labels: [M]. Raises ValueError where a class of the pool is too small.
    """
    shuffle = np.random.RandomState(draw).shuffle
    chosen = []
    for label, count in enumerate(counts):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise ValueError(f"class {label} has {len(rows)} images, {count} are asked for")
        shuffle(rows)
        chosen.append(rows[:count])
    return np.concatenate(chosen)


def expected_overlap(counts: Sequence[int], pool: Sequence[int]) -> float | None:
    """The share of a draw's images that another draw has too, on average over draws; None without images.

    counts, pool: images of the same classes in a draw, and in the pool it is drawn from. An image of class c is in
    another draw with probability counts[c] / pool[c].
    """
    shared = sum(n * n / whole for n, whole in zip(counts, pool, strict=True))
    return shared / sum(counts) if sum(counts) else None


def nearest_groups(counts: Sequence[int], canonical: Sequence[int], groups: tuple[int, int]) -> tuple[int, int]:
    """Thresholds that split classes by counts as `groups` splits them by canonical counts, both falling.

    A smaller subset keeps the groups of the whole one. Where classes of two groups have equally many images, no
    threshold parts them: then the ones that misplace fewest classes.
    """
    many, few = groups
    steps = sorted({0, *counts, *(n + 1 for n in counts)})

    def wrong_many(t: int) -> int:
        return sum((n > t) != (full > many) for n, full in zip(counts, canonical, strict=True))

    def wrong_few(t: int) -> int:
        return sum((n < t) != (full < few) for n, full in zip(counts, canonical, strict=True))

    upper = min(steps, key=lambda t: (wrong_many(t), t))
    return upper, min((t for t in steps if t <= upper + 1), key=lambda t: (wrong_few(t), t))


def row_fingerprint(rows: np.ndarray) -> str:
    """sha256 of the row numbers as int32, little endian."""
    return hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest()


def list_fingerprint(paths: Iterable[str], labels: np.ndarray, sizes: np.ndarray | None = None) -> str:
    """sha256 of lines "path label" in UTF-8, each with a newline behind it; what the files hold has no say.

    sizes: [N] of the files, in bytes; the lines are then "path label size".
    """
    ends = labels.tolist() if sizes is None else map("{} {}".format, labels.tolist(), sizes.tolist())
    lines = (f"{path} {end}\n" for path, end in zip(paths, ends, strict=True))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def pixel_fingerprint(images: np.ndarray) -> str:
    """sha256 of uint8 images [N, H, W, 3]."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()

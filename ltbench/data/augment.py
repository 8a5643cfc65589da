"""Crop, flip and rotation of a whole batch in one table-driven gather, on whatever device holds the images.

The same laws as torchvision's RandomCrop(padding=4), RandomHorizontalFlip and RandomRotation(15) in that order, each
image drawn for itself. Rotated pixels are PIL's own nearest ones: the table is made by letting PIL rotate an image of
pixel numbers. Angles are quantised to 30 / 511 of a degree.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .seeds import generator

PAD = 4  # pixels of black around each image, from which the crop is taken
MAX_ANGLE = 15.0
ANGLES = 512
UPRIGHT = ANGLES  # the table row for no rotation at all, after those of the angles


class Augmentation(NamedTuple):
    """The augmentation of each view of each position of an epoch."""

    turn: Tensor  # [V, N] row of the gather table: angle, and ANGLES more where the image is mirrored
    shift: Tensor  # [V, N] where the crop begins, as an offset in the padded image


def draw(augment: tuple[str, ...], views: int, positions: int, size: int, place: tuple[object, ...]) -> Augmentation:
    """The draws of one epoch: a function of place (run seed, stream, epoch) alone. size: pixels a side."""
    random = generator(*place)
    # View after view, so that the first one's draws do not depend on how many there are.
    drawn = [_draw_view(augment, positions, size, random) for _ in range(views)]
    return Augmentation(torch.stack([turn for turn, _ in drawn]), torch.stack([shift for _, shift in drawn]))


def _draw_view(augment: tuple[str, ...], positions: int, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    # All are drawn, whatever is used, so that a recipe without rotation crops as one with it.
    flip = torch.randint(0, 2, (positions,), generator=random)
    down = torch.randint(0, 2 * PAD + 1, (positions,), generator=random)
    right = torch.randint(0, 2 * PAD + 1, (positions,), generator=random)
    angle = torch.randint(0, ANGLES, (positions,), generator=random)
    if "crop" not in augment:
        down, right = torch.full_like(down, PAD), torch.full_like(right, PAD)
    turn = (angle if "rotate15" in augment else torch.full_like(angle, UPRIGHT)) + (ANGLES + 1) * flip * (
        "flip" in augment
    )
    return turn, down * (size + 2 * PAD) + right


@lru_cache(maxsize=4)
def gather_table(size: int, rotated: bool = True) -> Tensor:
    """[2 (ANGLES + 1), size * size] offset in the padded image of each output pixel at crop (0, 0); -1 is outside.

    The rows: ANGLES angles from -15 to 15 degrees and upright, then the same of the mirrored image. Not rotated: [2],
    upright and mirrored alone.
    """
    numbers = np.arange(1, size * size + 1, dtype=np.int32).reshape(size, size)
    angles = [*(np.linspace(-MAX_ANGLE, MAX_ANGLE, ANGLES) if rotated else ()), 0.0]
    rows = [
        np.asarray(Image.fromarray(image).rotate(a)) for image in (numbers, numbers[:, ::-1].copy()) for a in angles
    ]
    source = torch.from_numpy(np.stack(rows)).long().flatten(1) - 1
    offset = source // size * (size + 2 * PAD) + source % size
    return torch.where(source < 0, -1, offset)


def bytes_of(images: int, size: int, augment: tuple[str, ...]) -> int:
    """What so many images take where they are held in memory: themselves, with their border, and the table."""
    rows = 2 * (ANGLES + 1) if "rotate15" in augment else 2
    return images * 3 * (size**2 + (size + 2 * PAD) ** 2) + rows * size**2 * 8


def pad(images: Tensor) -> Tensor:
    """[N * (H + 8) * (W + 8), 3]: images [N, H, W, 3] with a black border, flattened for the gather."""
    return torch.nn.functional.pad(images, (0, 0, PAD, PAD, PAD, PAD)).flatten(0, 2)


def take(padded: Tensor, rows: Tensor, turn: Tensor, shift: Tensor, table: Tensor, size: int) -> Tensor:
    """[B, 3, size, size] uint8, channels last in memory: images `rows` [B], each turned [B] and shifted [B].

    A table that is not rotated knows no angles: each turn must then be upright, mirrored or not.
    """
    offset = table[turn if len(table) > 2 else turn // (ANGLES + 1)]
    # The padded image's first pixel is black: it stands for all that the rotation takes from outside.
    offset = torch.where(offset < 0, 0, offset + shift[:, None])
    pixels = padded[rows[:, None] * (size + 2 * PAD) ** 2 + offset]
    return pixels.view(len(rows), size, size, 3).permute(0, 3, 1, 2)

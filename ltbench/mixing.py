"""Mixed images and soft labels: mixup, CutMix and label smoothing, as timm does them for a whole batch at a time.

How a micro-batch is mixed is drawn on the CPU as four numbers, a function of where it stands alone; they are applied
with tensor operations on the device, so that a recorded step is replayed with new ones.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .data.seeds import seed_of
from .losses import as_shares
from .method import Batch
from .recipe import Recipe

PARTS = 4  # share of the own label, 1 where a box is pasted (else 0), the box's centre: down, right (from 0 to 1)


def draw(recipe: Recipe, *place: object) -> list[float]:
    """[PARTS] how the micro-batch of a place (run seed, stream, step, micro-batch, rank) is mixed."""
    random = np.random.default_rng(seed_of(place[0], "mix", *place[1:]))
    # All are drawn, whatever is used, so that a recipe without mixup pastes as one with it where both paste.
    coin, down, right = random.random(3)
    paste = bool(recipe.cutmix) and (coin < 0.5 or not recipe.mixup)
    alpha = recipe.cutmix if paste else recipe.mixup
    return [random.beta(alpha, alpha) if alpha else 1.0, float(paste), down, right]


def epoch(recipe: Recipe, seed: int, stream: int, first: int, steps: int, rank: int, device: torch.device) -> Tensor:
    """[steps, micro-batches, PARTS] fp32 on the device: how one stream's batches from step `first` on are mixed."""
    drawn = [
        [draw(recipe, seed, stream, step, micro, rank) for micro in range(recipe.accumulate)]
        for step in range(first, first + steps)
    ]
    return torch.tensor(drawn, dtype=torch.float32).to(device)


def mixed(batch: Batch, mix: Tensor, recipe: Recipe, classes: int) -> Batch:
    """The batch with each image mixed with the one that stands as far from the end; target [B, C].

    mix: [PARTS]; label stays that of the image itself.
    """
    target = as_shares(batch.label, classes)
    target = target * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes
    if not (recipe.mixup or recipe.cutmix):
        return batch._replace(target=target)
    share, paste, down, right = mix.unbind()
    side = (1 - share).sqrt()
    height, width = batch.image.shape[-2:]
    box = paste * _within(height, down, side)[:, None] * _within(width, right, side)
    kept = (1 - box) * torch.where(paste > 0, torch.ones_like(share), share)  # [H, W] of the image's own pixels
    image = kept * batch.image + (1 - kept) * batch.image.flip(-4)
    own = torch.where(paste > 0, kept.mean(), share)  # a box that reaches over the edge takes less of the label
    return batch._replace(image=image, target=own * target + (1 - own) * target.flip(0))


def _within(pixels: int, centre: Tensor, side: Tensor) -> Tensor:
    """[pixels] 1 in the stretch of that share of a side around the centre, cut at the edges, else 0."""
    at, middle = torch.arange(pixels, device=side.device), (centre * pixels).floor()
    half = ((side * pixels).floor() / 2).floor()
    return ((at >= middle - half) & (at < middle + half)).to(side.dtype)

"""Losses as pure functions. logits: [B, C], fp32; target: [B] class numbers or [B, C] shares of mixed labels."""

from collections.abc import Iterable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of scalar terms, added in their order."""
    return reduce(torch.add, terms)


def as_shares(target: Tensor, classes: int) -> Tensor:
    """[B, C] label shares of a target that may be [B] class numbers."""
    return target if target.ndim == 2 else F.one_hot(target, classes).float()


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy, scalar; with class weights [C], the weighted mean (divided by the batch's weight sum).

    torch divides by the weight sum for class numbers but by B for shares; here both divide by the weight sum.
    """
    if weight is None or target.ndim == 1:
        return F.cross_entropy(logits, target, weight)
    weighted = target * weight
    return -(weighted * logits.log_softmax(1)).sum() / weighted.sum()


def ldam(logits: Tensor, target: Tensor, margins: Tensor, scale: float, weight: Tensor | None = None) -> Tensor:
    """Label-distribution-aware margin loss (Cao et al. 2019, eq. 12), scalar.

    logits: already multiplied by scale, as a cosine head gives them; margins: [C]; weight: [C] or None. A mixed
    label lowers each of its classes by its share of that class's margin.
    """
    margin = margins[target][:, None] * F.one_hot(target, len(margins)) if target.ndim == 1 else target * margins
    return cross_entropy(logits - scale * margin, target, weight)


def focal(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> Tensor:
    """Focal loss (Lin et al. 2017, eq. 4): cross-entropy times (1 - p)^gamma, scalar.

    weight: [C] or None; with it, the weighted mean, as of cross_entropy().
    """
    log_p = logits.log_softmax(1)
    shares = as_shares(target, logits.shape[1])
    shares = shares if weight is None else shares * weight
    # p may reach 1 exactly, where the derivative of (1 - p)^gamma does not exist for gamma < 1
    hardness = (1 - log_p.exp()).clamp(min=torch.finfo(log_p.dtype).eps) ** gamma
    return -(shares * hardness * log_p).sum() / shares.sum()


def balanced_softmax(logits: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy of logits + log n_c (Ren et al. 2020, eq. 4), scalar; counts: [C]."""
    return cross_entropy(logits + counts.log(), target)


def logit_adjusted(logits: Tensor, target: Tensor, log_prior: Tensor, tau: float = 1.0) -> Tensor:
    """Cross-entropy of logits + tau log prior (Menon et al. 2021, eq. 10), scalar; log_prior: [C]."""
    return cross_entropy(logits + tau * log_prior, target)


def divergence(logits: Tensor, goal: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """KL(softmax(goal / T) || softmax(logits / T)), mean over the batch, scalar; no gradient into goal [B, C].

    temperature: a number, or [C] by which the columns are divided.
    """
    wanted = F.softmax(goal.detach() / temperature, dim=1)
    return F.kl_div(F.log_softmax(logits / temperature, dim=1), wanted, reduction="batchmean")

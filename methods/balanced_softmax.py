"""Balanced softmax."""

from torch import Tensor

from ltbench import Batch, Clock, losses, register

from .ce import CE


@register("balanced_softmax")
class BalancedSoftmax(CE):
    """Cross-entropy of logits raised by the logarithm of each class's training images."""

    paper = "arXiv:2007.10740"

    def loss(self, t: Clock, batch: Batch) -> dict[str, Tensor]:
        """Eq. 4."""
        return {"balanced": losses.balanced_softmax(self.logits(batch.image), batch.target, self.counts)}

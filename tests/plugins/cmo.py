"""Context-rich minority oversampling: images drawn class by class, pasted onto images as they come."""

from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor

from ltbench import Batch, Clock, Problem, Stream, by_class, by_image, losses, register
from ltbench.methods.ce import CE


@register("cmo")
class CMO(CE):
    """CutMix whose patches show all classes alike and whose backgrounds do not; chance: of a batch to be mixed.

    The published code leaves the first and the last three epochs alone.
    """

    paper = "arXiv:2112.00412"

    def __init__(self, problem: Problem, *, chance: Annotated[float, Interval(ge=0, le=1)] = 0.5) -> None:
        super().__init__(problem)
        self.chance = chance

    def streams(self) -> tuple[Stream, ...]:
        """Backgrounds; patches, whose images weigh 1 / n_c in the published code, so that classes are alike."""
        return by_image, by_class

    def loss(self, t: Clock, back: Batch, patch: Batch) -> dict[str, Tensor]:
        """Cross-entropy with the labels of both, by their share of the pixels."""
        inside = self.box(back.image)
        logits, share = self.logits(torch.where(inside, patch.image, back.image)), inside.float().mean()
        return {
            "back": (1 - share) * losses.cross_entropy(logits, back.target),
            "patch": share * losses.cross_entropy(logits, patch.target),
        }

    def box(self, image: Tensor) -> Tensor:
        """[H, W] which pixels are pasted: a box of uniform share around a uniform point, cut at the border."""
        share, y, x, luck = torch.rand(4, device=image.device).unbind()
        half = share.sqrt() / 2 * (luck < self.chance)
        rows, columns = ((torch.arange(n, device=image.device) + 0.5) / n for n in image.shape[-2:])
        return ((rows - y).abs() < half)[:, None] & ((columns - x).abs() < half)

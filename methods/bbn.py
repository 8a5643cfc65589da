"""The bilateral-branch network."""

import torch
from torch import Tensor

from ltbench import Batch, Clock, LinearHead, Method, Prediction, Problem, Stream, by_image, by_rarity, losses, register


@register("bbn")
class BBN(Method):
    """Two branches, one fed by image and one by rarity, mixed by a parabola over the epochs."""

    paper = "arXiv:1912.02413"

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.trunk, self.branches, dim = problem.backbone().split(2, last="block")
        # one head on both features side by side is the sum of two heads' logits
        self.head = LinearHead(2 * dim, problem.classes)

    def streams(self) -> tuple[Stream, ...]:
        """The conventional and the re-balancing one: class odds n_max / n_c (eq. 1)."""
        return by_image, by_rarity

    def loss(self, t: Clock, common: Batch, rare: Batch) -> dict[str, Tensor]:
        """Eq. 3, with alpha from eq. 4."""
        alpha = 1 - t.progress**2
        logits = self.mix(self.feature(0, common.image), self.feature(1, rare.image), alpha)
        return {
            "common": alpha * losses.cross_entropy(logits, common.target),
            "rare": (1 - alpha) * losses.cross_entropy(logits, rare.target),
        }

    def predict(self, image: Tensor) -> Prediction:
        """Both branches on the same image, alpha one half."""
        shared = self.trunk(image)
        return Prediction(self.mix(self.branches[0](shared), self.branches[1](shared), 0.5))

    def feature(self, branch: int, image: Tensor) -> Tensor:
        """[B, D] of one branch."""
        return self.branches[branch](self.trunk(image))

    def mix(self, left: Tensor, right: Tensor, alpha: float) -> Tensor:
        """[B, C]; the 2, from the published code, keeps the features' scale at alpha one half."""
        return self.head(2 * torch.cat([alpha * left, (1 - alpha) * right], dim=1))

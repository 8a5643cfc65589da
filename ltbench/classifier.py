"""The shape that most methods share: features, one head per expert, logits averaged."""

from typing import Any

import torch
from torch import Tensor, nn

from .method import Method, Prediction


class Classifier(Method):
    """A backbone and E heads. A subclass sets `heads`, and `backbone` or features() of its own.

    This is what "backbone" means when a method offers it: features() and heads; "linear_head": all heads are
    LinearHead; "experts": trunk, branches and heads that can be run one expert at a time.
    """

    backbone: nn.Module
    heads: Any  # nn.ModuleList of E heads; Any, for what a head has that a Module has not

    @classmethod
    def offers(cls, options: Any) -> tuple[str, ...]:
        """Its features; a subclass adds "linear_head" or "experts" where it has them, or offers nothing."""
        return ("backbone",)

    def features(self, image: Tensor) -> Tensor:
        """[E, B, D] what each head gets to see."""
        return self.backbone(image)[None]

    def experts(self, image: Tensor) -> Tensor:
        """[E, B, C] the logits of each expert."""
        return self.classify(self.features(image))

    def classify(self, features: Tensor) -> Tensor:
        """[E, B, C] the heads' logits for features [E, B, D]."""
        return torch.stack([head(feature) for head, feature in zip(self.heads, features, strict=True)])

    def logits(self, image: Tensor) -> Tensor:
        """[B, C] the experts' mean."""
        return self.experts(image).mean(0)

    def predict(self, image: Tensor) -> Prediction:
        """The experts' mean, and the experts where there are several."""
        experts = self.experts(image)
        return Prediction(experts.mean(0), members=experts if len(experts) > 1 else None)

"""Any model of timm as a backbone; those of a known family can be split."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import nn

from . import families, models
from .base import Backbone, Last
from .spec import BackboneSpec

KINDS = "timm's ResNets, ResNeXts, ConvNeXts, Swins and ViTs"


class TimmBackbone(Backbone):
    """A timm model without its classifier: cut into stages where its family is known, else one stage that is all.

    Features are timm's own: forward_head(forward_features(image), pre_logits=True).
    """

    def __init__(self, spec: BackboneSpec, image_size: int) -> None:
        super().__init__()
        self.spec, self.image_size = spec, image_size
        net = models.create(spec, image_size)
        self._dim = int(net.head_hidden_size if hasattr(net, "head_hidden_size") else net.num_features)  # type: ignore
        chain = families.cut(net)
        self.known = chain is not None
        if chain is None:
            self.stages, self.pool, self.dims = nn.Sequential(net), nn.Identity(), (self._dim,)
        else:
            self.stages = nn.Sequential(*(nn.Sequential(*stage) for stage in chain.stages))
            self.pool, self.dims = chain.pool, chain.dims

    @property
    def dim(self) -> int:
        """D; some pools make more features than the last stage has channels."""
        return self._dim

    def split(
        self, branches: int, *, last: Last = "stages", width: float = 1.0
    ) -> tuple[nn.Module, nn.ModuleList, int]:
        """See Backbone.split; branches of a backbone that starts from weights are copies of them."""
        if not self.known:
            raise ValueError(f"{self.spec.name} cannot be split into branches: only {KINDS} can")
        if width != 1 and last == "block":
            raise ValueError(f"a single last block keeps its channels: width must be 1, got {width}")
        if width != 1 and self.spec.weights:
            raise ValueError(f"weights do not fit narrower stages: set width: 1, got {width:g}")
        *first, before, final = self.stages.children()
        if last == "block":
            trunk = nn.Sequential(*first, before, nn.Sequential(*list(final.children())[:-1]))
        else:
            trunk = nn.Sequential(*first)
        with next(self.parameters()).device:  # on the meta device no branch takes memory either
            rests = [self._rest(last, width) for _ in range(branches)]
        dim = rests[0].dims[-1] * (self.dim // self.dims[-1])
        return trunk, nn.ModuleList(nn.Sequential(*private(rest, last), rest.pool) for rest in rests), dim

    def _rest(self, last: Last, width: float) -> families.Cut:
        """A chain of which one branch is made: fresh, or a copy of these weights."""
        if self.spec.weights:
            return copy.deepcopy(families.Cut([list(stage.children()) for stage in self.stages], self.pool, self.dims))
        make = partial(models.create, self.spec, self.image_size)
        if width != 1:
            with torch.device("meta"):
                model = make()
            return families.narrower(model, width, make)
        chain = families.cut(make())
        assert chain
        return chain


def private(chain: families.Cut, last: Last) -> list[nn.Module]:
    """The layers of a branch, its pool aside."""
    return [chain.stages[-1][-1]] if last == "block" else [nn.Sequential(*stage) for stage in chain.stages[-2:]]

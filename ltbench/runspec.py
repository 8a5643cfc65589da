"""RunSpec: one training run, as the plan has worked it out and the trainer carries it out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from .backbones import BackboneSpec
from .data.spec import DataSpec
from .keys import Identity, stem
from .method import Ref
from .recipe import Recipe
from .record import Parent


@dataclass(frozen=True)
class RunSpec:
    """One training run, fully resolved."""

    suite: str
    data: DataSpec
    counts: tuple[int, ...]
    groups: tuple[int, int]
    size: int  # pixels a side
    net: BackboneSpec
    ref: Ref  # options resolved; seed is the run's own, not an offset
    label: str
    recipe: Recipe
    suite_recipe: Recipe
    parents: Mapping[str, Parent]
    identity: Identity
    key: str

    @property
    def backbone(self) -> str:
        """As the table shows it."""
        return self.net.label

    @property
    def stem(self) -> str:
        """The name of its record and of its folder."""
        return stem(self.ref.method, self.key, self.ref.seed)


def block_of(among: Iterable[RunSpec]) -> Callable[[RunSpec], str]:
    """What tells a run's block, its data and backbone, from those of the others; "" where all are of one."""

    def data(spec: RunSpec) -> str:
        return replace(spec.data, draw=None).label  # the seed tells the draw

    specs = list(among)
    nets, sets = {spec.net.label for spec in specs}, {data(spec) for spec in specs}
    return lambda spec: ", ".join([data(spec)] * (len(sets) > 1) + [spec.net.label] * (len(nets) > 1))

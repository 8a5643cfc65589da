"""One method on toy data, with the runs that it starts from: what the tests of the contract try things on."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch

from . import answers, backbones, machine, registry, world
from .data.memory import Epoch, Images, Norm
from .data.seeds import seed_of
from .losses import as_shares
from .method import Batch, Clock, Method, Problem, Ref
from .recipe import Recipe
from .trainer import Fit

CLASSES, SIZE = 5, 12
# the last of its epochs is where methods re-weight: 4/5 of the run; two steps each, the second short
RECIPE = Recipe(epochs=5, batch_size=32, lr=0.05, warmup=0.0, augment=("crop", "flip"))
LEARN = Recipe(epochs=12, batch_size=16, lr=0.05, warmup=0.0, augment=())
BACKBONE = "resnet8"


class BrokenContract(AssertionError):
    """A method does not do what the contract asks."""


def need(holds: bool, message: str) -> None:
    """Raises BrokenContract with that message unless it holds."""
    if not holds:
        raise BrokenContract(message)


def toy(counts: tuple[int, ...], seed: int) -> Images:
    """Separable images: a colour pattern per class and some noise."""
    random = torch.Generator().manual_seed(7)
    patterns = torch.rand(len(counts), SIZE, SIZE, 3, generator=random)
    label = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    noise = 0.25 * torch.randn(len(label), SIZE, SIZE, 3, generator=torch.Generator().manual_seed(seed))
    image = ((patterns[label] + noise).clamp(0, 1) * 255).byte()
    return Images(image, label, len(counts), Norm((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


class Trials:
    """One method on toy data, with the parents it needs, each trained once; once for all that share `trained`."""

    def __init__(self, ref: Ref, trained: dict[str, Method] | None = None, trail: tuple[str, ...] = ()) -> None:
        if world.size() == 1:
            world.train_alone()
        self.ref = replace(ref, options=registry.resolve(ref.method, ref.options))
        self.cls = registry.get(ref.method)
        whole = toy((24, 14, 8, 4, 3), 0)
        self.train, self.test = whole.split()[0] if ref.part == "fit" else whole, toy((6,) * CLASSES, 1)
        self.accelerator = machine.make_accelerator("cpu", "fp32")  # whatever the one before it was for
        self.trained = {} if trained is None else trained
        here = repr((ref.method, registry.canonical(self.ref.options), ref.seed, ref.part))
        need(here not in trail, f"{ref.method} starts from itself")
        self.trail = (*trail, here)
        self.parents = self._parents(LEARN)
        self.recipe = self._recipe(RECIPE)

    def _parents(self, recipe: Recipe) -> dict[str, Method]:
        parents = {}
        for role, asked in self.ask("needs", self.ref.options).items():
            part = answers.part_of(self.ref, asked)
            other = Trials(replace(asked, seed=0, part=part), self.trained, self.trail)
            lacking = set(asked.wants) - set(other.ask("offers", other.ref.options))
            need(not lacking, f"{role} must offer {', '.join(lacking)}, which {asked.method} does not")
            key = repr((asked.method, registry.canonical(other.ref.options), asked.seed, part, recipe))
            if key not in self.trained:
                method = other.fresh(asked.seed)
                other.fit(method, other.ask("recipe", recipe, other.ref.options), asked.seed)
                live = other.build()  # as a run has its parents: from their weights alone
                live.load_state_dict(method.state_dict())
                self.trained[key] = live.requires_grad_(False).eval()
            parents[role] = self.trained[key]
        return parents

    def _recipe(self, base: Recipe) -> Recipe:
        """The method's own recipe; a second stage cut to the toy's few epochs, in batches that make several steps."""
        own = self.ask("recipe", base, self.ref.options)
        return own.with_(epochs=min(own.epochs, base.epochs), batch_size=min(own.batch_size, base.batch_size))

    def ask(self, hook: str, *arguments: Any) -> Any:
        """What a planning hook answers. Raises BrokenContract where no plan can be made of it."""
        answer = getattr(self.cls, hook)(*arguments)
        refusal = answers.refusal(hook, answer)
        need(not refusal, refusal)
        return answer

    def build(self) -> Method:
        """The method, untrained, without parents."""
        problem = Problem(self.train.counts, SIZE, lambda: backbones.build(BACKBONE))
        return self.cls(problem, **deepcopy(dict(self.ref.options)))  # as a run has them: its own

    def fresh(self, seed: int = 0) -> Method:
        """The method as a run begins with it."""
        torch.manual_seed(seed_of(seed, "init"))
        method = self.build()
        method.parents = dict(self.parents)
        method.begin(method.parents, self.train)
        return method

    def fit(self, method: Method, recipe: Recipe | None = None, seed: int = 0, **more: Any) -> Fit:
        """Train it, or go on with that."""
        fit = Fit(method, recipe or self.recipe, self.train, self.accelerator, seed, **more)
        fit.run()
        return fit

    def batches(self, t: Clock, mixed: bool = False) -> list[Batch]:
        """The first step's batches, with mixed labels if so asked."""
        streams = self.fresh().streams()
        plain = [Epoch(self.train, stream, t, 0, i, RECIPE).batch(0) for i, stream in enumerate(streams)]
        return [_mixed(batch) for batch in plain] if mixed else plain


def _mixed(batch: Batch) -> Batch:
    """Each image with a third of its neighbour's label."""
    shares = as_shares(batch.label, CLASSES)
    return batch._replace(target=2 / 3 * shares + 1 / 3 * shares.roll(1, dims=0))

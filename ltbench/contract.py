"""The contract every method keeps, as tests on toy data: `ltbench check METHOD`, and the project's own test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from . import answers, backbones, capturable, machine, registry
from .data.memory import Epoch, Images, Norm
from .data.seeds import seed_of
from .errors import LtbenchError
from .evaluate import evaluate, misshapen
from .losses import as_shares
from .method import Batch, Clock, Method, Problem, ProblemSpec, Ref
from .recipe import Recipe
from .trainer import Fit, Progress

CLASSES, SIZE = 5, 12
RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, warmup=0.0, augment=("crop", "flip"))
LEARN = Recipe(epochs=12, batch_size=16, lr=0.05, warmup=0.0, augment=())
BACKBONE = "resnet8"


@dataclass(frozen=True)
class Result:
    """What one test of the contract said."""

    name: str
    passed: bool
    detail: str = ""


class BrokenContract(AssertionError):
    """A method does not do what the contract asks."""


def check(ref: Ref) -> Iterator[Result]:
    """Each test of the contract on a method, in order; a failed one stops none of the others.

    What fails several of them is told in full by the first, by whose name the others refer to it.
    """
    try:
        trials = Trials(ref)
    except Exception as error:  # its parents, too, may fail in any way
        yield Result("parents", False, _told(error))
        return
    told: dict[str, str] = {}
    for name, test in TESTS.items():
        try:
            remark = test(trials)
            yield Result(name, True, f": {remark}" if remark else "")
        except Exception as error:  # a method may fail in any way; all are told
            said = _told(error)
            first = told.setdefault(said, name)
            yield Result(name, False, said if first == name else f": as {first}")


def _told(error: Exception) -> str:
    """What went wrong, at which line of the method's file, in which situation."""
    kind = "" if isinstance(error, BrokenContract | LtbenchError) else f"{type(error).__name__}: "
    return " ".join([f": {kind}{error}{registry.place(error)}", *getattr(error, "__notes__", ())])


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

    def __init__(self, ref: Ref, trained: dict[str, Method] | None = None) -> None:
        self.ref = replace(ref, options=registry.resolve(ref.method, ref.options))
        self.cls = registry.get(ref.method)
        self.train, self.test = toy((24, 14, 8, 4, 3), 0), toy((6,) * CLASSES, 1)
        self.accelerator = machine.make_accelerator("cpu", "fp32")  # whatever the one before it was for
        self.trained = {} if trained is None else trained
        self.parents = self._parents(LEARN)
        self.recipe = self._recipe(RECIPE)

    def _parents(self, recipe: Recipe) -> dict[str, Method]:
        parents = {}
        for role, asked in self.ask("needs", self.ref.options).items():
            other = Trials(replace(asked, seed=0), self.trained)
            lacking = set(asked.wants) - set(other.ask("offers", other.ref.options))
            _need(not lacking, f"{role} must offer {', '.join(lacking)}, which {asked.method} does not")
            key = repr((asked.method, registry.canonical(other.ref.options), asked.seed, recipe))
            if key not in self.trained:
                method = other.fresh(asked.seed)
                other.fit(method, other.ask("recipe", recipe, other.ref.options), asked.seed)
                self.trained[key] = method.requires_grad_(False).eval()
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
        _need(not refusal, refusal)
        return answer

    def build(self) -> Method:
        """The method, untrained, without parents."""
        problem = Problem(self.train.counts, SIZE, lambda: backbones.build(BACKBONE))
        return self.cls(problem, **self.ref.options)

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


def _need(holds: bool, message: str) -> None:
    if not holds:
        raise BrokenContract(message)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts are equal to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def state(method: Method) -> dict[str, Tensor]:
    """A copy of a method's state dict."""
    return {key: value.clone() for key, value in method.state_dict().items()}


def kept(method: Method) -> tuple[str, list[int]]:
    """All that loss must leave alone: attributes, and where in memory the buffers lie."""
    return capturable.attributes(method), [buffer.data_ptr() for buffer in method.buffers()]


# The tests


def plans(trials: Trials) -> None:
    """The hooks that a plan asks answer with what it can use."""
    options, counts = trials.ref.options, tuple(map(int, trials.train.counts))
    trials.ask("skip", ProblemSpec("toy", counts, SIZE, BACKBONE), options)
    trials.ask("needs", options)
    trials.ask("offers", options)
    trials.ask("recipe", RECIPE, options)


def documented(trials: Trials) -> None:
    """A first line that says the idea, a paper as text."""
    _need(bool((trials.cls.__doc__ or "").strip()), "the class has no docstring")
    _need(isinstance(trials.cls.paper, str), "paper must be text")


def finite_loss(trials: Trials) -> None:
    """Named scalar terms, finite at first and last epoch, with plain and with mixed labels; nothing rebound."""
    for t in _clocks(trials):
        for mixed in (False, True):
            with _situation(t, mixed):
                method = trials.fresh().train()
                before = kept(method)
                terms = method(t, *trials.batches(t, mixed))
                bad = [name for name, term in terms.items() if not torch.isfinite(term)]
                _need(not bad, f"{', '.join(bad)} not finite")
                _need(kept(method) == before, "loss changed an attribute or rebound a buffer")


def gradients(trials: Trials) -> None:
    """A gradient reaches each trainable parameter at the first or the last epoch."""
    lonely: set[str] = set()
    for i, t in enumerate(_clocks(trials)):
        method = trials.fresh().train()
        with _situation(t, mixed=False):
            sum(method(t, *trials.batches(t)).values()).backward()
        missed = {name for name, p in method.named_parameters() if p.requires_grad and p.grad is None}
        lonely = missed if i == 0 else lonely & missed
    _need(not lonely, f"no gradient reaches {', '.join(sorted(lonely))}")


@contextmanager
def _situation(t: Clock, mixed: bool) -> Iterator[None]:
    """Within this, what is raised notes when it was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in the {'last' if t.epoch else 'first'} epoch, with {'mixed' if mixed else 'plain'} labels")
        raise


def _clocks(trials: Trials) -> list[Clock]:
    """First and last epoch; none for a method that trains nothing."""
    last = 100 - 1
    return [Clock(0, 100, 0, 400), Clock(last, 100, 4 * last, 400)] if trials.recipe.epochs else []


def predicts(trials: Trials) -> None:
    """predict and dense give [B, C] fp32 logits, change no state, and know nothing of the batches before."""
    method = trials.fresh().eval()
    before, image = state(method), next(trials.test.once()).image
    with torch.no_grad():
        for name, prediction in (("predict", method.predict(image)), ("dense", method.dense(image))):
            wrong = misshapen(prediction, len(image), CLASSES)
            _need(not wrong, f"{name} gives {wrong}")
            _need(bool(torch.isfinite(prediction.logits).all()), f"{name} gives logits that are not finite")
    _need(same(state(method), before), "predict changed a weight or buffer")
    batches = [batch.image for batch in trials.test.once(10)]
    with torch.no_grad():
        there = [method.predict(image).logits for image in batches]
        back = [method.predict(image).logits for image in reversed(batches)]
    _need(
        all(map(torch.equal, there, reversed(back))),
        "predict answers a batch otherwise a second time, behind other batches: among several processes, too, each "
        "predicts some of them",
    )


def round_trip(trials: Trials) -> None:
    """The state dict reloads, without parents, into a fresh method that predicts the same."""
    method = trials.fresh()
    trials.fit(method)
    copy = trials.build()
    copy.load_state_dict(load(save({key: value.contiguous().clone() for key, value in method.state_dict().items()})))
    image = next(trials.test.once()).image
    with torch.no_grad():
        equal = torch.equal(method.eval().predict(image).logits, copy.eval().predict(image).logits)
    _need(equal, "reloaded without parents, it predicts otherwise: keep what begin() learns in weights or buffers")


def seeded(trials: Trials) -> None:
    """Two runs of one seed are equal to the bit; parents are left as they were."""
    parents = {role: state(parent) for role, parent in trials.parents.items()}
    first, second = trials.fresh(), trials.fresh()
    trials.fit(first)
    torch.manual_seed(12345)  # what others draw must not matter
    trials.fit(second)
    _need(same(state(first), state(second)), "two runs of one seed differ: draw with torch, and only in loss")
    changed = [role for role, parent in trials.parents.items() if not same(state(parent), parents[role])]
    _need(not changed, f"training changed the parent {', '.join(changed)}")


def resumed(trials: Trials) -> None:
    """Stopped at every step and resumed in a fresh process' stead, it ends in the same weights."""
    whole = trials.fresh()
    steps = trials.fit(whole).progress.step
    for progress, tensors in checkpoints(trials, whole)[:-1]:
        stop = progress.step
        torch.manual_seed(stop)
        again = trials.fresh()
        again.load_state_dict({k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")})
        optimizer = {k.removeprefix("optimizer."): v for k, v in tensors.items() if k.startswith("optimizer.")}
        trials.fit(again, progress=progress, optimizer_state=optimizer)
        _need(same(state(again), state(whole)), f"stopped at step {stop} of {steps} and resumed, it ends otherwise")


def checkpoints(trials: Trials, whole: Method) -> list[tuple[Progress, dict[str, Tensor]]]:
    """Where a run stands after each step, and the tensors of its checkpoint there; it must end as `whole` did."""
    kept: list[tuple[Progress, dict[str, Tensor]]] = []

    def after_step(fit: Fit) -> None:
        tensors = {key: value.clone() for key, value in fit.snapshot().items()}
        kept.append((deepcopy(fit.progress), tensors))

    method = trials.fresh()
    trials.fit(method, after_step=after_step)
    _need(same(state(method), state(whole)), "saved after every step, it ends otherwise")
    return kept


def recorded(trials: Trials) -> str:
    """Whether its step can be recorded as a CUDA graph at the first and the last epoch; if not, it runs eagerly."""
    for t in _clocks(trials):
        reason = capturable.why_not(trials.fresh().train(), t, trials.batches(t))
        if reason:
            return f"no; on a GPU its steps are taken eagerly: {reason}"
    return ""


def learns(trials: Trials) -> None:
    """It learns separable images: far better than chance."""
    method = trials.fresh()
    recipe = trials.cls.recipe(LEARN, trials.ref.options)
    trials.fit(method, recipe.with_(batch_size=min(recipe.batch_size, LEARN.batch_size)))
    outcome = evaluate(method, trials.test, trials.accelerator)
    share = (outcome.predicted == outcome.label).float().mean().item()
    _need(share > 0.5, f"{100 * share:.0f} % right on separable images of {CLASSES} classes")


TESTS: dict[str, Callable[[Trials], str | None]] = {
    test.__name__: test
    for test in (plans, documented, finite_loss, gradients, predicts, round_trip, seeded, resumed, recorded, learns)
}

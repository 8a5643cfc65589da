"""The contract every method keeps, as tests on toy data: `ltbench check METHOD`, and the project's own test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor

from . import answers, capturable, checkpoints, registry
from .errors import LtbenchError, first_line
from .evaluate import evaluate, misshapen, uneven
from .heads import make_heads
from .method import Batch, Clock, Method, ProblemSpec, Ref
from .trainer import Fit, Interrupted, Progress
from .trials import BACKBONE, CLASSES, LEARN, RECIPE, SIZE, BrokenContract, Trials, need

ALONE = 1e-5  # of the largest logit: by how much rounding may change what one image alone is answered
TOGETHER = "several processes that train together need one at each step: let its term be there all along, times zero"
_ORDINAL = {0: "first", 50: "middle"}


@dataclass(frozen=True)
class Result:
    """What one test of the contract said."""

    name: str
    passed: bool
    detail: str = ""


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
    said = first_line(f"{kind}{error}")  # as a run's reason has it
    return " ".join([f": {said}{registry.place(error)}", *getattr(error, "__notes__", ())])


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
    refusal = answers.refusal("streams", trials.fresh().streams())
    need(not refusal, refusal)


def documented(trials: Trials) -> None:
    """A first line that says the idea, a paper as text."""
    need(bool((trials.cls.__doc__ or "").strip()), "the class has no docstring")
    need(isinstance(trials.cls.paper, str), "paper must be text")


def finite_loss(trials: Trials) -> None:
    """Named scalar terms, finite at first and last epoch, with plain and with mixed labels; nothing rebound."""
    for t in _clocks(trials):
        for mixed in (False, True):
            with _situation(t, mixed):
                method = trials.fresh().train()
                before = kept(method)
                terms = method(t, *trials.batches(t, mixed))
                bad = [name for name, term in terms.items() if not torch.isfinite(term)]
                need(not bad, f"{', '.join(bad)} not finite")
                need(kept(method) == before, "loss changed an attribute or rebound a buffer")


def gradients(trials: Trials) -> str:
    """A gradient reaches each trainable parameter at some time of a run; a remark where it does not all along."""
    missed: list[set[str]] = []
    for t in _clocks(trials, middle=True):
        method = trials.fresh().train()
        with _situation(t, mixed=False):
            sum(method(t, *trials.batches(t)).values()).backward()
        missed.append({name for name, p in method.named_parameters() if p.requires_grad and p.grad is None})
    lonely = set.intersection(*missed) if missed else set()
    at_times = set().union(*missed)
    when = "in the first epoch, at half-time or in the last one"
    need(not lonely, f"no gradient reaches {', '.join(sorted(lonely))} {when}")
    return f"not at all times: {', '.join(sorted(at_times))}; {TOGETHER}" if at_times else ""


@contextmanager
def _situation(t: Clock, mixed: bool) -> Iterator[None]:
    """Within this, what is raised notes when it was."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in the {_ORDINAL.get(t.epoch, 'last')} epoch, with {'mixed' if mixed else 'plain'} labels")
        raise


def _clocks(trials: Trials, middle: bool = False) -> list[Clock]:
    """First and last epoch, half-time too if so asked; none for a method that trains nothing."""
    epochs = [0, 50, 99] if middle else [0, 99]
    return [Clock(epoch, 100, 4 * epoch, 400) for epoch in epochs] if trials.recipe.epochs else []


def predicts(trials: Trials) -> None:
    """predict and dense give [B, C] logits, change no state, draw nothing, and know nothing of the batches before."""
    method = trials.fresh().eval()
    before, image = (state(method), kept(method)), next(trials.test.once()).image
    given = image.clone()
    with torch.no_grad():
        for name, prediction in (("predict", method.predict(image)), ("dense", method.dense(image))):
            wrong = misshapen(prediction, len(image), CLASSES)
            need(not wrong, f"{name} gives {wrong}")
            need(bool(torch.isfinite(prediction.logits).all()), f"{name} gives logits that are not finite")
            for key, value in prediction.per_image.items():
                need(bool(torch.isfinite(value).all()), f"{name} gives per_image {key!r} that is not finite")
    need(same(state(method), before[0]), "predict changed a weight or buffer")
    need(kept(method) == before[1], "predict changed an attribute: what it keeps stays behind when weights change")
    need(torch.equal(image, given), "predict wrote into the images")
    with torch.no_grad():
        twice = [method.predict(image).logits for _ in range(2)]
    need(torch.equal(*twice), "predict answers the same batch otherwise at once: it may draw nothing at random")
    batches = [batch.image for batch in trials.test.once(10)]
    with torch.no_grad():
        there = [method.predict(image).logits for image in batches]
        back = [method.predict(image).logits for image in reversed(batches)]
    need(
        all(map(torch.equal, there, reversed(back))),
        "predict answers a batch otherwise a second time, behind other batches: among several processes, too, each "
        "predicts some of them",
    )


def offered(trials: Trials) -> None:
    """What it offers is there in the form in which second stages take it."""
    offers = trials.ask("offers", trials.ref.options)
    if not set(offers) & {"backbone", "linear_head", "experts"}:
        return
    said = f"it offers {', '.join(offers)} (offers() says what second stages may take, a Classifier's its backbone)"
    method = trials.fresh().eval()
    try:
        faults = _unkept(method, next(trials.test.once()).image, offers)
    except Exception as error:
        error.add_note(f"as {said}")
        raise
    need(not faults, f"{said}, but {'; '.join(faults)}")


@torch.no_grad()
def _unkept(method: Method, image: Tensor, offers: tuple[str, ...]) -> list[str]:
    """In what way a method's features, linear heads or experts are not those that Classifier speaks of."""
    heads, faults = method.heads, []
    del method.heads  # a second stage puts its own in their place
    given = {"features()": method.features(image)}
    if "experts" in offers:
        shared = method.trunk(image)
        given["the branches"] = torch.stack([branch(shared) for branch in method.branches])
    wanted = [len(heads), len(image), heads[0].dim]
    for name, found in given.items():
        shape = list(getattr(found, "shape", ())) or type(found).__name__
        if shape != wanted:
            faults.append(f"{name} must give [E, B, D], here {wanted}, got {shape}")
    if "linear_head" in offers and not faults:
        plain = make_heads("linear", heads[0].dim, CLASSES, experts=len(heads))
        plain.load_state_dict(heads.state_dict())
        method.heads, features = heads, given["features()"]
        logits = torch.stack([head(feature) for head, feature in zip(plain, features, strict=True)])
        if not torch.allclose(logits, method.classify(features), atol=1e-5):
            faults.append("classify() gives other logits than its linear heads alone")
    return faults


def by_itself(trials: Trials) -> None:
    """predict answers each image by itself: test images come class after class, so that those beside it tell much."""
    method, image = trials.fresh().eval(), next(trials.test.once()).image
    with torch.no_grad():
        whole, single = method.predict(image), [method.predict(one[None]) for one in image]
    wrong = uneven([whole, *single])
    need(not wrong, f"predict gives {wrong}")
    apart, largest = (whole.logits - torch.cat([p.logits for p in single])).abs().max(), whole.logits.abs().max()
    need(
        bool(apart <= ALONE * largest),
        f"predict answers an image otherwise beside other images (by {apart / largest:.1g} of the largest logit): test "
        "images come class after class, so what is learnt from a whole batch is their labels",
    )


def round_trip(trials: Trials) -> None:
    """The state dict reloads, without parents, into a fresh method that predicts the same."""
    method = trials.fresh()
    with torch.no_grad():  # as a run does before it trains
        method.eval().predict(next(trials.test.once()).image)
    trials.fit(method)
    copy = trials.build()
    copy.load_state_dict(load(save({key: value.contiguous().clone() for key, value in method.state_dict().items()})))
    image = next(trials.test.once()).image
    with torch.no_grad():
        equal = torch.equal(method.eval().predict(image).logits, copy.eval().predict(image).logits)
    need(equal, "reloaded without parents, it predicts otherwise: keep what begin() learns in weights or buffers")


def seeded(trials: Trials) -> None:
    """Two runs of one seed are equal to the bit; parents are left as they were."""
    parents = {role: state(parent) for role, parent in trials.parents.items()}
    first, second = trials.fresh(), trials.fresh()
    trials.fit(first)
    torch.manual_seed(12345)  # what others draw must not matter
    trials.fit(second)
    need(same(state(first), state(second)), "two runs of one seed differ: draw with torch, and only in loss")
    changed = [role for role, parent in trials.parents.items() if not same(state(parent), parents[role])]
    need(not changed, f"training changed the parent {', '.join(changed)}")


def resumed(trials: Trials) -> None:
    """Stopped at every step, and each time resumed in a fresh process' stead, it trains the same weights."""
    whole: list[dict[str, Tensor]] = []
    trials.fit(trials.fresh(), after_step=lambda fit: whole.append(state(fit.method)))
    progress, saved = Progress(), dict[str, Tensor]()
    for step, expected in enumerate(whole, start=1):
        saved = _one_step(trials, progress, saved)
        need(
            same(checkpoints.part(saved, "method"), expected),
            f"stopped at every step and resumed, it trains otherwise (seen at step {step} of {len(whole)})",
        )


def _one_step(trials: Trials, progress: Progress, saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the next checkpoint, from those of this one, by a fresh method; progress goes on with it."""
    method = trials.fresh()
    if saved:
        method.load_state_dict(checkpoints.part(saved, "method"))
    then: dict[str, Tensor] = {}

    def stop(fit: Fit) -> None:
        then.update((key, value.clone()) for key, value in fit.snapshot().items())
        raise Interrupted

    with suppress(Interrupted):
        trials.fit(
            method, progress=progress, after_step=stop,
            optimizer_state=checkpoints.part(saved, "optimizer") or None,
            average_state=checkpoints.part(saved, "average") or None,
        )  # fmt: skip
    return then


def recorded(trials: Trials) -> str:
    """Whether its step can be recorded as a CUDA graph at the first and the last epoch; if not, it runs eagerly."""
    for t in _clocks(trials):
        reason = capturable.why_not(trials.fresh().train(), t, trials.batches(t))
        if reason == capturable.UNTRIED:
            return f"not known: {reason}"
        if reason:
            return f"no; on a GPU its steps are taken eagerly: {reason}"
    return ""


def small_batch(trials: Trials) -> str:
    """Whether it trains on one image, as an epoch's last batch, or a micro-batch, may be."""
    return _tried(
        trials, lambda batch: Batch(*(part[..., :1, :, :, :] if part.ndim > 3 else part[:1] for part in batch))
    )


def bf16(trials: Trials) -> str:
    """Whether it trains under precision: bf16, where features are bf16 and buffers are not."""
    return _tried(trials, lambda batch: batch, precision=torch.bfloat16)


def _tried(trials: Trials, cut: Callable[[Batch], Batch], precision: torch.dtype = torch.float32) -> str:
    """A remark where loss and gradient fail on such batches, which many a run never meets."""
    for t in _clocks(trials):
        method = trials.fresh().train()
        batches = [cut(batch) for batch in trials.batches(t)]
        try:
            with torch.autocast("cpu", precision, enabled=precision != torch.float32):
                terms = method(t, *batches)
            sum(terms.values()).backward()
            with torch.no_grad():
                method.after_step(t)
        except Exception as error:  # a method may fail in any way
            return f"no; a run that meets it fails{_told(error)}"
    return ""


def learns(trials: Trials) -> None:
    """It learns separable images: far better than chance."""
    method = trials.fresh()
    recipe = trials.cls.recipe(LEARN, trials.ref.options)
    trials.fit(method, recipe.with_(batch_size=min(recipe.batch_size, LEARN.batch_size)))
    outcome = evaluate(method, trials.test, trials.accelerator)
    share = (outcome.predicted == outcome.label).float().mean().item()
    need(share > 0.5, f"{100 * share:.0f} % right on separable images of {CLASSES} classes")


_IN_ORDER = (
    plans, documented, finite_loss, gradients, predicts, offered, by_itself, round_trip, seeded, resumed, small_batch,
    bf16, recorded, learns,
)  # fmt: skip
TESTS: dict[str, Callable[[Trials], str | None]] = {test.__name__: test for test in _IN_ORDER}

"""The recipe's steps: AdamW, accumulation, clipping, averages; masked where not finite, resumed to the bit."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from test_golden import double_precision
from test_graph import Rerun, stopped

from ltbench import Recipe, contract, labels
from ltbench.averaging import Average
from ltbench.errors import LtbenchError
from ltbench.optimizer import TABLES, make_optimizer, optimizer_tensors
from ltbench.trainer import DivergedError, Progress

SGD = Recipe(3, batch_size=16, lr=0.05, warmup=0.0, augment=("crop", "flip"))  # 4 steps an epoch, the last of 5 images
ADAMW = SGD.with_(optimizer="adamw", lr=2e-3, weight_decay=0.05)
ALL = ADAMW.with_(epochs=6, accumulate=4, clip=1.0, ema=0.9, mixup=0.8, cutmix=1.0, label_smoothing=0.1)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trials():
    made: dict[str, contract.Trials] = {}
    return lambda label: made.setdefault(label, contract.Trials(labels.parse(label)))


def trained(on, recipe, method=None, **more):
    method = method or on.fresh()
    on.fit(method, recipe, **more)
    return contract.state(method)


def test_a_method_of_which_nothing_trains_is_told_by_its_name(trials):
    """Torch's words were "optimizer got an empty parameter list"."""
    with pytest.raises(LtbenchError, match=r"^CE trains no parameter: it has none, or all are frozen; "):
        trials("ce").fit(trials("ce").fresh().requires_grad_(False), SGD)


def test_a_loss_without_a_gradient_is_told_by_its_name(trials):
    """Torch's words were "element 0 of tensors does not require grad"."""
    on = trials("ce")
    loss = type(on.fresh()).loss
    method = doctored(on, loss=lambda self, t, batch: {"ce": loss(self, t, batch)["ce"].detach()})
    with pytest.raises(LtbenchError, match=r"^Doctored.loss\(\) gives terms that reach no parameter that trains"):
        on.fit(method, SGD)


def doctored(on, **members):
    """The method with some of its methods replaced."""
    method = on.fresh()
    method.__class__ = type("Doctored", (type(method),), members)
    return method


# AdamW


def test_adamw_spares_biases_norms_and_position_tables(trials):
    method = trials("ce").fresh()
    method.relative_position_bias_table = torch.nn.Parameter(torch.ones(5, 5))
    names = {id(p): name for name, p in method.named_parameters()}
    decayed, spared = make_optimizer(method, ADAMW, CPU).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert {names[id(p)] for p in decayed["params"]} == {
        n for n in names.values() if "conv" in n or n.endswith("s.0.0.weight") or n == "heads.0.weight"
    }
    assert "relative_position_bias_table" in {names[id(p)] for p in spared["params"]}
    (everything,) = make_optimizer(method, ADAMW.with_(decay_norms=True), CPU).param_groups
    assert len(everything["params"]) == len(names)


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_a_masked_update_leaves_weights_and_state_as_they_were(trials, recipe):
    on = trials("ce")
    method = on.fresh()
    optimizer = make_optimizer(method, recipe, CPU)
    for group in optimizer.param_groups:
        group["lr"].fill_(0.1)
    for bad in (1.0, 0.0, 1.0):
        before = contract.state(method), {k: v.clone() for k, v in optimizer_tensors(optimizer, method).items()}
        for p in method.parameters():
            p.grad = torch.full_like(p, torch.nan if bad else 0.5)
        optimizer.found_inf = torch.tensor(bad)
        optimizer.step()
        after = contract.state(method), optimizer_tensors(optimizer, method)
        same = [contract.same(one, other) for one, other in zip(before, after, strict=True)]
        assert same == [bool(bad), bool(bad)]


@pytest.mark.parametrize("recipe", [ADAMW, ADAMW.with_(clip=1.0, accumulate=2)], ids=["plain", "clipped"])
def test_what_is_not_finite_reaches_no_weight(trials, recipe):
    def loss(self, t, batch):
        value = torch.nn.functional.cross_entropy(self.logits(batch.image), batch.target)
        return {"ce": value / (0.0 if t.step == 4 else 1.0)}

    on, seen = trials("ce"), {}
    method = doctored(on, loss=loss)

    def after_step(fit):
        seen[fit.progress.step] = {name: p.detach().clone() for name, p in fit.method.named_parameters()}

    with pytest.raises(DivergedError, match=r"term ce was not finite at step 4 \(epoch 1\)"):
        on.fit(method, recipe, after_step=after_step)
    assert contract.same(seen[4], seen[5])
    assert not contract.same(seen[3], seen[4])


# Accumulation


def test_a_term_that_only_some_micro_batches_have_is_summed_over_those(trials, monkeypatch):
    on = trials("ce")
    ce = type(on.fresh()).loss

    def loss(self, t, batch):
        terms = ce(self, t, batch)
        return terms | {"rare": terms["ce"]} if (batch.label == 4).any() else terms

    monkeypatch.setattr(type(on.fresh()), "loss", loss)
    progress = Progress()
    on.fit(on.fresh(), SGD.with_(accumulate=8), progress=progress)
    assert all(0 < epoch["terms"]["rare"] < epoch["terms"]["ce"] for epoch in progress.history)


@pytest.mark.parametrize("label", ["ce(head=cosine)", "ldam_drw(drw_start=1)"])
def test_accumulated_gradients_are_those_of_the_whole_batch(trials, label):
    """In double precision, on features without BatchNorm: each image by itself, so that the parts add up."""
    with double_precision():
        on = contract.Trials(labels.parse(label))
        ends = []
        for parts in (1, 4):
            method = on.fresh()
            for module in method.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
                    module.frozen = True
            progress = Progress()
            on.fit(method, SGD.with_(accumulate=parts), progress=progress)
            ends.append((contract.state(method), progress.history))
    (whole, there), (summed, here) = ends
    for name, value in whole.items():
        torch.testing.assert_close(summed[name], value, rtol=1e-9, atol=1e-9)
    for one, other in zip(there, here, strict=True):
        assert one["terms"] == pytest.approx(other["terms"], rel=1e-9)


def test_each_image_is_in_one_micro_batch_of_its_step(trials):
    on = trials("ce")
    seen = {}
    method = on.fresh()
    method.register_forward_pre_hook(lambda module, given: seen.setdefault(given[0].step, []).append(given[1].label))
    on.fit(method, SGD.with_(accumulate=4))
    sizes = {step: [len(label) for label in parts] for step, parts in seen.items()}
    assert sizes[0] == [4, 4, 4, 4] and sizes[3] == [1, 1, 1, 2], "53 images: three batches of 16, and 5"
    counts = torch.cat([label for step in range(4) for label in seen[step]]).bincount()
    assert torch.equal(counts, on.train.counts.long())


# Clipping


def first_gradient(on, **changes):
    """The norm of the first step of plain SGD at rate 1, which is its gradient."""
    recipe = SGD.with_(epochs=1, momentum=0.0, nesterov=False, weight_decay=0.0, lr=1.0, **changes)
    before, after = contract.state(on.fresh()), stopped(on, 1, recipe)[1]
    names = [name for name, _ in on.fresh().named_parameters()]
    return torch.nn.utils.get_total_norm([after[f"method.{name}"] - before[name] for name in names]).item()


@pytest.mark.parametrize("parts", [1, 4])
def test_clipping_shortens_the_gradient_of_all_to_the_asked_norm(trials, parts):
    on = trials("ce")
    free = first_gradient(on, accumulate=parts)
    assert free > 0.6, "else nothing is shown"
    assert first_gradient(on, accumulate=parts, clip=0.5) == pytest.approx(0.5, rel=1e-4)
    assert first_gradient(on, accumulate=parts, clip=1e9) == pytest.approx(free, rel=1e-6)


# Averages


def test_the_average_is_that_of_the_recurrence_and_is_what_is_left(trials):
    on, live = trials("ce"), []
    name = "heads.0.bias"
    statistics = "backbone.stages.0.1.running_mean"

    def after_step(fit):
        if fit.progress.step > len(live):
            live.append({key: value.clone() for key, value in fit.method.state_dict().items()})

    method = on.fresh()
    start = contract.state(method)
    on.fit(method, SGD.with_(ema=0.5), after_step=after_step)
    assert len(live) == 12
    for key in (name, statistics):
        average = start[key]
        for step, state in enumerate(live):
            keep = min(0.5, (1 + step) / (10 + step))
            average = keep * average + (1 - keep) * state[key]
        torch.testing.assert_close(method.state_dict()[key], average)
        assert not torch.allclose(average, live[-1][key])
    count = "backbone.stages.0.1.num_batches_tracked"
    assert torch.equal(method.state_dict()[count], live[-1][count])


def test_what_is_frozen_is_not_averaged(trials):
    method = trials("crt").fresh()
    assert set(Average(method, 0.9).held) == {"heads.0.weight", "heads.0.bias"}


# All of it together


QUICK = (2, 8, 20)  # within an epoch, at its end, where re-weighting begins


@pytest.mark.parametrize("stop", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in range(1, 24)])
def test_24_steps_of_everything_resume_to_the_same_bits(trials, whole, stop):
    on = trials("ldam_drw")
    progress, tensors = stopped(on, stop, ALL)
    torch.manual_seed(stop)
    again = on.fresh()
    parts = {name: {} for name in ("method", "optimizer", "average", "sums")}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts[part][rest] = value
    again.load_state_dict(parts["method"])
    resumed = trained(
        on, ALL, again, progress=progress, optimizer_state=parts["optimizer"], average_state=parts["average"]
    )
    assert contract.same(resumed, whole)


@pytest.fixture(scope="module")
def whole(trials):
    on = trials("ldam_drw")
    progress = Progress()
    state = trained(on, ALL, progress=progress)
    assert progress.step == 24
    return state


def test_replayed_steps_of_everything_train_the_same_weights(trials, whole):
    tape, notes = Rerun(), []
    assert contract.same(trained(trials("ldam_drw"), ALL, tape=tape, note=notes.append), whole)
    assert tape.replays and not notes


def test_all_of_it_learns(trials):
    on = trials("ce")
    recipe = contract.LEARN.with_(
        epochs=20, optimizer="adamw", lr=5e-3, weight_decay=0.05, accumulate=2, clip=5.0, ema=0.9, label_smoothing=0.1
    )
    method = on.fresh()
    on.fit(method, recipe)
    outcome = contract.evaluate(method, on.test, on.accelerator)
    assert (outcome.predicted == outcome.label).float().mean() > 0.8


@pytest.mark.parametrize(
    ("recipe", "plain"),
    [
        (SGD.with_(momentum=0.8, weight_decay=0.3), partial(torch.optim.SGD, nesterov=True)),
        (SGD.with_(momentum=0.8, nesterov=False, weight_decay=0.3), partial(torch.optim.SGD, nesterov=False)),
        (
            ADAMW.with_(betas=(0.8, 0.95), eps=0.1, weight_decay=0.3, decay_norms=True),
            partial(torch.optim.AdamW, betas=(0.8, 0.95), eps=0.1),
        ),
    ],
    ids=["nesterov", "momentum", "adamw"],
)
def test_an_optimizer_steps_as_torchs_plain_one_would(trials, recipe, plain):
    method, twin = trials("ce").fresh(), trials("ce").fresh()
    more = {"momentum": 0.8} if recipe.optimizer == "sgd" else {}
    expected = plain(twin.parameters(), lr=0.1, weight_decay=0.3, foreach=False, **more)
    optimizer = make_optimizer(method, recipe, CPU)
    optimizer.param_groups[0]["lr"].fill_(0.1)
    for step in range(3):
        for i, (p, q) in enumerate(zip(method.parameters(), twin.parameters(), strict=True)):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * step + i))
            q.grad = p.grad.clone()
        optimizer.step()
        expected.step()
    for p, q in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("name", TABLES)
def test_adamw_spares_each_kind_of_position_table(trials, name):
    method = trials("ce").fresh()
    table = torch.nn.Parameter(torch.ones(5, 5))
    setattr(method, name, table)
    _, spared = make_optimizer(method, ADAMW, CPU).param_groups
    assert any(p is table for p in spared["params"])
    assert TABLES == ("relative_position_bias_table", "absolute_pos_embed", "pos_embed", "cls_token")


def test_both_statistics_of_batchnorm_are_averaged(trials):
    held = Average(trials("ce").fresh(), 0.9).held
    assert {"backbone.stages.0.1.running_mean", "backbone.stages.0.1.running_var"} < set(held)


def test_the_images_of_an_epoch_are_those_that_were_left_of_it(trials):
    on, told = trials("ce"), []
    progress, tensors = stopped(on, 2, SGD)
    again = on.fresh()
    again.load_state_dict({k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")})
    on.fit(again, SGD, progress=progress, after_epoch=lambda row, images, seconds: told.append(images))
    # 53 images, of which two steps of 16 were done before
    assert told == [21, 53, 53]


def test_what_a_step_draws_hangs_on_the_seed_of_the_run(trials):
    drawn = []

    def loss(self, t, batch):
        drawn.append(torch.rand(()).item())
        return {"ce": self.logits(batch.image).square().mean()}

    for seed in (0, 1):
        trials("ce").fit(doctored(trials("ce"), loss=loss), SGD.with_(epochs=1), seed=seed)
    assert len(set(drawn)) == len(drawn) == 8

"""Numbers by hand that the tests of each module lacked: counts, rates, optimizers, averages, mixing, looks."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from test_graph import stopped
from test_mixing import BOTH
from test_optimizer import ADAMW, CPU, SGD, doctored
from test_recipe import rates
from test_scores import record
from torchvision.transforms import v2

from ltbench import Recipe, contract, labels, longtail, machine, mixing
from ltbench.averaging import Average
from ltbench.data import transforms
from ltbench.data.transforms import Look
from ltbench.evaluate import evaluate
from ltbench.optimizer import TABLES, make_optimizer
from ltbench.scores import class_shift, class_weights


@pytest.fixture(scope="module")
def trials():
    made: dict[str, contract.Trials] = {}
    return lambda label: made.setdefault(label, contract.Trials(labels.parse(label)))


# test_longtail.py


@pytest.mark.parametrize("profile", ["exp", "step"])
def test_a_whole_count_is_not_lost_to_rounding(profile):
    # 49 * (1 / 49) is 0.9999999999999999
    assert longtail.profile_counts(49, 2, 49, profile) == [49, 1]


def test_effective_numbers_of_a_beta_next_to_one():
    # (1 - b^n) is a millionth, and of a million images 1 - 1/e: in single precision 1 - b is wrong by a hundredth
    one, million = longtail.effective_number_weights(torch.tensor([1, 1_000_000]), 0.999999).tolist()
    assert million / one == pytest.approx(1e-6 / (1 - math.exp(-1)), rel=1e-5)


# test_recipe.py


def test_a_warm_up_begins_below_the_least_rate_of_steps_too():
    # a hundredth from the start on, so 0.1 is what counts; half of it in the first of 4 epochs
    recipe = Recipe(4, lr=1.0, steps=(0.0,), gamma=0.01, warmup=0.5, min_lr=0.1)
    assert rates(recipe) == pytest.approx([0.05, 0.1, 0.1, 0.1])


def test_a_second_stage_is_rounded_to_the_nearest_epoch():
    # 45 * 30 / 200 = 6.75; 41 * 30 / 200 = 6.15
    assert [Recipe(epochs).share(30, of=200) for epochs in (45, 41)] == [7, 6]


# test_scores.py


def test_classes_of_equally_many_images_are_ranked_by_their_label():
    assert class_shift((7, 7, 5), "forward25") == pytest.approx((1, 1 / 5, 1 / 25))
    assert class_shift((7, 7, 5), "backward25") == pytest.approx((1 / 25, 1 / 5, 1))


def test_what_an_image_of_each_class_weighs():
    made = record((500, 50, 5), (1, 2, 0), (2, 4, 0))
    assert class_weights(made, "top1", "uniform") == [1, 1, 1]
    assert class_weights(made, "balanced", "uniform") == [1 / 2, 1 / 4, 0]
    assert class_weights(made, "balanced", "forward25") == [1 / 2, 1 / 4, 0]
    assert class_weights(made, "top1", "forward25") == pytest.approx([1 / 2, 1 / 20, 0])
    assert class_weights(made, "worst", "uniform") is None


# test_optimizer.py


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


# test_mixing.py


def test_each_micro_batch_and_process_is_mixed_in_its_own_way():
    def shares(rank, **changes):
        return mixing.epoch(BOTH.with_(**changes), 7, 1, 10, 3, rank, CPU)

    cut = shares(0, accumulate=2)
    assert cut.shape == (3, 2, mixing.PARTS)
    assert torch.equal(cut[:, :1], shares(0)) and not torch.equal(cut[:, 1:], shares(0))
    assert not torch.equal(shares(1), shares(0))


def test_each_stream_is_mixed_in_its_own_way_as_the_runs_seed_says(trials, monkeypatch):
    asked, epoch = [], mixing.epoch
    monkeypatch.setattr(mixing, "epoch", lambda recipe, *place: asked.append(place[:5]) or epoch(recipe, *place))
    on = trials("bbn")
    on.fit(on.fresh(), BOTH.with_(epochs=2), seed=3)
    # seed, stream, first step, steps, rank
    assert asked == [(3, 0, 0, 4, 0), (3, 1, 0, 4, 0), (3, 0, 4, 4, 0), (3, 1, 4, 4, 0)]


# test_files.py


def test_the_words_are_torchvisions_with_the_numbers_of_the_field():
    made = transforms.in_training(Look(32, ("randaugment", "color_jitter", "flip", "random_resized_crop")))
    resized, _, jitter, _ = made.transforms
    assert (resized.scale, resized.size) == ((0.08, 1.0), (32, 32))
    assert jitter.brightness == jitter.contrast == jitter.saturation == (0.6, 1.4) and jitter.hue is None
    *_, crop, turn = transforms.in_training(Look(32, ("rotate15", "crop"))).transforms
    assert (isinstance(crop, v2.RandomCrop) and crop.padding == [4] * 4) or crop.padding == 4
    assert list(turn.degrees) == [-15, 15]


def test_at_test_a_side_is_rounded_to_the_nearest_pixel():
    # 32 * 256 / 224 = 36.57
    resized, _ = transforms.at_test(Look(32, ("random_resized_crop",))).transforms
    assert list(resized.size) == [37]


# test_evaluate.py, test_machine.py


def test_a_run_is_computed_in_the_precision_of_its_recipe(trials):
    on = trials("ce")
    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):  # the latter is left to other tests
        accelerator = machine.make_accelerator("cpu", precision)
        on.accelerator, seen = accelerator, {"fit": set(), "evaluate": set()}
        method = on.fresh()
        for what in seen:
            hook = method.backbone.register_forward_hook(
                lambda *given, what=what, seen=seen: seen[what].add(given[2].dtype)
            )
            on.fit(method, SGD.with_(epochs=1)) if what == "fit" else evaluate(method, on.test, accelerator)
            hook.remove()
        assert seen == {"fit": {kind}, "evaluate": {kind}}
